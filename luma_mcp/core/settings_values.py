"""What may stand in a setting, how it is read, and the error that says what it accepts."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from luma_mcp.core.addresses import address_of
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import LOCAL_CALLER

TOKEN = re.compile(r"(?!(your|change[-_]?me|undefined|none|null)([-_.]|$))[A-Za-z0-9._~+/=-]+", re.I)  # RFC 6750, meant
SHORTEST_TOKEN = 16
NOBODY_NAMED = "none"
CALLER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
HOST_NAME = re.compile(r"([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
PLACEHOLDER = re.compile(
    r"\$\{[^}]*\}|\$[A-Za-z_]\w*|%\w+%|\{\{[^}]*\}\}|<[^>]*>|undefined|your[-_ ](runapi[-_ ])?(api[-_ ])?key.*", re.I
)


def is_meant(value: object) -> bool:
    """Tell whether a value was given at all: empty strings and placeholders that a host left unexpanded were not."""
    return not isinstance(value, str) or not (value.strip() == "" or PLACEHOLDER.fullmatch(value.strip()))


def bare(value: object) -> object:
    """Take blanks and one pair of quotes off a value, which `docker --env-file` and some hosts hand over with it."""
    if not isinstance(value, str):
        return value
    plain = value.strip()
    is_quoted = len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "\"'"
    return plain[1:-1].strip() if is_quoted else plain


def expanded(value: object) -> object:
    """Expand `~` and variables in a path, which several hosts leave to the server."""
    return Path(os.path.expanduser(os.path.expandvars(value.strip()))) if isinstance(value, str) else value


def typed_path(value: object) -> object:
    """Give a path as people type it on a command line: relative to where they are. What is no path stays as it is."""
    path = expanded(bare(value))
    return Path(os.path.abspath(path)) if is_meant(bare(value)) and isinstance(path, Path) else value


def absolute(path: Path) -> Path:
    """Insist on an absolute path: hosts start servers in folders of their own choice."""
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("not absolute")
    return path


def split_paths(value: object) -> object:
    """Split a list of folders as the system writes it: by `:`, on Windows by `;`."""
    return [expanded(part) for part in value.split(os.pathsep) if is_meant(part)] if isinstance(value, str) else value


def split_words(value: object) -> object:
    """Split a list of words by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def bare_key(value: object) -> object:
    """Take the key out of what people paste around it: quotes, spaces, `Bearer`."""
    return (
        re.sub(r"^bearer\s+", "", value.strip().strip("\"'").strip(), flags=re.I) if isinstance(value, str) else value
    )


def usable_key(key: SecretStr) -> SecretStr:
    """Refuse what cannot be sent in a header, before it gets near one."""
    if not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
        raise ValueError("not a key")
    return key


def api_origin(value: str) -> str:
    """Accept an https address; plain http only on this machine or a private network, for the key travels with it."""
    try:
        url = httpx.URL(value.strip().rstrip("/"))
    except httpx.InvalidURL as error:
        raise ValueError("not a URL") from error
    address = address_of(url.host)
    near = url.host == "localhost" or (address is not None and not address.is_global)
    safe = url.scheme == "https" or (url.scheme == "http" and near)
    if not url.host or not safe or url.userinfo or url.query or url.fragment or not 0 < (url.port or 443) < 65536:
        raise ValueError("not an API address")
    return str(url)


def split_pairs(value: object) -> object:
    """Split a list of pairs by commas, `none` for no pair; one without any is a mistake, and must let nobody in."""
    if isinstance(value, str) and value.lower() == NOBODY_NAMED:
        return ()
    pairs = split_words(value)
    if isinstance(value, str) and not pairs:
        raise ValueError("no pairs")
    return pairs


def name_and_token(pair: str) -> tuple[str, SecretStr]:
    """Take `name:token` apart."""
    name, _, token = pair.partition(":")
    return name.strip(), SecretStr(token.strip())


def distinct_callers(pairs: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Insist on names that can be told apart and tokens that can be sent and not be guessed, no two of them alike."""
    callers = [name_and_token(pair.get_secret_value()) for pair in pairs]
    tokens = {token.get_secret_value() for _, token in callers}
    if not all(CALLER_NAME.fullmatch(name) and name != LOCAL_CALLER for name, _ in callers):
        raise ValueError("not a name")
    if not all(is_meant(token) and TOKEN.fullmatch(token) and len(token) >= SHORTEST_TOKEN for token in tokens):
        raise ValueError("not a token")
    if len(tokens) < len(callers):
        raise ValueError("two callers with one token")
    return pairs


def bare_host(value: str) -> str:
    """Accept the name of a host, with a port or without, as clients send it."""
    if not HOST_NAME.fullmatch(value):
        raise ValueError("not a host name")
    return value.lower().removesuffix(".")


def callable_address(value: str) -> str:
    """Accept an address that RunAPI can call: https, or plain http on this machine."""
    if not value.strip():
        return ""
    address = api_origin(value)
    if not (address.startswith("https:") or leads_to_loopback(address)):
        raise ValueError("not an address to call back")
    return address


def leads_to_loopback(url: str) -> bool:
    """Tell whether an address is on this machine."""
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        return False
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


class BadSetting(LumaError):
    """A setting has a value that cannot be used."""

    code = "invalid_request"

    def __init__(self, variable: str, accepts: str) -> None:
        super().__init__(f"{variable}: {accepts}")


Folder = Annotated[Path, BeforeValidator(expanded), AfterValidator(absolute)]
Folders = Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(split_paths)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(bare_host)], ...], NoDecode, BeforeValidator(split_words)]
Tokens = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(split_pairs), AfterValidator(distinct_callers)]
ApiKey = Annotated[SecretStr, BeforeValidator(bare_key), AfterValidator(usable_key)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def setting(meaning: str, accepts: str, *, shown: str = "", **more: Any) -> Any:
    """Declare a setting with what it means, what it accepts, and how a default is shown that is no plain value."""
    return Field(description=meaning, json_schema_extra={"accepts": accepts, "shown": shown}, **more)
