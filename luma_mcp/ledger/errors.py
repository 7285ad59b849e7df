"""Why the ledger's file cannot be used, and what a person can do about that.

No advice is to begin with an empty data folder: it knows nothing of tasks that were paid for, and repeats would pay
again.
"""

import errno
import os
import sqlite3
from pathlib import Path

NEWER_HINT = "Update this server to the version that the other hosts use, then restart this server."
OLD_HINT = "Run this server with a Python whose SQLite is newer, such as one that `uv python install` brings."
STRANGE_HINT = (
    "Something else has changed this file, so nothing in it is used. Put back a copy that this server wrote, and look"
    " at your RunAPI account before anything is submitted anew."
)
OWN_HINT = (
    "Let the data folder and the files in it belong to you (chown), and let nobody else write there (chmod go-w)."
)
LOCKED_HINT = "End what else uses the ledger (another host, a backup, a database browser), then repeat the call."
FULL_HINT = "Free some space on its disk, then repeat the call."
SILENT_HINT = "Have the disk of the data folder looked at if this goes on, then repeat the call."
MOVED_HINT = "Let nothing else move, replace or remove the ledger, and call list_tasks before the call is repeated."
LOCAL_HINT = (
    "The ledger needs a disk whose locks work, which network disks and some shared folders lack: move the data folder,"
    " with the ledger in it, to a local disk, and name its new place with LUMA_MCP_DATA_DIR."
)
LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
UNSHARED = frozenset(
    {
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMLOCK,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_LOCK,
        sqlite3.SQLITE_IOERR_RDLOCK,
        sqlite3.SQLITE_IOERR_UNLOCK,
        sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
    }
)


class LeaseLost(Exception):
    """Another process has taken a task over; what this one still believes about it counts no more."""


class Refused(sqlite3.DatabaseError):
    """A file that is left as it is, neither used nor rescued; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def advice(error: Exception, path: Path) -> str:
    """Say what mends an error of SQLite or the file system with the ledger at a path; empty for the usual advice."""
    if isinstance(error, Refused):
        return error.hint
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code in UNSHARED or (code == sqlite3.SQLITE_CANTOPEN and is_writable(path)):
        return LOCAL_HINT
    if code & 0xFF in LOCKED:
        return LOCKED_HINT
    full = code == sqlite3.SQLITE_FULL or (isinstance(error, OSError) and error.errno in FULL)
    return FULL_HINT if full else ""


def is_writable(path: Path) -> bool:
    """Tell whether an existing file and its folder can be written, as far as permissions tell."""
    return os.path.exists(path) and os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)
