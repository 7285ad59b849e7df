"""Why the ledger's file or database cannot be used, and what a person can do about that.

No advice is to begin with an empty data folder: it knows nothing of tasks that were paid for, and repeats would pay
again.
"""

import errno
import os
import sqlite3
from pathlib import Path

NEWER_HINT = "Update this server to the version that the other hosts use, then restart this server."
OLD_SQLITE_HINT = "Run this server with a Python whose SQLite is newer, such as one that `uv python install` brings."
UNKNOWN_SCHEMA_HINT = (
    "Something else has changed this file, so nothing in it is used. Put back a copy that this server wrote, and look"
    " at your RunAPI account before anything is submitted anew."
)
OWN_HINT = (
    "Let the data folder and the files in it belong to you (chown), and let nobody else write there (chmod go-w)."
)
LOCKED_HINT = "End what else uses the ledger (another host, a backup, a database browser), then try again."
FULL_HINT = "Free some space on its disk, then try again."
DISK_STUCK_HINT = "Have the disk of the data folder looked at if this goes on, then try again."
MOVED_HINT = "Let nothing else move, replace or remove the ledger, and look at the list of tasks before you try again."
LOCAL_HINT = (
    "The ledger needs a disk whose locks work, which network disks and some shared folders lack: move the data folder,"
    " with the ledger in it, to a local disk, and name its new place with LUMA_MCP_DATA_DIR."
)
DATABASE_HINT = (
    "See whether the database is up and LUMA_MCP_DATABASE_URL is right (`luma-mcp doctor` looks), then try again; what"
    " RunAPI has is not lost."
)
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_LOCKING_CODES = frozenset(
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
HINTS = dict.fromkeys(NO_LOCKING_CODES, LOCAL_HINT) | {
    sqlite3.SQLITE_BUSY: LOCKED_HINT,
    sqlite3.SQLITE_LOCKED: LOCKED_HINT,
    sqlite3.SQLITE_FULL: FULL_HINT,
}


class WriteRefused(Exception):
    """What was to be written does not fit what others have written; nothing of it was."""


class LeaseLost(WriteRefused):
    """Another process has taken a task over; what this one still believes about it counts no more."""


class TaskIdTaken(WriteRefused):
    """Another task has the id that RunAPI named."""


class StoreRefused(Exception):
    """A database that is not used; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class FileRefused(sqlite3.DatabaseError):
    """A file that is left as it is, neither used nor rescued; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def hint_for_error(error: Exception, path: Path) -> str:
    """Say what mends an error of SQLite or the file system with the ledger at a path; empty for the usual advice."""
    if isinstance(error, FileRefused):
        return error.hint
    if isinstance(error, OSError):
        return FULL_HINT if error.errno in FULL else ""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code == sqlite3.SQLITE_CANTOPEN and has_write_permission(path):
        return LOCAL_HINT
    return HINTS.get(code) or HINTS.get(primary_code(error), "")


def primary_code(error: BaseException | None) -> int:
    """Give SQLite's code of an error without what its upper bits add; 0 for an error that has none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF


def has_write_permission(path: Path) -> bool:
    return os.path.exists(path) and os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)
