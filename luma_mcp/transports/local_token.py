"""The token of this user's own clients over HTTP: made once, and kept in the data folder for all servers there."""

import os
import re
import secrets
import uuid
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.core.rename import is_reserved, rename_without_replacing
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.core.small_files import OTHERS_TOUCH, read_small

TOKEN_FILE = "http-token"  # noqa: S105 - a file's name
FORM = re.compile(rb"[A-Za-z0-9_-]{43}\n")
REMEDY = "remove that file to have a new one made, or name callers with LUMA_MCP_AUTH_TOKENS"


def with_local_token(settings: Settings) -> Settings:
    """Give settings that let in this user's own clients where nobody else was said to come; raise `BadSetting`.

    They are the caller that they are on stdio, so both see the same tasks.
    """
    if settings.auth_tokens is not None:
        return settings
    pair = SecretStr(f"{LOCAL_CALLER}:{local_token(settings.data_dir).get_secret_value()}")
    return settings.model_copy(update={"auth_tokens": (pair,)})


def local_token(folder: Path) -> SecretStr:
    """Give the token that is kept in a data folder, made if there is none.

    Raises `BadSetting` if it cannot be kept, or if others than this user could have read or written it.
    """
    path = folder / TOKEN_FILE
    try:
        if not os.path.lexists(path) or is_reserved(path):
            make_token(path)
        return SecretStr(kept_token(path))
    except OSError as error:
        message = f"the token in {path} cannot be used: {error.strerror}; {REMEDY}"
        raise BadSetting("LUMA_MCP_DATA_DIR", message) from error


def kept_token(path: Path) -> str:
    """Read a token; raise `OSError` for a file that nobody but this user's servers should have made so."""
    if os.path.islink(path):
        raise OSError(0, "it is a link")
    content = read_small(path, refused_bits=OTHERS_TOUCH)
    if not FORM.fullmatch(content):
        raise OSError(0, "it holds something else")
    return content.decode().strip()


def make_token(path: Path) -> None:
    """Put a new token at a path, whole or not at all; if another process was quicker, its token stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{TOKEN_FILE}-{uuid.uuid4().hex}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            rename_without_replacing(part, path)
        if is_reserved(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
