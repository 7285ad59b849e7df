"""What may stand in a setting, and where settings come from.

Beside flags that is the environment, a file that was named and RunAPI's own file. Nothing else.
"""

import io
import json
import logging
import os
import re
import sys
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from luma_mcp.core.addresses import is_loopback_url, is_public_address, parse_address
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.core.small_files import OTHERS_WRITE, read_small
from luma_mcp.core.text import is_object, strip_all_quotes

TOKEN = re.compile(r"(?!(your|change[-_]?me|undefined|none|null)([-_.]|$))[A-Za-z0-9._~+/=-]+", re.I)  # RFC 6750, meant
MIN_TOKEN_LENGTH = 16
OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NO_TOKENS = "none"
CALLER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
HOST_NAME = re.compile(r"([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
AUDIENCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,512}")  # what may stand in quotes in a header
OAUTH_CALLER_KINDS = frozenset({"sub", "email", "group"})
PLACEHOLDER = re.compile(
    r"\$\{[^}]*\}|\$[A-Za-z_]\w*|%\w+%|\{\{[^}]*\}\}|<[^>]*>|undefined|your[-_ ](runapi[-_ ])?(api[-_ ])?key.*", re.I
)
if sys.platform != "win32":
    import pwd
PREFIX = "LUMA_MCP_"
KEY_VARIABLE = "RUNAPI_API_KEY"
BASE_URL_VARIABLE = "RUNAPI_BASE_URL"
FILE_VARIABLE = "LUMA_MCP_ENV_FILE"
KEY_FIELD, BASE_URL_FIELD, FILE_FIELD = "api_key", "base_url", "env_file"
TOKENS_FIELD = "auth_tokens"
logger = logging.getLogger(__name__)


class BadSetting(LumaError):
    """A setting has a value that cannot be used; `variable` names it as it was given, `accepts` what it takes."""

    code = "bad_setting"  # no error of a task, but of the command line

    def __init__(self, variable: str, accepts: str) -> None:
        super().__init__(f"{variable}: {accepts}")
        self.variable = variable
        self.accepts = accepts


def is_filled_in(value: object) -> bool:
    """Tell whether a value was given: empty strings and placeholders that a host left unexpanded were not."""
    return not isinstance(value, str) or not (value.strip() == "" or PLACEHOLDER.fullmatch(value.strip()))


def strip_quotes(value: object) -> object:
    """Take blanks and one pair of quotes off a value, which `docker --env-file` and some hosts hand over with it."""
    if not isinstance(value, str):
        return value
    plain = value.strip()
    is_quoted = len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "\"'"
    return plain[1:-1].strip() if is_quoted else plain


def expand_path(value: object) -> object:
    """Expand `~` and variables in a path, which several hosts leave to the server."""
    return Path(os.path.expanduser(os.path.expandvars(value.strip()))) if isinstance(value, str) else value


def resolve_typed_path(value: object) -> object:
    """Give a path as people type it on a command line: relative to where they are. What is no path stays as it is."""
    path = expand_path(strip_quotes(value))
    return Path(os.path.abspath(path)) if is_filled_in(strip_quotes(value)) and isinstance(path, Path) else value


def validate_absolute(path: Path) -> Path:
    """Refuse a relative path: hosts start servers in folders of their own choice."""
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("not absolute")
    return path


def split_paths(value: object) -> object:
    return (
        [expand_path(part) for part in value.split(os.pathsep) if is_filled_in(part)]
        if isinstance(value, str)
        else value
    )


