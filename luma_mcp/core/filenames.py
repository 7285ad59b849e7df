"""What saved videos are called: names that people can read and that Windows, macOS and Linux all take."""

import os
import re
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import PurePath

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import SANDBOX_ORIGIN, Task

NAME_WORDS = 6
NAME_BYTES = 150
# Windows takes 259 characters, and a name may still get a number.
MAX_PATH_LENGTH = 250 if sys.platform == "win32" else 1000
VIDEO_SUFFIXES = (".mp4", ".mov")
FORBIDDEN = frozenset('<>:"/\\|?*')
DEVICE_NAMES = [f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"]
RESERVED = frozenset(["con", "prn", "aux", "nul", "conin$", "conout$", *DEVICE_NAMES])
HINT = "Give a plain file name such as foggy-morning.mp4, or leave filename out."


def make_filename(task: Task, folder: PurePath) -> str:
    """Make a name of the day, words of the prompt, and the short id, with fewer words in a folder with a long path.

    The sandbox's videos have it in their names, lest they be taken for Luma's.
    """
    day = datetime.fromtimestamp(task.finished_at or task.created_at, UTC).strftime("%Y-%m-%d")
    start = f"{day}-sandbox" if task.origin == SANDBOX_ORIGIN else day
    plain = unicodedata.normalize("NFC", task.request.prompt.lower())
    words = [word for word in re.findall(r"\w+", plain) if word not in RESERVED and is_encodable(word)][:NAME_WORDS]
    short_id = re.sub(r"\W", "", task.task_id or task.key)[:8] or "video"
    name = "-".join([start, *words])
    end = f"-{short_id}{VIDEO_SUFFIXES[0]}"
    while len(name.encode()) > NAME_BYTES or (
        len(name) > len(start) and len(f"{folder / name}{end}") > MAX_PATH_LENGTH
    ):
        name = name[:-1]
    return f"{name.rstrip('-')}{end}"


def is_encodable(name: str) -> bool:
    """Tell whether file names can have these characters here: an old locale of Linux knows few."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def validate_filename(wanted: str) -> str:
    """Give a caller's name for a file, with `.mp4` if it lacks that; empty stays empty.

    Raises `InvalidRequest` for what is a path, or no name on one of the systems.
    """
    name = unicodedata.normalize("NFC", wanted.strip())
    if not name:
        return ""
    if fault := filename_fault(name):
        raise InvalidRequest(f"filename {fault}.", hint=HINT)
    return name if name.lower().endswith(VIDEO_SUFFIXES) else f"{name}{VIDEO_SUFFIXES[0]}"


def filename_fault(name: str) -> str:
    """Say why a name cannot be used; empty if it can."""
    if found := sorted(FORBIDDEN.intersection(name)):
        return f"must be a plain name, without {' '.join(found)}"
    if not name.isprintable():
        return "must not contain invisible or control characters"
    if name[0] in ".-~" or name.endswith("."):
        return "must not begin with '.', '-' or '~', nor end with '.'"
    if name.partition(".")[0].rstrip().lower() in RESERVED:
        return "is a name that Windows keeps for a device"
    if len(name.encode()) > NAME_BYTES:
        return f"must be at most {NAME_BYTES} bytes long"
    if not is_encodable(name):
        return f"has characters that file names cannot have here ({sys.getfilesystemencoding()})"
    return ""
