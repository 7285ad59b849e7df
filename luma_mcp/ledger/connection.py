"""One connection to the ledger's file, as it lies there now; and what callers must be told of the file before it."""

import logging
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager

from luma_mcp.ledger.errors import SILENT_HINT, Refused
from luma_mcp.ledger.place import Place, identity
from luma_mcp.ledger.recovery import check_whole, kept_aside, restore
from luma_mcp.ledger.schema import create_database, open_database, refuse_strange, schema_cookie

STUCK_SECONDS = 3.0  # longer than a thread waits for a lock
OF_THE_DISK = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})

logger = logging.getLogger(__name__)


class Opened:
    """A connection to the file that lies at a path now.

    One to a file that was replaced or removed is not written to, and one that met an error of the disk is not used
    again: it would go on as it was opened, for reading only perhaps, however well the disk is by then.
    """

    def __init__(self, place: Place, notice: "Notice") -> None:
        self.other: Opened | None = None  # of this process, to the same file
        self._place = place
        self._path = place.path
        self._notice = notice
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._cookie = 0
        self._spoilt = False
        self._busy = threading.Lock()

    def close(self) -> None:
        """Close the connection, once no thread is in the middle of something; it is opened again when needed.

        Raises `Refused` if a thread does not come to its end.
        """
        with held(self._busy):
            self._let_go()

    @contextmanager
    def in_use(self) -> Generator[sqlite3.Connection]:
        """Give the connection to one thread at a time; raise `Refused` if the one before does not come to its end."""
        with held(self._busy):
            try:
                yield self._connection()
            except sqlite3.OperationalError as error:
                self._spoilt |= is_of_the_disk(error)
                raise

    def is_in_place(self) -> bool:
        """Tell, while in use, whether the file still lies where it was opened."""
        return identity(self._path) == self._identity

    def put_back(self) -> None:
        """Put a file back that was removed, if this connection has it open still."""
        if self._db:  # otherwise it may be waiting for the other one's
            with held(self._busy):
                self._put_back()

    def _let_go(self) -> None:
        if self._db:
            self._db.close()
            self._db = None

    def _connection(self) -> sqlite3.Connection:
        """Give the connection, opened anew if the file is another one; a file that was removed is put back.

        Whatever lies there is looked at before it is used, and again when anybody has changed its schema.
        """
        lies_there = identity(self._path)
        if lies_there is None:
            self._put_back()
        if self._db and (self._spoilt or lies_there != self._identity):
            self._let_go()
        if self._db is None:
            self._db = self._opened()
        elif (cookie := schema_cookie(self._db)) != self._cookie:
            refuse_strange(self._db)
            self._cookie = cookie
        return self._db

    def _put_back(self) -> None:
        if self._db:
            logger.warning("The ledger %s was removed while in use, and is put back", self._path)
            restore(self._path, self._db)
        elif self.other:
            self.other.put_back()

    def _opened(self) -> sqlite3.Connection:
        self._place.make_safe()
        check_whole(self._path)
        if not self._path.exists():
            create_database(self._path)
        self._identity = identity(self._path)  # if it is replaced now, the next use finds another one
        opened = open_database(self._path)
        self._cookie, self._spoilt = schema_cookie(opened), False
        self._notice.look()
        return opened


class Notice:
    """What a caller must be told: that the file which this process had open was damaged, whoever found it out."""

    def __init__(self, place: Place) -> None:
        self._path = place.path
        self._looking = threading.Lock()
        self._identity: tuple[int, int] | None = None
        self._kept: frozenset[str] = frozenset()
        self.words = ""

    def look(self) -> None:
        """Look whether the file is another one than before because another process found that one damaged."""
        with self._looking:
            before, kept_before = self._identity, self._kept
            self._know()
            if before not in (None, self._identity) and (new := self._kept - kept_before):
                self.words = (
                    f"The ledger was damaged and is kept as {self._path.with_name(max(new))}. Another server has begun"
                    " a new one with the tasks that could be read from it."
                )

    def take(self, words: str) -> None:
        """Keep what this process itself has to say of a file that it replaced."""
        with self._looking:
            self._know()
            self.words = words

    def _know(self) -> None:
        self._identity, self._kept = identity(self._path), kept_aside(self._path)


@contextmanager
def held(lock: threading.Lock, why: str = "its disk does not answer") -> Generator[None]:
    """Hold a lock, unless whoever has it is stuck (`Refused`): all who came after would be stuck behind it."""
    if not lock.acquire(timeout=STUCK_SECONDS):
        raise Refused(why, SILENT_HINT)
    try:
        yield
    finally:
        lock.release()


def is_of_the_disk(error: sqlite3.OperationalError) -> bool:
    """Tell whether an error is the file system's."""
    return code_of(error) in OF_THE_DISK


def is_doubtful(error: BaseException | None) -> bool:
    """Tell whether a transaction that was complete may have been written nevertheless, as when its end got stuck."""
    return code_of(error) == sqlite3.SQLITE_IOERR


def code_of(error: BaseException | None) -> int:
    """Give SQLite's number for an error, without the details; 0 if it has none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF
