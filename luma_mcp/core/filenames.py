"""What saved videos are called: names that people can read and that Windows, macOS and Linux all take."""

import os
import re
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import PurePath

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import Task

NAME_WORDS = 6
NAME_BYTES = 150
LONGEST_PATH = 250 if sys.platform == "win32" else 1000  # Windows takes 259 characters; a name may still get a number
SUFFIXES = (".mp4", ".mov")
FORBIDDEN = frozenset('<>:"/\\|?*')
PORTS = [f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"]
RESERVED = frozenset(["con", "prn", "aux", "nul", "conin$", "conout$", *PORTS])
HINT = "Give a plain file name such as foggy-morning.mp4, or leave filename out."


def readable_name(task: Task, folder: PurePath) -> str:
    """Make a name of the day, words of the prompt, and the short id; fewer words in a folder with a long path."""
    day = datetime.fromtimestamp(task.finished_at or task.created_at, UTC).strftime("%Y-%m-%d")
    plain = unicodedata.normalize("NFC", task.request.prompt.lower())
    words = [word for word in re.findall(r"\w+", plain) if word not in RESERVED and is_writable(word)][:NAME_WORDS]
    short_id = re.sub(r"\W", "", task.task_id or task.key)[:8] or "video"
    name = "-".join([day, *words])
    end = f"-{short_id}{SUFFIXES[0]}"
    while len(name.encode()) > NAME_BYTES or (len(name) > len(day) and len(f"{folder / name}{end}") > LONGEST_PATH):
        name = name[:-1]
    return f"{name.rstrip('-')}{end}"


def is_writable(name: str) -> bool:
    """Tell whether this system's file names can have these characters: in an old locale of Linux, few can be had."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def checked_name(wanted: str) -> str:
    """Give a caller's name for a file, with `.mp4` if it lacks that; empty stays empty.

    Raises `InvalidRequest` for what is a path, or no name on one of the systems.
    """
    name = unicodedata.normalize("NFC", wanted.strip())
    if not name:
        return ""
    if fault := fault_in(name):
        raise InvalidRequest(f"filename {fault}.", hint=HINT)
    return name if name.lower().endswith(SUFFIXES) else f"{name}{SUFFIXES[0]}"


def fault_in(name: str) -> str:
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
    if not is_writable(name):
        return f"has characters that file names cannot have here ({sys.getfilesystemencoding()})"
    return ""
