"""The ledger's file in use: one connection reads, one writes, and every failure is a `LedgerUnusable`."""

import errno
import logging
import math
import os
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from luma_mcp.core.errors import LedgerDamaged, LedgerUnusable
from luma_mcp.core.models import Change, LedgerPosition
from luma_mcp.ledger.batches import ANSWER_SECONDS, Batch, Job
from luma_mcp.ledger.errors import DISK_STUCK_HINT, MOVED_HINT, FileRefused, hint_for_error, primary_code
from luma_mcp.ledger.files import LedgerPath, inode_identity, list_ledger_files, refuse_unsafe_file
from luma_mcp.ledger.recovery import (
    check_intact,
    is_damaged,
    list_damaged_copies,
    replace_damaged,
    restore_removed_file,
)
from luma_mcp.ledger.schema import (
    COUNT_TASKS,
    configure_connection,
    create_database,
    open_database,
    read_transaction,
    refuse_newer,
    refuse_unknown_schema,
    schema_cookie,
    transaction,
)
from luma_mcp.ledger.store import Connection, Query, Record, Store, Write, do_each, fail_all, fail_alone

STUCK_SECONDS = 3.0  # longer than a thread waits for a lock
DISK_ERRORS = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
VALUE_ERRORS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
logger = logging.getLogger(__name__)
RESCUED = "it is damaged, and what can be read is still being rescued"
T = TypeVar("T")
# One statement, so that nothing is written in between.
CHANGES = """
    SELECT ledger, last, key, caller, task_id, listed FROM revisions LEFT JOIN (
        SELECT key, caller, task_id, listed > :since AS listed FROM tasks WHERE revision > :since
        UNION ALL
        -- which tasks are gone is not known any more
        SELECT NULL, caller, NULL, 1 FROM forgotten WHERE revision > :since
    ) ON true"""


class LedgerConnection:
    """A connection to the file that lies at a path now.

    One to a file that was replaced or removed is not written to. One that met an error of the disk is opened anew:
    SQLite would go on as it was opened, for reading only perhaps, however well the disk is by then.
    """

    def __init__(self, place: LedgerPath, notice: "DamageNotice") -> None:
        self.other: LedgerConnection | None = None  # of this process, to the same file
        self._place = place
        self._path = place.path
        self._notice = notice
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._cookie = 0
        self._had_disk_error = False
        self._busy = threading.Lock()

    def close(self) -> None:
        """Close the connection, once no thread is in the middle of something; it is opened again when needed.

        Raises `FileRefused` if a thread does not come to its end.
        """
        with hold_lock(self._busy):
            self._let_go()

    @contextmanager
    def use_connection(self) -> Generator[sqlite3.Connection]:
        """Give the connection to one thread at a time; raise `FileRefused` if the one before it is stuck."""
        with hold_lock(self._busy):
            try:
                yield self._connection()
            except sqlite3.OperationalError as error:
                self._had_disk_error |= is_disk_error(error)
                raise

    def is_current_file(self) -> bool:
        return inode_identity(self._path) == self._identity

    def restore_file(self) -> None:
        """Put a file back that was removed, if this connection has it open still."""
        if self._db:  # otherwise it may be waiting for the other one's
            with hold_lock(self._busy):
                self._restore_file()

    def _let_go(self) -> None:
        if self._db:
            self._db.close()
            self._db = None

    def _connection(self) -> sqlite3.Connection:
        """Give the connection, opened anew if the file is another one; a file that was removed is put back.

        Whatever lies there is looked at before it is used, and again when anybody has changed its schema.
        """
        lies_there = inode_identity(self._path)
        if lies_there is None:
            self._restore_file()
        if self._db and (self._had_disk_error or lies_there != self._identity):
            self._let_go()
        if self._db is None:
            self._db = self._opened()
        elif (cookie := schema_cookie(self._db)) != self._cookie:
            refuse_unknown_schema(self._db)
            self._cookie = cookie
        return self._db

    def _restore_file(self) -> None:
        if self._db:
            logger.warning("The ledger %s was removed while in use, and is put back", self._path)
            restore_removed_file(self._path, self._db)
        elif self.other:
            self.other.restore_file()

    def _opened(self) -> sqlite3.Connection:
        self._place.secure_files()
        check_intact(self._path)
        if not self._path.exists():
            create_database(self._path)
        self._identity = inode_identity(self._path)  # if it is replaced now, the next use finds another one
        opened = open_database(self._path)
        self._cookie, self._had_disk_error = schema_cookie(opened), False
        self._notice.detect_replacement()
        return opened


