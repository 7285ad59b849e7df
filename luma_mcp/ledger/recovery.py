"""What is done when the ledger's file is damaged, or was taken away while in use: nothing in it is thrown away.

A rescue may itself be killed at any step: the damaged file stays in place until a complete new one can take it.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from luma_mcp.core import failpoints
from luma_mcp.ledger.place import alone, beside, make_private, newly_made
from luma_mcp.ledger.records import COLUMNS, is_task
from luma_mcp.ledger.schema import open_database, prepare, refuse_newer, refuse_strangers, transaction

SHARERS = ("", "-wal", "-shm", "-journal")
SAVED = (*COLUMNS, "name")
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
PAGE_SIZE_BYTES = slice(16, 18)  # places in the header of a database file
PAGE_COUNT_BYTES = slice(28, 32)


class Hollow(sqlite3.DatabaseError):
    """The file was emptied."""


def is_damaged(error: BaseException | None) -> bool:
    """Tell whether the file itself was found broken."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return isinstance(error, Hollow) or (isinstance(error, sqlite3.DatabaseError) and code in DAMAGE)


def check_whole(path: Path) -> None:
    """Finish a rescue that was interrupted, and refuse a file that was emptied (`Hollow`): none begins empty."""
    if beside(path, ".rescued").exists():
        with alone(path):
            put_in_place(path)
    if path.exists() and not path.stat().st_size:
        raise Hollow("the file is empty")


def replace_damaged(path: Path, let_go: Callable[[], None]) -> str:
    """Keep a damaged file aside, and begin a new one with the tasks that can still be read; say so in two sentences.

    Says nothing if the file is sound: another process was faster. `let_go` closes what this process has open of it.
    """
    with alone(path):
        put_in_place(path)
        if not still_damaged(path):
            return ""
        with ExitStack() as unless_done:
            kept = name_aside(path)
            unless_done.callback(remove, kept)  # a full disk must not fill up further with each attempt
            copy(path, kept)
            failpoints.reach("rescue.kept")
            found = salvage(path)
            unless_done.callback(beside(path, ".rescued").unlink)  # it would lack what others still write
            let_go()
            refuse_open(path)
            unless_done.pop_all()
        failpoints.reach("rescue.salvaged")
        put_in_place(path)
    return f"The ledger was damaged and is kept as {kept}. A new one was begun with {found} tasks read from it."


def still_damaged(path: Path) -> bool:
    """Check the whole file."""
    try:
        check_whole(path)
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
    """Go on where the file is found broken."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise


def name_aside(path: Path) -> Path:
    """Make a free name that says what happened and when."""
    stem = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    return path.with_name(next(name for name in names if not os.path.lexists(path.with_name(name))))


def kept_aside(path: Path) -> frozenset[str]:
    """Name the damaged files that are kept beside a ledger, without what SQLite kept beside them."""
    with suppress(OSError):
        found = [name for name in os.listdir(path.parent) if name.startswith(f"{path.name}.damaged-")]
        return frozenset(name for name in found if name[-1].isdigit())
    return frozenset()


def copy(path: Path, to: Path) -> None:
    """Copy a database with what SQLite keeps beside it."""
    for suffix in SHARERS:
        with suppress(FileNotFoundError):
            shutil.copy2(beside(path, suffix), beside(to, suffix))


def salvage(path: Path) -> int:
    """Make a complete new file, under a name that says so, of the tasks that can still be read; give their number."""
    work, new = beside(path, "-rescue-work"), beside(path, "-rescue-new")
    remove(new)  # one that a killed process has left is not complete
    try:
        remove(work)
        copy(path, work)
        fill_up(work)
        make_private(new)
        with closing(open_database(new)) as fresh:
            found = copy_rows(work, fresh)
        new.replace(beside(path, ".rescued"))
    finally:
        remove(work)
        remove(new)
    return found


def put_in_place(path: Path) -> None:
    """Let a rescued file take the place of the damaged one, which is kept aside by then."""
    rescued = beside(path, ".rescued")
    if rescued.exists():
        refuse_open(path)
        for suffix in SHARERS[1:]:
            beside(path, suffix).unlink(missing_ok=True)
        failpoints.reach("rescue.cleared")
        rescued.replace(path)


def refuse_open(path: Path) -> None:
    """Raise `PermissionError`, before anything is changed, if Windows would not let a file that is open be replaced."""
    with suppress(FileNotFoundError):
        path.replace(path)  # changes nothing, and is refused like the real one


def remove(path: Path) -> None:
    """Remove a database with what SQLite keeps beside it."""
    for suffix in SHARERS:
        beside(path, suffix).unlink(missing_ok=True)


def fill_up(path: Path) -> None:
    """Give a file that was cut off the length that its header speaks of, so that SQLite reads what is left."""
    with path.open("r+b") as file:
        header = file.read(PAGE_COUNT_BYTES.stop)
        page_size = int.from_bytes(header[PAGE_SIZE_BYTES])
        announced = page_size * int.from_bytes(header[PAGE_COUNT_BYTES])
        if header.startswith(b"SQLite format 3") and path.stat().st_size < announced < 1 << 32:
            file.truncate(announced)


def copy_rows(damaged: Path, fresh: sqlite3.Connection) -> int:
    """Copy the tasks that can still be read, from both ends towards the damage; give their number.

    Raises `Refused` for a file that is not only damaged, as far as its schema can be read.
    """
    with closing(sqlite3.connect(damaged)) as old, transaction(fresh):
        prepare(old)
        with suppress_damage():
            refuse_strangers(old)
        return sum(copy_row(row, fresh) for row in readable(old))


def copy_row(row: sqlite3.Row, fresh: sqlite3.Connection) -> int:
    """Copy one task; tell how many rows that made."""
    names = [name for name in row.keys() if name in SAVED]  # noqa: SIM118 - a row is no mapping
    insert = f"INSERT OR IGNORE INTO tasks ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - column names of ours
    return fresh.execute(insert, [row[name] for name in names]).rowcount


def readable(old: sqlite3.Connection) -> Iterator[sqlite3.Row]:
    """Read the rows that are tasks, as far as they can be read."""
    for direction in ("ASC", "DESC"):
        with suppress(sqlite3.Error):
            yield from filter(is_task, old.execute(f"SELECT * FROM tasks ORDER BY rowid {direction}"))  # noqa: S608 - one of two words


def restore(path: Path, opened: sqlite3.Connection) -> None:
    """Put a file back that was removed while in use: as long as it is open, all of it can be read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with newly_made(path) as new, closing(sqlite3.connect(new)) as fresh:
        opened.backup(fresh)
        refuse_newer(fresh)