def split_words(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def clean_key(value: object) -> object:
    """Give a key as it was meant: without blanks and quotes around it, and without `Bearer` before it."""
    return re.sub(r"^bearer\s+", "", strip_all_quotes(value), flags=re.I) if isinstance(value, str) else value


def validate_key(key: SecretStr) -> SecretStr:
    """Refuse what cannot be sent in a header."""
    if not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
        raise ValueError("not a key")
    return key


def validate_api_url(value: str) -> str:
    """Accept an https address; plain http only on this machine or a private network, for the key travels with it."""
    try:
        url = httpx.URL(value.strip().rstrip("/"))
    except httpx.InvalidURL as error:
        raise ValueError("not a URL") from error
    address = parse_address(url.host)
    near = url.host == "localhost" or (address is not None and not is_public_address(address))
    safe = url.scheme == "https" or (url.scheme == "http" and near)
    if not url.host or not safe or url.userinfo or url.query or url.fragment or not 0 < (url.port or 443) < 65536:
        raise ValueError("not an API address")
    return str(url)


def split_pairs(value: object) -> object:
    """Split a list of pairs by commas, `none` for no pair; an empty list is a mistake, and must let nobody in."""
    if isinstance(value, str) and value.lower() == NO_TOKENS:
        return ()
    pairs = split_words(value)
    if isinstance(value, str) and not pairs:
        raise ValueError("no pairs")
    return pairs


def name_and_token(pair: str) -> tuple[str, SecretStr]:
    name, _, token = pair.partition(":")
    return name.strip(), SecretStr(token.strip())


def validate_callers(pairs: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Refuse names that are none, tokens that are short or placeholders, and a token of two callers."""
    callers = [name_and_token(pair.get_secret_value()) for pair in pairs]
    tokens = {token.get_secret_value() for _, token in callers}
    if not all(CALLER_NAME.fullmatch(name) and name != LOCAL_CALLER for name, _ in callers):
        raise ValueError("not a name")
    if not all(map(is_token, tokens)):
        raise ValueError("not a token")
    if len(tokens) < len(callers):
        raise ValueError("two callers with one token")
    return pairs


def is_token(value: str) -> bool:
    """Tell whether something may keep others out: it is neither short nor a placeholder."""
    return is_filled_in(value) and bool(TOKEN.fullmatch(value)) and len(value) >= MIN_TOKEN_LENGTH


def validate_token(token: SecretStr) -> SecretStr:
    if not is_token(token.get_secret_value()):
        raise ValueError("not a token")
    return token


def read_tokens_file(path: Path) -> tuple[tuple[tuple[str, SecretStr], ...], tuple[str, ...]]:
    """Give the pairs in a file, and what is wrong with its other lines, which let nobody in.

    Blank lines and those that begin with `#` count for nothing. Raises `OSError` if the file cannot be read, or if
    others may write it.
    """
    try:
        lines = read_small(path, refused_bits=OTHERS_WRITE).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise OSError(0, "it is no text in UTF-8") from error
    pairs: dict[str, tuple[str, SecretStr]] = {}
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        pair = line.strip()
        if not pair or pair.startswith("#"):
            continue
        try:
            validate_callers((SecretStr(pair),))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
            continue
        name, token = name_and_token(pair)
        if pairs.setdefault(token.get_secret_value(), (name, token))[0] != name:
            faults.append(f"line {number}: the token of another name, which counts")
    return tuple(pairs.values()), tuple(faults)


def validate_host(value: str) -> str:
    if not HOST_NAME.fullmatch(value):
        raise ValueError("not a host name")
    return value.lower().removesuffix(".")


def validate_public_url(value: str) -> str:
    """Accept an address that RunAPI can call: https, or plain http on this machine."""
    if not value.strip():
        return ""
    address = validate_api_url(value)
    if not (address.startswith("https:") or is_loopback_url(address)):
        raise ValueError("not an address to call back")
    return address


def validate_database_url(value: SecretStr) -> SecretStr:
    """Accept the address of a PostgreSQL database."""
    try:
        url = urlsplit(value.get_secret_value())
        sound = url.scheme in ("postgresql", "postgres") and url.port != 0 and bool(url.path.strip("/"))
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("not the address of a database")
    return value


def passwords_in(url: SecretStr) -> tuple[SecretStr, ...]:
    """Give the password in the address of a database, as written and as meant, if it has one."""
    password = urlsplit(url.get_secret_value()).password or ""
    return tuple(SecretStr(each) for each in sorted({password, unquote(password)} - {""}))


def validate_issuer(value: str) -> str:
    """Accept the name of an identity provider, kept as it is written: it must be equal to that in tokens."""
    if not value.strip():
        return ""
    validate_web_address(value.strip())
    return value.strip()


def validate_web_address(value: str) -> httpx.URL:
    """Give an https address, or a plain http one on this machine; raise `ValueError` for any other."""
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL as error:
        raise ValueError("not a URL") from error
    safe = url.scheme == "https" or (url.scheme == "http" and is_loopback_url(value))
    if not (safe and url.host) or url.userinfo or url.query or url.fragment or not 0 < (url.port or 443) < 65536:
        raise ValueError("not an address")
    return url


def validate_audiences(names: tuple[str, ...]) -> tuple[str, ...]:
    """Accept names of this server, of which the first is its address."""
    if names:
        validate_web_address(names[0])
    if not all(AUDIENCE.fullmatch(name) for name in names):
        raise ValueError("not an audience")
    return names


def validate_oauth_caller(value: str) -> str:
    """Accept one who may come in, or a group of those."""
    kind, _, name = value.partition(":")
    name = name.strip()
    if kind not in OAUTH_CALLER_KINDS or not is_filled_in(name) or (kind == "email" and "@" not in name):
        raise ValueError("not a caller")
    return f"{kind}:{fold_email(name) if kind == 'email' else name}"


def fold_email(address: str) -> str:
    """Give what an address is compared by: of another alphabet it is itself, as some of its letters fold to ours."""
    return address.lower() if address.isascii() else address


Folder = Annotated[Path, BeforeValidator(expand_path), AfterValidator(validate_absolute)]


Folders = Annotated[tuple[Folder, ...], BeforeValidator(split_paths)]


Hosts = Annotated[tuple[Annotated[str, AfterValidator(validate_host)], ...], BeforeValidator(split_words)]


Tokens = Annotated[tuple[SecretStr, ...], BeforeValidator(split_pairs), AfterValidator(validate_callers)]


SecretToken = Annotated[SecretStr, AfterValidator(validate_token)]


Audiences = Annotated[tuple[str, ...], BeforeValidator(split_words), AfterValidator(validate_audiences)]


OAuthCallers = Annotated[
    tuple[Annotated[str, AfterValidator(validate_oauth_caller)], ...], BeforeValidator(split_words)
]


DatabaseUrl = Annotated[SecretStr, AfterValidator(validate_database_url)]


ApiKey = Annotated[SecretStr, BeforeValidator(clean_key), AfterValidator(validate_key)]


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def setting(meaning: str, accepts: str, *, shown: str = "", **more: Any) -> Any:
    """Declare a setting with what it means, what it accepts, and how a default is shown that is no plain value."""
    return Field(description=meaning, json_schema_extra={"accepts": accepts, "shown": shown}, **more)


def non_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings by name without empty values and unexpanded placeholders: the next source counts for these."""
    plain = {name: strip_quotes(value) for name, value in values.items()}
    return {name: value for name, value in plain.items() if is_filled_in(value) or restricts_access(name, value)}


def restricts_access(name: str, value: object) -> bool:
    """Tell whether leaving a value out would let in others than was meant: then it is better refused than ignored."""
    return name == TOKENS_FIELD and bool(value)


def settings_in(variables: Mapping[str, str | None], names: Mapping[str, str]) -> dict[str, Any]:
    """Give the settings in variables, which may be in whatever case; `names` tells which setting each is."""
    found = {names.get(name.upper(), ""): value for name, value in variables.items()}
    return non_empty({name: value for name, value in found.items() if name and value is not None})


def environment() -> Mapping[str, str]:
    """Give the environment of this process."""
    return os.environ


def exports_spans() -> bool:
    """Tell whether OpenTelemetry is told where spans go (its own variables), and is not switched off."""
    named = any(os.environ.get(name) for name in OTLP_ENDPOINTS)
    return named and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"


def refuses_colour() -> bool:
    """Tell whether a person wants no colours (NO_COLOR), or has a terminal without them."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def find_env_file(sources: Sequence[Mapping[str, Any]]) -> Path | None:
    """Find the file of variables that flags or environment name; raise `BadSetting` for a relative path."""
    value = next((source[FILE_FIELD] for source in sources if FILE_FIELD in source), None)
    try:
        return None if value is None else validate_absolute(Path(str(expand_path(value))))
    except ValueError as error:
        raise BadSetting(FILE_VARIABLE, "accepts an absolute path") from error


def read_env_file(path: Path | None) -> dict[str, str | None]:
    """Read a file of variables literally; it cannot name another such file. Raise `BadSetting` if it cannot be read."""
    if path is None:
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - few servers are given such a file

    try:
        text = read_small(path).decode("utf-8-sig")  # as Notepad saves it, too
    except UnicodeDecodeError as error:
        raise BadSetting(FILE_VARIABLE, f"{path} must be text in UTF-8; save it anew in that encoding") from error
    except (OSError, ValueError) as error:
        raise BadSetting(FILE_VARIABLE, f"{path} cannot be read: {reason(error)}") from error
    found = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if name.upper() != FILE_VARIABLE}


def reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or "it has no such name"


@dataclass(frozen=True, slots=True)
class RunAPIFileContent:
    """What RunAPI's own file says."""

    key: str = ""
    base_url: str = ""  # counts for this key only
    fault: str = ""  # why nothing in the file counts


def settings_in_runapi_file(given: Collection[str]) -> dict[str, Any]:
    """Give key and address in RunAPI's own file (contract 7.2); `given` names the settings of the sources before it.

    Neither counts where another source has a key.
    """
    own = read_runapi_file()
    if own.fault and KEY_FIELD not in given:
        logger.warning("%s, so nothing in it counts", own.fault)
    if own.key and KEY_FIELD not in given:
        return non_empty({KEY_FIELD: own.key, BASE_URL_FIELD: own.base_url})
    if own.base_url and BASE_URL_FIELD not in given:
        logger.warning("base_url in %s is ignored, because the key comes from elsewhere", runapi_file_path())
    return {}


def read_runapi_file() -> RunAPIFileContent:
    """Read RunAPI's own file; one that is not there says nothing, and one that is wrong anywhere does not count."""
    path = runapi_file_path()
    if path is None:
        return RunAPIFileContent()
    try:
        return parse_runapi_file(json.loads(read_small(path, refused_bits=OTHERS_WRITE).decode("utf-8-sig")))
    except FileNotFoundError:
        return RunAPIFileContent()
    except OSError as error:
        return RunAPIFileContent(fault=f"{path} cannot be used: {error.strerror}")
    except (ValueError, RecursionError) as error:
        told = error.args[0] if isinstance(error, BadRunAPIFile) else "is not JSON"
        return RunAPIFileContent(fault=f"{path} {told}")


class BadRunAPIFile(ValueError):
    """The file is JSON, but does not hold what it should."""


def parse_runapi_file(content: object) -> RunAPIFileContent:
    """Take key and address out of the file's content; raise `BadRunAPIFile` for what cannot be used."""
    if not is_object(content):
        raise BadRunAPIFile("is JSON of another kind")
    key = content.get("api_key") or content.get("apiKey") or ""
    address = content.get("base_url") or content.get("baseUrl") or ""
    if not (isinstance(key, str) and isinstance(address, str)):
        raise BadRunAPIFile("holds something else than texts")
    key, address = (value if is_filled_in(value) else "" for value in (str(clean_key(key)), str(strip_quotes(address))))
    try:
        if key:
            validate_key(SecretStr(key))
    except ValueError as error:
        raise BadRunAPIFile("holds a key that cannot be one") from error
    try:
        return RunAPIFileContent(key, validate_api_url(address) if address else "")
    except ValueError as error:
        raise BadRunAPIFile("holds an address that cannot be RunAPI's") from error


def runapi_file_path() -> Path | None:
    """Find RunAPI's configuration file where its own tools keep it; None for a user without a home folder."""
    if own := folder_from_variable("RUNAPI_CONFIG_DIR"):
        return own / "config.json"
    home = home_folder()
    folder = folder_from_variable("XDG_CONFIG_HOME") or (home / ".config" if home else None)
    return folder / "runapi" / "config.json" if folder else None


def home_folder() -> Path | None:
    """Find this user's home folder, None if there is none: a relative one would lead into the working directory."""
    return next((Path(place) for place in homes() if os.path.isabs(place)), None)


def homes() -> Generator[str]:
    if sys.platform == "win32":
        yield os.path.expanduser("~")
    else:
        yield os.environ.get("HOME", "")
        with suppress(KeyError):  # a container's user may be only a number
            yield pwd.getpwuid(os.getuid()).pw_dir


def folder_from_variable(variable: str) -> Path | None:
    """Give the folder that a variable of the environment names; relative ones lead somewhere else each time."""
    folder = os.path.expanduser(os.environ.get(variable, "").strip())
    return Path(folder) if os.path.isabs(folder) else None


def find_program(name: str) -> Path | None:
    """Find a program by its name, and never in the working directory: not every system leaves that out by itself."""
    endings = ["", *(os.environ.get("PATHEXT", ".EXE").split(os.pathsep) if sys.platform == "win32" else ())]
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)]
    places = [Path(folder) / f"{name}{ending}" for folder in folders for ending in endings]
    return next((place for place in places if place.is_file() and os.access(place, os.X_OK)), None)


def list_our_variables(known: Collection[str]) -> dict[str, str]:
    """Give the variables of the environment that are ours, or look as if they were meant to be."""
    return {name: value for name, value in os.environ.items() if name in known or name.upper().startswith(PREFIX)}
