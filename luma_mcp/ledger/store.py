"""What the ledger needs of whatever holds its tables: a file of SQLite's, or a database of PostgreSQL's.

The statements are the same for both. Each job of a transaction sees its own part alone undone if it fails.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import anyio

from luma_mcp.core.errors import LedgerUnusable, LumaError
from luma_mcp.core.models import Change, LedgerPosition
from luma_mcp.ledger.batches import Batch, Batches, Job, NoAnswer
from luma_mcp.ledger.errors import WriteRefused

T = TypeVar("T")
Values = Sequence[Any] | Mapping[str, Any]
Explain = Callable[[Exception], LedgerUnusable]
"""Says what an error of a store's library means."""
CALLERS_ERRORS = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    RecursionError,
)  # such as text that is no Unicode


class Record(Protocol):
    """A row that was read: its values by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any: ...


class Cursor(Protocol):
    """What came of a statement."""

    @property
    def rowcount(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """Where the statements of a transaction are run; values stand for `?`, or for `:name`."""

    def execute(self, sql: str, values: Any = (), /) -> Cursor: ...


@dataclass(frozen=True, slots=True)
class Query:
    """A question to the store."""

    sql: str
    values: Values


@dataclass(frozen=True, slots=True)
class Write:
    """Something to be written; if `heeding`, not before a caller was told of damage."""

    work: Callable[[Connection], Any]
    heeding: bool


class Store(ABC):
    """The tables of the ledger. What cannot be done raises `LedgerUnusable`, and nobody waits long for that.

    Reading has a thread of its own, and writing another, so that nothing of a store ever holds up the event loop. What
    many ask for at once is read, or written, together: a thousand changes cost one transaction. A thread that is stuck
    is abandoned.
    """

    skip_locked = ""
    """Ends a query for rows to be taken: what others are taking at this moment is passed over."""
    is_connected = "true"
    """Tells of a row of `servers` whether that server is still connected, where a store knows; elsewhere it is."""

    def __init__(self, threads: int) -> None:
        self.owner = uuid.uuid4().hex  # who this server is to others, as an owner of leases
        self._threads = anyio.CapacityLimiter(threads)
        self._reads = Batches(self._read, self._threads)
        self._writes = Batches(self._write, self._threads)

    async def read(self, query: str, values: Values) -> list[Record]:
        """Give the rows of a query."""
        try:
            rows: list[Record] = await self._reads.do(Query(query, values))
        except NoAnswer as error:
            raise self._silence() from error
        return rows

    async def write(self, work: Callable[[Connection], T], *, heeding: bool = False) -> T:
        """Run `work` in a transaction; raise what it raises, having undone what it has written and that alone.

        Others' work may be in the same transaction, and `work` may be run again if the store itself undid it. The
        `LedgerUnusable` is charged "unknown" when the work may have been committed, or may still be. With `heeding`,
        damage that no caller was told of is raised first: work that adds might add again what was lost.
        """
        try:
            written: T = await self._writes.do(Write(work, heeding))
        except NoAnswer as error:
            silence = self._silence()
            silence.charged = "unknown"
            raise silence from error
        return written

    async def change(self, query: str, values: Values) -> int:
        """Run one statement in a transaction; give how many rows it changed."""
        return await self.write(lambda db: db.execute(query, values).rowcount)

    async def stay_connected(self) -> None:  # noqa: B027 - one store has nothing to do
        """Let others see that this server is connected."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open; a later call opens it again."""

    @abstractmethod
    async def check_writable(self) -> None:
        """Find out whether something could be written now."""

    @abstractmethod
    async def changes(self, since: LedgerPosition | None) -> tuple[LedgerPosition, list[Change]]:
        """Give the present position, and what callers can see to have changed since an earlier one."""

    async def rest(self) -> None:  # noqa: B027 - one store has nothing to do
        """Take note that nobody asks for changes for now."""

    async def shrink(self) -> None:  # noqa: B027 - one store has nothing to do
        """Give the space of deleted rows back."""

    def lock_limits(self, db: Connection) -> None:  # noqa: B027 - one store has nothing to do
        """Let nobody else add a task until the end of the transaction: what counts against limits must not move."""

    def report_damage_once(self) -> AbstractContextManager[None]:
        """Serve a caller inside; if tasks were lost to damage, the first caller since then gets `LedgerDamaged`."""
        return nullcontext()

    @abstractmethod
    def _read(self, batch: Batch[Query]) -> None:
        """Answer the questions of a batch, on a thread."""

    @abstractmethod
    def _write(self, batch: Batch[Write]) -> None:
        """Write what is in a batch, on a thread."""

    @abstractmethod
    def _silence(self) -> LedgerUnusable:
        """Say that no answer came."""


def do_each(
    db: Connection, jobs: Iterable[Job[Write]], value_errors: tuple[type[Exception], ...], unusable: Explain
) -> list[tuple[Job[Write], Any]]:
    """Do the work of each job, and give those that did not fail, with their results; the store's errors are raised.

    What a job's work refuses, or what is wrong with its values, undoes what that job has written, and nothing else.
    """
    done = list[tuple[Job[Write], Any]]()
    for job in jobs:
        db.execute("SAVEPOINT job")
        with fail_alone(job, value_errors, unusable):
            done.append((job, job.work.work(db)))
        if job.done:  # it has failed
            db.execute("ROLLBACK TO job")
        db.execute("RELEASE job")
    return done


@contextmanager
def fail_alone(job: Job[Any], value_errors: tuple[type[Exception], ...], unusable: Explain) -> Generator[None]:
    """Let a job fail with what its work raises, unless it is the store's own error: others are in the same batch."""
    try:
        yield
    except (LumaError, WriteRefused, *CALLERS_ERRORS) as error:
        job.fail(error)
    except value_errors as error:
        job.fail(unusable(error))


def fail_all(jobs: Iterable[Job[Any]], error: LedgerUnusable) -> None:
    """Let each job fail with an error of its own: callers add to what they get."""
    for job in jobs:
        own = type(error)(error.message, hint=error.hint, charged=error.charged)
        own.__cause__ = error.__cause__
        job.fail(own)
