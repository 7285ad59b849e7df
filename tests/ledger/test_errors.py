"""What is advised when the ledger's file cannot be used."""

import errno
import sqlite3
from pathlib import Path

import pytest

from luma_mcp.cli.doctor import run
from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.ledger import errors
from luma_mcp.ledger.errors import FULL_HINT, LOCAL_HINT, LOCKED_HINT, FileRefused, hint_for_error


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (sqlite3.SQLITE_IOERR_SHMOPEN, LOCAL_HINT),
        (sqlite3.SQLITE_IOERR_SHMMAP, LOCAL_HINT),
        (sqlite3.SQLITE_IOERR_SHMLOCK, LOCAL_HINT),
        (sqlite3.SQLITE_IOERR_LOCK, LOCAL_HINT),
        (sqlite3.SQLITE_PROTOCOL, LOCAL_HINT),
        (sqlite3.SQLITE_BUSY, LOCKED_HINT),
        (sqlite3.SQLITE_BUSY_RECOVERY, LOCKED_HINT),
        (sqlite3.SQLITE_FULL, FULL_HINT),
        (sqlite3.SQLITE_IOERR_READ, ""),
        (sqlite3.SQLITE_CANTOPEN, ""),
    ],
)
def test_each_error_of_the_disk_has_the_advice_that_fits(path: Path, code: int, hint: str) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    assert hint_for_error(error, path) == hint


def test_no_advice_is_to_begin_with_an_empty_folder() -> None:
    hints = [value for name, value in vars(errors).items() if name.endswith("HINT")]
    for hint in (LedgerUnusable.hint, run.ACCESS, run.GONE, *hints):
        assert "another" not in hint.replace("another host", "")
        assert "LUMA_MCP_DATA_DIR" not in hint or "with the ledger in it" in hint


def test_a_file_that_cannot_be_opened_although_it_may_be_lies_on_a_disk_without_locks(found: Path) -> None:
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    assert hint_for_error(error, found) == LOCAL_HINT


def test_a_file_that_is_refused_brings_its_own_advice_and_a_full_disk_has_one_whoever_tells(path: Path) -> None:
    assert hint_for_error(FileRefused("it is newer", "update"), path) == "update"
    assert hint_for_error(OSError(errno.ENOSPC, "full"), path) == FULL_HINT
    assert hint_for_error(OSError(errno.EDQUOT, "full"), path) == FULL_HINT
    assert hint_for_error(OSError(errno.EACCES, "no"), path) == ""
