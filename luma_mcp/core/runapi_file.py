"""RunAPI's own configuration file, changed as its own tools change it: written whole, with what else it holds (7.2).

It is written under another name, which only a killed login leaves behind: whoever changes the file next removes that.
Where two change it at once, the last one counts.
"""

import json
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from luma_mcp.core import failpoints
from luma_mcp.core.errors import LumaError
from luma_mcp.core.settings_sources import runapi_file_path
from luma_mcp.core.small_files import OTHERS_WRITE, read_small
from luma_mcp.core.text import is_object

KEY_NAMES = ("api_key", "apiKey")
ADDRESS_NAMES = ("base_url", "baseUrl")
UNFINISHED_SECONDS = 60.0  # writing takes a moment


class RunAPIFileUnusable(LumaError):
    """RunAPI's configuration file cannot be read or changed; it is as it was."""

    code = "output_not_writable"
    hint = "It was left as it is. Mend or remove the file, or set RUNAPI_API_KEY instead."


def check_runapi_file() -> None:
    """Raise `RunAPIFileUnusable` for a file that could not be changed, before a key is asked for."""
    path, _ = read_content()
    if os.path.lexists(path) and not os.access(path.parent, os.W_OK):
        raise RunAPIFileUnusable(f"{path.parent} cannot be written.")


def store_key(key: SecretStr, base_url: str, usual_base_url: str) -> Path:
    """Put a key into the file, with its address unless that is the usual one; give the file's path.

    Raises `RunAPIFileUnusable`.
    """
    path, content = read_content()
    for name in (*KEY_NAMES, *ADDRESS_NAMES):
        content.pop(name, None)
    content["api_key"] = key.get_secret_value()
    if base_url != usual_base_url:
        content["base_url"] = base_url  # a key is never sent to another address than its own
    replace_content(path, content)
    return path


def remove_key() -> Path | None:
    """Take the key out of the file; give the file's path, None if it held none. Raises `RunAPIFileUnusable`."""
    path, content = read_content()
    if not any(content.get(name) for name in KEY_NAMES):
        remove_unfinished(path)
        return None
    for name in (*KEY_NAMES, *ADDRESS_NAMES):
        content.pop(name, None)
    replace_content(path, content)
    return path


def read_content() -> tuple[Path, dict[str, Any]]:
    path = runapi_file_path()
    if path is None:
        raise RunAPIFileUnusable("This user has no home folder, so there is no place for RunAPI's file.")
    try:
        content: object = json.loads(read_small(path, refused_bits=OTHERS_WRITE).decode("utf-8-sig"))
    except FileNotFoundError:
        return path, {}
    except OSError as error:
        raise RunAPIFileUnusable(f"{path} cannot be used: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RunAPIFileUnusable(f"{path} is not JSON.") from error
    if not is_object(content):
        raise RunAPIFileUnusable(f"{path} is JSON of another kind.")
    return path, dict(content)


def replace_content(path: Path, content: dict[str, Any]) -> None:
    """Write the file whole under another name, readable by this user only, and give it its name."""
    target = Path(os.path.realpath(path))
    new = target.with_name(f"{unfinished_prefix(target)}{uuid.uuid4().hex[:8]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            failpoints.reach("runapi_file.written")
            os.replace(new, target)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise RunAPIFileUnusable(f"{path} cannot be written: {error.strerror}.") from error
    remove_unfinished(path)


def remove_unfinished(path: Path) -> None:
    """Remove what others began to write in place of the file so long ago that they were killed."""
    target = Path(os.path.realpath(path))
    with suppress(OSError):  # what cannot be removed stays readable by this user only
        for begun in target.parent.glob(f"{unfinished_prefix(target)}*"):
            if begun.lstat().st_mtime < time.time() - UNFINISHED_SECONDS:
                begun.unlink(missing_ok=True)


def unfinished_prefix(target: Path) -> str:
    return f".{target.name}.luma-mcp-"
