"""Replacing a damaged file by what can be read of it, and restoring one that was removed while in use.

The damaged file is kept. A rescue may be killed at any step: that file stays until a complete new one is there.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from luma_mcp.core import failpoints
from luma_mcp.ledger.errors import primary_code
from luma_mcp.ledger.files import (
    DATABASE_SUFFIXES,
    RESCUED_SUFFIX,
    create_atomically,
    create_private_file,
    exclusive_lock,
    sidecar_path,
)
from luma_mcp.ledger.records import COLUMNS, is_valid_row
from luma_mcp.ledger.schema import (
    configure_connection,
    open_database,
    refuse_newer,
    refuse_unknown_objects,
    transaction,
)

DAMAGED_MARK = ".damaged-"  # in the name of a copy, with the time behind it
RESCUED_COLUMNS = (*COLUMNS, "name", "folded_prompt")
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
PAGE_SIZE_BYTES = slice(16, 18)  # places in the header of a database file
PAGE_COUNT_BYTES = slice(28, 32)


class EmptyFileError(sqlite3.DatabaseError):
    """The file was emptied."""


def is_damaged(error: BaseException | None) -> bool:
    return isinstance(error, EmptyFileError) or primary_code(error) in DAMAGE


def check_intact(path: Path) -> None:
    """Finish a rescue that was interrupted, and refuse a file that was emptied (`EmptyFileError`)."""
    if sidecar_path(path, RESCUED_SUFFIX).exists():
        with exclusive_lock(path):
            install_rescued(path)
    if path.exists() and not path.stat().st_size:
        raise EmptyFileError("the file is empty")


def replace_damaged(path: Path, let_go: Callable[[], None]) -> str:
    """Copy a damaged file aside, and replace it by a new one with the tasks that can be read.

    Gives a message for callers, empty if the file is sound: another process was faster. `let_go` closes what this
    process has open of it.
    """
    with exclusive_lock(path):
        install_rescued(path)
        if not is_still_damaged(path):
            return ""
        with ExitStack() as unless_done:
            kept = free_damaged_name(path)
            unless_done.callback(remove_database, kept)  # a full disk must not fill up further with each attempt
            copy_database(path, kept)
            failpoints.reach("rescue.kept")
            found = salvage(path)
            unless_done.callback(sidecar_path(path, RESCUED_SUFFIX).unlink)  # it would lack what others still write
            let_go()
            refuse_open(path)
            unless_done.pop_all()
        failpoints.reach("rescue.salvaged")
        install_rescued(path)
    return f"The ledger was damaged and is kept as {kept}. A new one was begun with {found} tasks read from it."


def is_still_damaged(path: Path) -> bool:
    try:
        check_intact(path)
        if not path.exists():
            return False
        with closing(sqlite3.connect(path)) as db:
            return [tuple(row) for row in db.execute("PRAGMA quick_check")] != [("ok",)]
    except sqlite3.DatabaseError as error:
        if is_damaged(error):
            return True
        raise


@contextmanager
def suppress_damage() -> Generator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise


def free_damaged_name(path: Path) -> Path:
    stem = f"{path.name}{DAMAGED_MARK}{datetime.now(UTC):%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    return path.with_name(next(name for name in names if not os.path.lexists(path.with_name(name))))


def list_damaged_copies(path: Path) -> frozenset[str]:
    """Name the damaged files that are kept beside a ledger, without what SQLite kept beside them."""
    with suppress(OSError):
        found = [name for name in os.listdir(path.parent) if name.startswith(f"{path.name}{DAMAGED_MARK}")]
        return frozenset(name for name in found if name[-1].isdigit())
    return frozenset()


def copy_database(path: Path, to: Path) -> None:
    for suffix in DATABASE_SUFFIXES:
        with suppress(FileNotFoundError):
            shutil.copy2(sidecar_path(path, suffix), sidecar_path(to, suffix))


def salvage(path: Path) -> int:
    """Make the file `.rescued`, complete, with the tasks that can be read of the damaged one; give their number."""
    work, new = sidecar_path(path, "-rescue-work"), sidecar_path(path, "-rescue-new")
    remove_database(new)  # one that a killed process has left is not complete
    try:
        remove_database(work)
        copy_database(path, work)
        pad_to_header_size(work)
        create_private_file(new)
        with closing(open_database(new)) as fresh:
            found = copy_rows(work, fresh)
        new.replace(sidecar_path(path, RESCUED_SUFFIX))
    finally:
        remove_database(work)
        remove_database(new)
    return found


def install_rescued(path: Path) -> None:
    """Replace the damaged file by the rescued one, if there is one; the damaged one was copied aside before."""
    rescued = sidecar_path(path, RESCUED_SUFFIX)
    if rescued.exists():
        refuse_open(path)
        for suffix in DATABASE_SUFFIXES[1:]:
            sidecar_path(path, suffix).unlink(missing_ok=True)
        failpoints.reach("rescue.cleared")
        rescued.replace(path)


def refuse_open(path: Path) -> None:
    """Raise `PermissionError`, before anything is changed, if Windows would not let a file that is open be replaced."""
    with suppress(FileNotFoundError):
        path.replace(path)  # changes nothing, and is refused like the real one


def remove_database(path: Path) -> None:
    for suffix in DATABASE_SUFFIXES:
        sidecar_path(path, suffix).unlink(missing_ok=True)


def pad_to_header_size(path: Path) -> None:
    """Give a file that was cut off the length that its header speaks of, so that SQLite reads what is left."""
    with path.open("r+b") as file:
        header = file.read(PAGE_COUNT_BYTES.stop)
        page_size = int.from_bytes(header[PAGE_SIZE_BYTES])
        announced = page_size * int.from_bytes(header[PAGE_COUNT_BYTES])
        if header.startswith(b"SQLite format 3") and path.stat().st_size < announced < 1 << 32:
            file.truncate(announced)


def copy_rows(damaged: Path, fresh: sqlite3.Connection) -> int:
    """Copy the tasks that can still be read, from both ends towards the damage; give their number.

    Raises `FileRefused` for a file that is not only damaged, as far as its schema can be read.
    """
    with closing(sqlite3.connect(damaged)) as old, transaction(fresh):
        configure_connection(old)
        with suppress_damage():
            refuse_unknown_objects(old)
        return sum(copy_row(row, fresh) for row in iter_valid_rows(old))


def copy_row(row: sqlite3.Row, fresh: sqlite3.Connection) -> int:
    names = [name for name in row.keys() if name in RESCUED_COLUMNS]  # noqa: SIM118 - a row is no mapping
    insert = f"INSERT OR IGNORE INTO tasks ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - column names of ours
    return fresh.execute(insert, [row[name] for name in names]).rowcount


def iter_valid_rows(old: sqlite3.Connection) -> Iterator[sqlite3.Row]:
    for direction in ("ASC", "DESC"):
        with suppress(sqlite3.Error):
            yield from filter(is_valid_row, old.execute(f"SELECT * FROM tasks ORDER BY rowid {direction}"))  # noqa: S608 - one of two words


def restore_removed_file(path: Path, opened: sqlite3.Connection) -> None:
    """Restore a file that was removed while in use from an open connection, which still reads all of it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with create_atomically(path) as new, closing(sqlite3.connect(new)) as fresh:
        opened.backup(fresh)
        refuse_newer(fresh)