class DamageNotice:
    """The message for the next caller: that the file which this process had open was damaged, whoever found it out."""

    def __init__(self, place: LedgerPath) -> None:
        self._path = place.path
        self._looking = threading.Lock()
        self._identity: tuple[int, int] | None = None
        self._kept: frozenset[str] = frozenset()
        self.pending_message = ""

    def detect_replacement(self) -> None:
        """Note it if the file is another than before because another process found that one damaged."""
        with self._looking:
            before, kept_before = self._identity, self._kept
            self._know()
            if before not in (None, self._identity) and (new := self._kept - kept_before):
                self.pending_message = (
                    f"The ledger was damaged and is kept as {self._path.with_name(max(new))}. Another server has begun"
                    " a new one with the tasks that could be read from it."
                )

    def set_message(self, words: str) -> None:
        with self._looking:
            self._know()
            self.pending_message = words

    def _know(self) -> None:
        self._identity, self._kept = inode_identity(self._path), list_damaged_copies(self._path)


@contextmanager
def hold_lock(lock: threading.Lock, why: str = "its disk does not answer") -> Generator[None]:
    """Hold a lock, unless whoever has it is stuck (`FileRefused`): all who came after would be stuck behind it."""
    if not lock.acquire(timeout=STUCK_SECONDS):
        raise FileRefused(why, DISK_STUCK_HINT)
    try:
        yield
    finally:
        lock.release()


def is_disk_error(error: sqlite3.OperationalError) -> bool:
    return primary_code(error) in DISK_ERRORS


def may_be_committed(error: BaseException | None) -> bool:
    """Tell whether a transaction that was complete may have been written nevertheless, as when its end got stuck."""
    return primary_code(error) == sqlite3.SQLITE_IOERR


class LedgerFile(Store):
    """A file of SQLite's: one connection reads, one writes, and whoever writes is alone among all processes.

    A writer may have to wait, a few seconds at most, for another process's lock or for a slow disk; a reader waits
    while a transaction is synced.
    """

    def __init__(self, place: LedgerPath) -> None:
        super().__init__(threads=2)
        self._path = place.path
        self._notice = DamageNotice(place)
        self._reader = LedgerConnection(place, self._notice)
        self._writer = LedgerConnection(place, self._notice)
        self._reader.other, self._writer.other = self._writer, self._reader
        self._rescuing = threading.Lock()

    def close(self) -> None:
        """Close the file, but for a connection that a thread is stuck in; a later call opens it again."""
        for opened in (self._reader, self._writer):
            with suppress(FileRefused):
                opened.close()

    def _let_go(self) -> None:
        self._reader.close()
        self._writer.close()

    def _silence(self) -> LedgerUnusable:
        message = f"The ledger {self._path} cannot be used: its disk did not answer in {ANSWER_SECONDS:.0f} seconds."
        return LedgerUnusable(message, hint=DISK_STUCK_HINT)

    def _read(self, batch: Batch[Query]) -> None:
        try:
            with self._handle_damage(), self._reader.use_connection() as db, read_transaction(db):
                for job in batch.jobs:
                    with fail_alone(job, VALUE_ERRORS, self._unusable):
                        job.succeed(db.execute(job.work.sql, job.work.values).fetchall())
        except LedgerUnusable as error:
            fail_all(batch.left, error)

    def _unusable(self, error: Exception) -> LedgerUnusable:
        return ledger_unusable(self._path, error)

    async def shrink(self) -> None:
        """Give the space of deleted rows back to the disk."""
        await self.write(free_pages)

    async def check_writable(self) -> None:
        """Raise `LedgerUnusable` if nothing could be written now."""
        await self.write(lambda db: db.execute("UPDATE revisions SET last = last"))

    async def changes(self, since: LedgerPosition | None) -> tuple[LedgerPosition, list[Change]]:
        """Give the present position, and what callers can see to have changed since an earlier one."""
        rows = await self.read(CHANGES, {"since": since.revision if since else math.inf})
        now = position_in(rows)
        if since and (since.ledger != now.ledger or since.revision > now.revision):
            return now, [Change(None, None, listed=True)]
        changed = [row for row in rows if row["caller"] is not None]
        return now, [Change(str(row["caller"]), row["task_id"], bool(row["listed"]), row["key"]) for row in changed]

    def _write(self, batch: Batch[Write]) -> None:
        complete = False
        try:
            if any(job.work.heeding for job in batch.jobs):
                with self._handle_damage(), hold_lock(self._rescuing, RESCUED):
                    self._refuse_those_who_heed(batch)
            with self._handle_damage(), self._writer.use_connection() as db:
                self._refuse_those_who_heed(batch)
                written = list[tuple[Job[Write], Any]]()
                with transaction(db):
                    refuse_newer(db)
                    written += do_each(db, batch.left, VALUE_ERRORS, self._unusable)
                    complete = True
                    if batch.given_up.is_set():
                        raise FileRefused("its disk took too long", DISK_STUCK_HINT)
                self._check_place()
            for job, result in written:
                job.succeed(result)
        except LedgerUnusable as error:
            if complete and may_be_committed(error.__cause__):
                error.charged = "unknown"
            fail_all(batch.left, error)

    def _refuse_those_who_heed(self, batch: Batch[Write]) -> None:
        """Fail the jobs that heed damage, if there is some that no caller was told of."""
        if words := self._notice.pending_message:
            for job in batch.left:
                if job.work.heeding:
                    job.fail(LedgerDamaged(words))

    def _check_place(self) -> None:
        """Raise `LedgerUnusable` if the file that was written to was removed or replaced meanwhile."""
        if not self._writer.is_current_file():
            message = f"The ledger {self._path} was removed or replaced while it was written to."
            raise LedgerUnusable(message, hint=MOVED_HINT, charged="unknown")

    @contextmanager
    def report_damage_once(self) -> Generator[None]:
        """Raise `LedgerDamaged` once for damage that was found before or inside, whoever found it."""
        if words := self._notice.pending_message:
            self._notice.pending_message = ""
            raise LedgerDamaged(words)
        try:
            yield
        except LedgerDamaged:
            self._notice.pending_message = ""
            raise

    def _rescue(self) -> None:
        try:
            if words := replace_damaged(self._path, self._let_go):
                logger.error("%s", words)
                self._notice.set_message(words)
            else:
                self._notice.detect_replacement()  # another process was faster
        except OSError as error:
            raise OSError(f"it is damaged, and cannot be kept aside: {error.strerror}") from error

    @contextmanager
    def _handle_damage(self) -> Generator[None]:
        with raise_ledger_unusable(self._path):
            try:
                yield
            except sqlite3.DatabaseError as error:
                if not is_damaged(error):
                    raise
                with hold_lock(self._rescuing, RESCUED):
                    self._rescue()
                if self._notice.pending_message:
                    raise LedgerDamaged(self._notice.pending_message) from error
                raise  # another process was faster, and this one never had the file open


