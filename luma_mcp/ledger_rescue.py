"""What is done when the ledger's file is damaged, or was taken away while in use: nothing in it is thrown away."""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from luma_mcp.ledger_schema import COLUMNS, open_database, refuse_newer, task_of, transaction

SHARERS = ("", "-wal", "-shm")
SAVED = (*COLUMNS, "fingerprint")
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_damaged(error: BaseException | None) -> bool:
    """Tell whether SQLite found the file itself broken."""
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Let one process at a time work on the file itself; the lock dies with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with closing(sqlite3.connect(f"{path}-rescue", isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def replace_damaged(path: Path) -> str:
    """Keep a damaged file aside, and begin a new one with the tasks that can still be read; say so in two sentences.

    Says nothing if the file is sound: another process was faster.
    """
    with alone(path):
        if not still_damaged(path):
            return ""
        kept = keep_aside(path)
        with closing(open_database(path)) as fresh:
            found = salvage(kept, fresh)
    return f"The ledger was damaged and is kept as {kept}. A new one was begun with {found} tasks read from it."


def still_damaged(path: Path) -> bool:
    """Check the whole file."""
    try:
        with closing(sqlite3.connect(path)) as db:
            return [tuple(row) for row in db.execute("PRAGMA quick_check")] != [("ok",)]
    except sqlite3.DatabaseError as error:
        if is_damaged(error):
            return True
        raise


def keep_aside(path: Path) -> Path:
    """Give the file, and what SQLite keeps beside it, a name that says what happened and when."""
    stem = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    kept = path.with_name(next(name for name in names if not path.with_name(name).exists()))
    for suffix in SHARERS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    return kept


def salvage(damaged: Path, fresh: sqlite3.Connection) -> int:
    """Copy the tasks that can still be read, from both ends towards the damage; give their number."""
    columns = ", ".join(SAVED)
    insert = f"INSERT OR IGNORE INTO tasks ({columns}) VALUES ({', '.join('?' * len(SAVED))})"  # noqa: S608 - column names of ours
    with closing(sqlite3.connect(damaged)) as old, transaction(fresh):
        old.row_factory = sqlite3.Row
        return sum(fresh.execute(insert, [row[name] for name in SAVED]).rowcount for row in readable(old))


def readable(old: sqlite3.Connection) -> Iterator[sqlite3.Row]:
    """Read the rows that are tasks, as far as they can be read."""
    for direction in ("ASC", "DESC"):
        with suppress(sqlite3.Error):
            yield from filter(is_task, old.execute(f"SELECT * FROM tasks ORDER BY rowid {direction}"))  # noqa: S608 - one of two words


def is_task(row: sqlite3.Row) -> bool:
    """Tell whether a row makes sense."""
    try:
        task_of(row)
    except (ValueError, TypeError, LookupError):
        return False
    return True


def restore(path: Path, opened: sqlite3.Connection) -> None:
    """Put a file back that was removed while in use: as long as it is open, all of it can be read."""
    with alone(path):
        if not path.exists():
            with closing(sqlite3.connect(path)) as fresh:
                opened.backup(fresh)
                refuse_newer(fresh)
