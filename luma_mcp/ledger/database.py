"""The ledger's file in use: one connection that reads, one that writes, and a clear error when neither can."""

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from luma_mcp.core.storage_errors import LedgerDamaged, LedgerUnusable
from luma_mcp.ledger.connection import Notice, Opened, held, is_doubtful
from luma_mcp.ledger.errors import MOVED_HINT, SILENT_HINT, Refused, advice
from luma_mcp.ledger.place import Place
from luma_mcp.ledger.records import Row
from luma_mcp.ledger.recovery import is_damaged, replace_damaged
from luma_mcp.ledger.schema import prepare, refuse_newer, refuse_strange, transaction

QUEUE_SECONDS = 3.0
LONGEST_QUEUE_SECONDS = 20.0
ANSWER_SECONDS = 8.0
COUNTS = """
    SELECT count(*), count(*) FILTER (WHERE status NOT IN ('completed', 'failed')),
        count(*) FILTER (WHERE status = 'completed' AND wants_file AND video_path = '') FROM tasks"""
RESCUED = "it is damaged, and what can be read is still being rescued"

T = TypeVar("T")
logger = logging.getLogger(__name__)


class LedgerFile:
    """Reads on one thread and writes on another, so that nothing of the file ever holds up the event loop.

    A writer may have to wait, a few seconds at most, for another process's lock or for a slow disk, and longer while
    many write one after the other; a reader waits while somebody's writing is brought to the disk. Nobody waits longer
    for a disk that hangs: the thread that is stuck in it is left to itself, and those who come later are told.
    """

    def __init__(self, place: Place) -> None:
        self._path = place.path
        self._notice = Notice(place)
        self._reader = Opened(place, self._notice)
        self._writer = Opened(place, self._notice)
        self._reader.other, self._writer.other = self._writer, self._reader
        self._reading = anyio.Lock()
        self._writing = anyio.Lock()
        self._threads = anyio.CapacityLimiter(2)
        self._queue: dict[anyio.CancelScope, float] = {}
        self._rescuing = threading.Lock()

    def close(self) -> None:
        """Close the file, but for what a thread is stuck in; a later call opens it again."""
        for opened in (self._reader, self._writer):
            with suppress(Refused):
                opened.close()

    def _let_go(self) -> None:
        self._reader.close()
        self._writer.close()

    async def read(self, query: str, values: Sequence[Any] | Row) -> list[sqlite3.Row]:
        """Run a query; raise `LedgerUnusable`."""
        with anyio.move_on_after(ANSWER_SECONDS) as turn:
            await self._reading.acquire()
        if turn.cancelled_caught:
            raise self._silence()
        try:
            with anyio.move_on_after(ANSWER_SECONDS, shield=True):
                return await self._on_thread(partial(self._read, query, values))
        finally:
            self._reading.release()
        raise self._silence()

    async def _on_thread(self, work: Callable[[], T]) -> T:
        """Let a thread do some work, and leave it to itself if that takes too long."""
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    def _silence(self) -> LedgerUnusable:
        message = f"The ledger {self._path} cannot be used: its disk did not answer in {ANSWER_SECONDS:.0f} seconds."
        return LedgerUnusable(message, hint=SILENT_HINT)

    def _read(self, query: str, values: Sequence[Any] | Row) -> list[sqlite3.Row]:
        with self._usable(), self._reader.in_use() as db:
            return db.execute(query, values).fetchall()

    async def write(self, work: Callable[[sqlite3.Connection], T], *, heeding: bool = False) -> T:
        """Do some work as one transaction, alone among all processes; raise `LedgerUnusable`.

        That is charged "unknown" when the work may have been written, or may still be. Work that might do something
        twice, because the file has forgotten it, heeds damage that nobody was told of.
        """
        return await self._in_turn(partial(self._write, work, heeding))

    async def shrink(self) -> None:
        """Give the space of deleted rows back to the disk."""
        await self._in_turn(self._shrink)

    async def _in_turn(self, work: Callable[[threading.Event], T]) -> T:
        """Let a thread write, once it is this one's turn; the thread is told if nobody awaits it any more."""
        latest = anyio.current_time() + LONGEST_QUEUE_SECONDS
        with anyio.move_on_after(QUEUE_SECONDS) as turn:
            self._queue[turn] = latest
            try:
                await self._writing.acquire()
            finally:
                del self._queue[turn]
        if turn.cancelled_caught:
            raise LedgerUnusable(f"The ledger {self._path} cannot be used: others are still writing to it.")
        given_up = threading.Event()
        try:
            with anyio.move_on_after(ANSWER_SECONDS, shield=True):
                written = await self._on_thread(partial(work, given_up))
                self._moves_on()
                return written
        finally:
            given_up.set()
            self._writing.release()
        silence = self._silence()
        silence.charged = "unknown"
        raise silence

    def _moves_on(self) -> None:
        """Let those who wait for their turn wait on, as long as the queue moves."""
        for turn, latest in self._queue.items():
            turn.deadline = min(anyio.current_time() + QUEUE_SECONDS, latest)

    def _shrink(self, _: threading.Event) -> None:
        with self._usable(), self._writer.in_use() as db:
            db.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page only

    def _write(self, work: Callable[[sqlite3.Connection], T], heeding: bool, given_up: threading.Event) -> T:  # noqa: FBT001 - threads take no names
        if heeding:
            with self._usable(), held(self._rescuing, RESCUED):
                self._heed()
        written: list[T] = []
        try:
            with self._usable(), self._writer.in_use() as db:
                if heeding:
                    self._heed()
                with transaction(db):
                    refuse_newer(db)
                    written.append(work(db))
                    if given_up.is_set():
                        raise Refused("its disk took too long", SILENT_HINT)
                self._check_place()
        except LedgerUnusable as error:
            if written and is_doubtful(error.__cause__):
                error.charged = "unknown"
            raise
        return written[0]

    def _check_place(self) -> None:
        """Make sure that what was written is not in a file that nobody sees any more."""
        if not self._writer.is_in_place():
            message = f"The ledger {self._path} was removed or replaced while it was written to."
            raise LedgerUnusable(message, hint=MOVED_HINT, charged="unknown")

    def _heed(self) -> None:
        if self._notice.words:
            raise LedgerDamaged(self._notice.words)

    @contextmanager
    def telling(self) -> Generator[None]:
        """Let a caller know once that the ledger was damaged, whoever found it out."""
        if words := self._notice.words:
            self._notice.words = ""
            raise LedgerDamaged(words)
        try:
            yield
        except LedgerDamaged:
            self._notice.words = ""
            raise

    def _rescue(self) -> None:
        try:
            if words := replace_damaged(self._path, self._let_go):
                logger.error("%s", words)
                self._notice.take(words)
            else:
                self._notice.look()  # another process was faster
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
                with held(self._rescuing, RESCUED):
                    self._rescue()
                if self._notice.words:
                    raise LedgerDamaged(self._notice.words) from error
                raise  # another process was faster, and this one never had the file open


@contextmanager
def unusable(path: Path) -> Generator[None]:
    """Turn what SQLite and the file system say into `LedgerUnusable`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnusable(f"The ledger {path} cannot be used: {error}.", hint=advice(error, path)) from error


def counts(path: Path) -> tuple[int, int, int] | None:
    """Check a whole file without changing it, and count its tasks: all, unfinished, finished but not saved.

    None if there is no file yet. Raises `sqlite3.Error` or `OSError` if it is damaged, refused or locked, or if nothing
    could be used.
    """
    if not os.path.exists(path):
        with closing(sqlite3.connect(":memory:")) as db:
            prepare(db)
        return None
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it cannot be written")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2)) as db:
        prepare(db)
        refuse_strange(db)
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
        tasks, running, unsaved = db.execute(COUNTS).fetchone()
    return tasks, running, unsaved