def position_in(rows: Sequence[Record]) -> LedgerPosition:
    ledger, last = (rows[0]["ledger"], rows[0]["last"]) if rows else (None, None)
    if isinstance(ledger, str) and isinstance(last, int):
        return LedgerPosition(ledger, last)
    raise LedgerUnusable("The ledger's count of changes cannot be read.")


def free_pages(db: Connection) -> None:
    for _ in range(db.execute("PRAGMA freelist_count").fetchone()[0]):
        db.execute("PRAGMA incremental_vacuum")  # one page each time: a statement without columns is run for one step


@contextmanager
def raise_ledger_unusable(path: Path) -> Generator[None]:
    """Turn errors of SQLite and the file system into `LedgerUnusable` with the advice that fits."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise ledger_unusable(path, error) from error


def ledger_unusable(path: Path, error: Exception) -> LedgerUnusable:
    return LedgerUnusable(f"The ledger {path} cannot be used: {error}.", hint=hint_for_error(error, path))


def count_tasks(path: Path) -> tuple[int, int, int] | None:
    """Check a whole file without changing it, and count its tasks: all, unfinished, finished but not saved.

    None if there is no file yet. Raises `sqlite3.Error` or `OSError` if it is damaged, refused or locked, or if nothing
    could be used.
    """
    if not os.path.exists(path):
        with closing(sqlite3.connect(":memory:")) as db:
            configure_connection(db)
        return None
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it cannot be written")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2)) as db:
        configure_connection(db)
        refuse_unknown_schema(db)
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
        tasks, running, unsaved = db.execute(COUNT_TASKS).fetchone()
    return tasks, running, unsaved


def count_tasks_of(path: Path, caller: str) -> int:
    """Count a caller's tasks in a file that is not changed or made; 0 if there is none, or it cannot be read."""
    try:
        for file in list_ledger_files(path):
            refuse_unsafe_file(file)
        if not os.path.exists(path):
            return 0
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0)) as db:
            found: int = db.execute("SELECT count(*) FROM tasks WHERE caller = ?", (caller,)).fetchone()[0]
    except (sqlite3.Error, OSError):
        return 0
    return found
