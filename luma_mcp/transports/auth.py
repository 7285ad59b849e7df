"""Who may come in over HTTP: the token of this user's own clients, and this server's own names."""

import os
import re
import secrets
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.types import Scope

from luma_mcp.core.addresses import WILDCARD_ADDRESSES, bracketed
from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.core.rename import is_empty_file, rename_without_replacing
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.core.small_files import OTHERS_TOUCH, read_small
from luma_mcp.server.context import caller_name

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
TOKEN_FILE = "http-token"  # noqa: S105 - a file's name
FORM = re.compile(rb"[A-Za-z0-9_-]{43}\n")
REMEDY = "remove that file to have a new one made, or name callers with LUMA_MCP_AUTH_TOKENS"


def authenticated_caller(scope: Scope) -> str:
    """Name the caller whose token came with a request; empty if none did."""
    return caller_name(scope.get("user"))


def own_host_names(settings: Settings) -> frozenset[str]:
    """List the host names of this server, with a port where only that one is meant.

    The public name is one of them only where tokens keep the public out; without, it is there for RunAPI's callbacks.
    """
    own = settings.host.lower()
    keeps_out = settings.tokens or settings.names_callers
    public = (urlsplit(settings.public_url).hostname or "") if keeps_out else ""
    resource = (urlsplit(settings.oauth_audience[0]).hostname or "") if settings.oauth_audience else ""
    named = {bracketed(own), bracketed(public), bracketed(resource)} - WILDCARD_ADDRESSES
    return LOOPBACK_NAMES | frozenset(settings.allowed_hosts) | named


def is_own_host(host: str, known: Collection[str]) -> bool:
    """Tell whether a `Host` header names this server: a known name with any port, or a known name and port."""
    given = host.lower()
    name, colon, port = given.rpartition(":")
    bare = name if colon and port.isascii() and port.isdigit() else given
    return given in known or bare.removesuffix(".") in known


def is_own_origin(origin: str, known: Collection[str]) -> bool:
    """Tell whether an `Origin` header names a page of this server or this machine."""
    scheme, _, host = origin.partition("://")
    return scheme in {"http", "https"} and is_own_host(host, known)


def with_local_token(settings: Settings) -> Settings:
    """Add the token of this user's own clients where the settings name no callers; raise `BadSetting`.

    They are the same caller as on stdio, so both see the same tasks.
    """
    if settings.auth_tokens is not None or settings.names_callers:
        return settings
    pair = SecretStr(f"{LOCAL_CALLER}:{ensure_local_token(settings.data_dir).get_secret_value()}")
    return settings.model_copy(update={"auth_tokens": (pair,)})


def ensure_local_token(folder: Path) -> SecretStr:
    """Give the token that is kept in a data folder, made if there is none.

    Raises `BadSetting` if it cannot be kept, or if others than this user could have read or written it.
    """
    path = folder / TOKEN_FILE
    try:
        if not os.path.lexists(path) or is_empty_file(path):
            make_token(path)
        return SecretStr(read_token(path))
    except OSError as error:
        message = f"the token in {path} cannot be used: {error.strerror}; {REMEDY}"
        raise BadSetting("LUMA_MCP_DATA_DIR", message) from error


def read_token(path: Path) -> str:
    """Read a token; raise `OSError` for a file of a form or with permissions that this server gives none."""
    if os.path.islink(path):
        raise OSError(0, "it is a link")
    content = read_small(path, refused_bits=OTHERS_TOUCH)
    if not FORM.fullmatch(content):
        raise OSError(0, "it holds something else")
    return content.decode().strip()


def make_token(path: Path) -> None:
    """Write a new token, whole or not at all; if another process was quicker, its token stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{TOKEN_FILE}-{uuid.uuid4().hex}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            rename_without_replacing(part, path)
        if is_empty_file(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
