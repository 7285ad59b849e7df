"""The ledger's file in use: one connection that reads, one that writes, and a clear error when neither can."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from luma_mcp.ledger_errors import advice
from luma_mcp.ledger_place import Place
from luma_mcp.ledger_records import Row
from luma_mcp.ledger_rescue import check_whole, is_damaged, replace_damaged, restore
from luma_mcp.ledger_schema import (
    create_database,
    open_database,
    prepare,
    refuse_newer,
    refuse_strange,
    schema_cookie,
    transaction,
)
from luma_mcp.storage_errors import LedgerDamaged, LedgerUnusable

QUEUE_SECONDS = 3.0
LONGEST_QUEUE_SECONDS = 20.0
UNWRITABLE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})

T = TypeVar("T")
logger = logging.getLogger(__name__)


class LedgerFile:
    """Reads on one thread and writes on another, so that nothing of the file ever holds up the event loop.

    A writer may have to wait, a few seconds at most, for another process's lock or for a slow disk, and longer while
    many write one after the other; readers do not.
    """

    def __init__(self, place: Place) -> None:
        self._path = place.path
        self._reader = Opened(place)
        self._writer = Opened(place)
        self._reading = anyio.CapacityLimiter(1)
        self._writing = anyio.CapacityLimiter(1)
        self._queue: dict[anyio.CancelScope, float] = {}
        self._rescuing = threading.Lock()
        self._notice = ""

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        self._reader.close()
        self._writer.close()

    async def read(self, query: str, values: Sequence[Any] | Row) -> list[sqlite3.Row]:
        """Run a query; raise `LedgerUnusable`."""
        return await anyio.to_thread.run_sync(self._read, query, values, limiter=self._reading)

    def _read(self, query: str, values: Sequence[Any] | Row) -> list[sqlite3.Row]:
        with self._usable():
            try:
                with self._reader.in_use() as db:
                    return db.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if not is_frozen(self._path, error):
                    raise
            with closing(open_frozen(self._path)) as frozen:
                return frozen.execute(query, values).fetchall()

    async def write(self, work: Callable[[sqlite3.Connection], T], *, heeding: bool = False) -> T:
        """Do some work as one transaction, alone among all processes; raise `LedgerUnusable`.

        Work that might do something twice, because the file has forgotten it, heeds damage that nobody was told of.
        """
        latest = anyio.current_time() + LONGEST_QUEUE_SECONDS
        with anyio.move_on_after(QUEUE_SECONDS) as turn:
            self._queue[turn] = latest
            try:
                written = await anyio.to_thread.run_sync(self._write, work, heeding, limiter=self._writing)
            finally:
                del self._queue[turn]
            self._moves_on()
            return written
        raise LedgerUnusable(f"The ledger {self._path} cannot be used: others are still writing to it.")

    def _moves_on(self) -> None:
        """Let those who wait for their turn wait on, as long as the queue moves."""
        for turn, latest in self._queue.items():
            turn.deadline = min(anyio.current_time() + QUEUE_SECONDS, latest)

    async def shrink(self) -> None:
        """Give the space of deleted rows back to the disk."""
        await anyio.to_thread.run_sync(self._shrink, limiter=self._writing)

    def _shrink(self) -> None:
        with self._usable(), self._writer.in_use() as db:
            db.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page only

    def _write(self, work: Callable[[sqlite3.Connection], T], heeding: bool) -> T:  # noqa: FBT001 - threads take no names
        if heeding:
            with self._rescuing:
                if self._notice:
                    raise LedgerDamaged(self._notice)
        with self._usable(), self._writer.in_use() as db, transaction(db):
            refuse_newer(db)
            return work(db)

    @contextmanager
    def telling(self) -> Generator[None]:
        """Let a caller know once that the ledger was damaged, whoever found it out."""
        if notice := self._notice:
            self._notice = ""
            raise LedgerDamaged(notice)
        try:
            yield
        except LedgerDamaged:
            self._notice = ""
            raise

    def _rescue(self) -> str:
        try:
            return replace_damaged(self._path, self.close)
        except OSError as error:
            raise OSError(f"it is damaged, and cannot be kept aside: {error.strerror}") from error

    @contextmanager
    def _usable(self) -> Generator[None]:
        with unusable(self._path):
            try:
                yield
            except sqlite3.DatabaseError as error:
                if not is_damaged(error):
                    raise
                with self._rescuing:
                    if notice := self._rescue():
                        logger.error("%s", notice)
                        self._notice = notice
                if self._notice:
                    raise LedgerDamaged(self._notice) from error
                raise  # another process was faster, and tells its own callers


class Opened:
    """A connection to the file that lies at a path now: one that was replaced or removed is not written to."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._path = place.path
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._cookie = 0
        self._busy = threading.Lock()

    def close(self) -> None:
        """Close the connection, once no thread is in the middle of something; it is opened again when needed."""
        with self._busy:
            self._let_go()

    @contextmanager
    def in_use(self) -> Generator[sqlite3.Connection]:
        """Give the connection to one thread at a time."""
        with self._busy:
            yield self._connection()

    def _let_go(self) -> None:
        if self._db:
            self._db.close()
            self._db = None

    def _connection(self) -> sqlite3.Connection:
        """Give the connection, opened anew if the file is another one; a file that was removed is put back.

        Whatever lies there is looked at before it is used, and again when anybody has changed its schema.
        """
        lies_there = identity(self._path)
        if self._db and lies_there != self._identity:
            if lies_there is None:
                logger.warning("The ledger %s was removed while in use, and is put back", self._path)
                restore(self._path, self._db)
            self._let_go()
        if self._db is None:
            self._place.make_safe()
            check_whole(self._path)
            if lies_there is None:
                create_database(self._path)
            self._db = open_database(self._path)
            self._identity, self._cookie = identity(self._path), schema_cookie(self._db)
        elif (cookie := schema_cookie(self._db)) != self._cookie:
            refuse_strange(self._db)
            self._cookie = cookie
        return self._db


def is_frozen(path: Path, error: sqlite3.OperationalError) -> bool:
    """Tell whether a file cannot be opened in a folder or on a disk that takes no writes, but is complete in itself."""
    wal = path.with_name(f"{path.name}-wal")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return code in UNWRITABLE and path.is_file() and not (wal.is_file() and wal.stat().st_size)


def open_frozen(path: Path) -> sqlite3.Connection:
    """Open a file that nobody can write to, for reading: SQLite then needs no files beside it."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    prepare(db)
    refuse_strange(db)
    return db


def identity(path: Path) -> tuple[int, int] | None:
    """Tell which file lies at a path, whatever it is called; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def unusable(path: Path) -> Generator[None]:
    """Turn what SQLite and the file system say into `LedgerUnusable`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnusable(f"The ledger {path} cannot be used: {error}.", hint=advice(error, path)) from error
