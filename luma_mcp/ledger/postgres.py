"""The ledger in a PostgreSQL database, which servers on many machines share."""

import json
import logging
import threading
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout
from pydantic import SecretStr

from luma_mcp.core import failpoints
from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.core.models import Change, LedgerPosition
from luma_mcp.ledger.batches import ANSWER_SECONDS, Batch
from luma_mcp.ledger.errors import DATABASE_HINT, StoreRefused
from luma_mcp.ledger.postgres_schema import migrate, refuse_newer, translate
from luma_mcp.ledger.schema import COUNT_TASKS
from luma_mcp.ledger.store import Connection, Cursor, Query, Store, Values, Write, do_each, fail_all, fail_alone

POOL_SECONDS = 3  # until a connection is there
CLOSING_SECONDS = 0.2  # for threads of the pool: one that connects to what does not answer ends by itself
ATTEMPTS = 3  # to run a batch that PostgreSQL undid
MAX_CONNECTIONS = 4  # one that reads, one that writes, and two in place of those that are stuck
LIFETIME_SECONDS = 300.0  # of a connection: each new one looks at the version of the schema
NETWORK: dict[str, Any] = {
    "connect_timeout": POOL_SECONDS,
    "tcp_user_timeout": 5000,  # milliseconds until a network that swallows everything is an error
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "application_name": "luma_mcp",
}
BOUNDS = """
    SET statement_timeout = '4s';
    SET lock_timeout = '3s';
    -- a server that is stopped in the middle of a transaction must not hold others up
    SET idle_in_transaction_session_timeout = '5s';
    SET search_path = {schema}"""
VALUE_ERRORS = (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
CONNECTED = 1819634017  # names the locks of servers that are connected, among all advisory locks: "luma" in ASCII
REPLACEMENT = "\ufffd"
UNDONE = (errors.DeadlockDetected, errors.SerializationFailure)
T = TypeVar("T")
PostgresConnection = psycopg.Connection[DictRow]
logger = logging.getLogger(__name__)


class MaybeCommitted(psycopg.OperationalError):
    """The connection was lost while a transaction was committed."""


@dataclass(frozen=True, slots=True)
class Statements:
    """A connection for statements as the ledger has them."""

    connection: PostgresConnection

    def execute(self, sql: str, values: Values = (), /) -> Cursor:
        """Run a statement; raise `psycopg.Error`."""
        return self.connection.execute(translate(sql), without_nul(values))


@dataclass(slots=True)
class Listening:
    """A connection that hears of changes, and how many it has heard of."""

    connection: PostgresConnection
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    heard: int = 0

    @property
    def position(self) -> LedgerPosition:
        """Up to where changes were heard of."""
        return LedgerPosition(self.name, self.heard)

    def hear(self) -> list[Change]:
        """Give what was heard of since the last time; raise `psycopg.Error`."""
        changes = [change_of(notice.payload) for notice in self.connection.notifies(timeout=0)]
        self.heard += len(changes)
        return changes


class PostgresStore(Store):
    """Connections to a database, in a pool.

    A transaction that PostgreSQL undid, because of a deadlock or because it went away before the commit, is run again.
    """

    skip_locked = "FOR UPDATE SKIP LOCKED"
    # A lock of the owner's session, which PostgreSQL frees as soon as that server is gone.
    is_connected = f"""EXISTS (SELECT 1 FROM pg_locks
        WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = {CONNECTED} AND CAST(objid AS BIGINT) = CAST(hashtext(owner) AS BIGINT) & 4294967295)"""  # noqa: S608 - a number of ours

    def __init__(self, url: SecretStr, schema: str) -> None:
        super().__init__(threads=3)
        self._url = url
        self._schema = schema
        self._pool: ConnectionPool[PostgresConnection] | None = None
        self._opening = threading.Lock()
        self._listening: Listening | None = None
        self._session: PostgresConnection | None = None  # open as long as this server is

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self._stop_listening()
        self._end_session()
        if pool := self._pool:
            self._pool = None
            pool.close(timeout=CLOSING_SECONDS)

    def lock_limits(self, db: Connection) -> None:
        """Let nobody else add a task until the end of the transaction."""
        db.execute("SELECT pg_advisory_xact_lock(hashtext(?))", (f"{self._schema}.limits",))

    async def check_writable(self) -> None:
        """Raise `LedgerUnusable` if nothing could be written now, as on a replica for reading."""
        await self.write(lambda db: db.execute("UPDATE servers SET alive_until = alive_until WHERE owner = ''"))

    async def changes(self, since: LedgerPosition | None) -> tuple[LedgerPosition, list[Change]]:
        """Give the present position, and what callers can see to have changed since an earlier one."""
        with anyio.move_on_after(ANSWER_SECONDS):
            return await anyio.to_thread.run_sync(self._hear, since, abandon_on_cancel=True, limiter=self._threads)
        raise self._silence()

    async def stay_connected(self) -> None:
        """See to it that the session of this server is there, for others see by that whether the server is."""
        with anyio.move_on_after(ANSWER_SECONDS):
            await anyio.to_thread.run_sync(self._renew_session, abandon_on_cancel=True, limiter=self._threads)
            return
        raise self._silence()

    async def rest(self) -> None:
        """Listen no more, so that PostgreSQL need not keep what nobody hears."""
        await anyio.to_thread.run_sync(self._stop_listening, abandon_on_cancel=True, limiter=self._threads)

    # -- on threads ---------------------------------------------------------------------------------------------------

    def _read(self, batch: Batch[Query]) -> None:
        def read(db: PostgresConnection) -> None:
            for job in batch.left:
                with fail_alone(job, (*VALUE_ERRORS, errors.QueryCanceled), self._unusable):
                    job.succeed(Statements(db).execute(job.work.sql, job.work.values).fetchall())

        try:
            self._run(read, batch)
        except LedgerUnusable as error:
            fail_all(batch.left, error)

    def _write(self, batch: Batch[Write]) -> None:
        def write(db: PostgresConnection) -> None:
            with committed(db):
                written = do_each(Statements(db), batch.left, VALUE_ERRORS, self._unusable)
                if batch.given_up.is_set():
                    raise StoreRefused("it took too long", DATABASE_HINT)
            for job, result in written:
                job.succeed(result)

        try:
            self._run(write, batch)
        except LedgerUnusable as error:
            if isinstance(error.__cause__, MaybeCommitted):
                error.charged = "unknown"
            fail_all(batch.left, error)

    def _run(self, work: Callable[[PostgresConnection], None], batch: Batch[Any]) -> None:
        """Run work on a connection, and again if PostgreSQL undid it; raise `LedgerUnusable`."""
        with raise_unusable(self._url):
            for attempt in range(1, ATTEMPTS + 1):
                pool = self._opened()
                try:
                    with pool.connection() as db:
                        return work(db)
                except psycopg.OperationalError as error:
                    if attempt == ATTEMPTS or batch.given_up.is_set() or not is_undone(error):
                        raise
                    logger.debug("The database undid a transaction, which is run again: %s", error)
                    pool.check()
        return None

    def _opened(self) -> "ConnectionPool[PostgresConnection]":
        if not self._opening.acquire(timeout=POOL_SECONDS):
            raise StoreRefused("it does not answer", DATABASE_HINT)
        try:
            if self._pool is None:
                with connect(self._url) as db:
                    migrate(db, self._schema)
                self._begin_session()
                self._pool = self._new_pool()
            return self._pool
        finally:
            self._opening.release()

    def _new_pool(self) -> "ConnectionPool[PostgresConnection]":
        return ConnectionPool(
            connection_class=psycopg.Connection[DictRow],
            kwargs=parameters_of(self._url) | {"row_factory": dict_row, "autocommit": True},
            min_size=1,
            max_size=MAX_CONNECTIONS,
            timeout=POOL_SECONDS,
            reconnect_timeout=POOL_SECONDS,
            max_lifetime=LIFETIME_SECONDS,
            configure=self._configure,
            name="luma_mcp",
            open=True,
        )

    def _configure(self, db: PostgresConnection) -> None:
        db.execute(BOUNDS.format(schema=self._schema).encode())
        refuse_newer(db)

    def _begin_session(self) -> None:
        self._end_session()
        self._session = connect(self._url)
        self._session.execute("SELECT pg_advisory_lock_shared(%s, hashtext(%s))", (CONNECTED, self.owner))

    def _renew_session(self) -> None:
        with raise_unusable(self._url):
            self._opened()
            try:
                if self._session:
                    self._session.execute("SELECT 1")
                    return
            except psycopg.OperationalError as error:
                logger.debug("The session of this server ended, and a new one is begun: %s", error)
            self._begin_session()

    def _end_session(self) -> None:
        if session := self._session:
            self._session = None
            session.close()

    def _hear(self, since: LedgerPosition | None) -> tuple[LedgerPosition, list[Change]]:
        with raise_unusable(self._url):
            if self._listening is None:
                self._listening = self._listen()
            listening = self._listening
            told = listening.position
            try:
                changes = listening.hear()
            except psycopg.Error:
                self._stop_listening()
                raise
        if since and since != told:  # others were heard of by whoever was cancelled meanwhile, or on a lost connection
            return listening.position, [Change(None, None, listed=True)]
        return listening.position, changes

    def _listen(self) -> Listening:
        self._opened()
        db = connect(self._url)
        db.execute(f"LISTEN {self._schema}".encode())
        return Listening(db)

    def _stop_listening(self) -> None:
        if listening := self._listening:
            self._listening = None
            listening.connection.close()

    def _unusable(self, error: Exception) -> LedgerUnusable:
        return database_unusable(self._url, error)

    def _silence(self) -> LedgerUnusable:
        place = describe_database(self._url)
        words = f"The ledger in {place} cannot be used: it did not answer in {ANSWER_SECONDS:.0f} seconds."
        return LedgerUnusable(words, hint=DATABASE_HINT)


@contextmanager
def raise_unusable(url: SecretStr) -> Generator[None]:
    """Turn errors of PostgreSQL and the network into `LedgerUnusable` with the advice that fits."""
    try:
        yield
    except (psycopg.Error, StoreRefused, OSError) as error:
        raise database_unusable(url, error) from error


def database_unusable(url: SecretStr, error: Exception) -> LedgerUnusable:
    hint = error.hint if isinstance(error, StoreRefused) else DATABASE_HINT
    return LedgerUnusable(f"The ledger in {describe_database(url)} cannot be used: {reason(error)}.", hint=hint)


def count_tasks_in(url: SecretStr, schema: str) -> tuple[int, int, int] | None:
    """Look into a database without changing it, and count its tasks: all, unfinished, finished but not saved.

    None if it has no tables yet. Raises `LedgerUnusable`.
    """
    with raise_unusable(url), connect(url) as db:
        if db.execute("SELECT 1 FROM pg_tables WHERE schemaname = %s LIMIT 1", (schema,)).fetchone() is None:
            return None
        db.execute(BOUNDS.format(schema=schema).encode())
        refuse_newer(db)
        found = db.execute(translate(COUNT_TASKS)).fetchone()
    return (found["tasks"], found["unfinished"], found["unsaved"]) if found else None


def connect(url: SecretStr) -> PostgresConnection:
    """Open a connection; raise `psycopg.Error` or `StoreRefused`."""
    return psycopg.Connection[DictRow].connect(**parameters_of(url), row_factory=dict_row, autocommit=True)


def parameters_of(url: SecretStr) -> dict[str, Any]:
    """Read the address of a database, with bounds for its network; raise `StoreRefused`."""
    try:
        return NETWORK | conninfo_to_dict(url.get_secret_value())
    except psycopg.ProgrammingError:
        raise StoreRefused("the address in LUMA_MCP_DATABASE_URL is not one", DATABASE_HINT) from None


@contextmanager
def committed(db: PostgresConnection) -> Generator[None]:
    """Commit what is written inside, or nothing; raise `MaybeCommitted` if nobody can know which."""
    complete = False
    try:
        with db.transaction():
            yield
            failpoints.reach("ledger.written")
            complete = True
        failpoints.reach("ledger.committed")
    except psycopg.OperationalError as error:
        if complete and not error.sqlstate:
            raise MaybeCommitted(str(error)) from error
        raise


def is_undone(error: psycopg.OperationalError) -> bool:
    """Tell whether nothing came of a transaction, and of another try something may."""
    if isinstance(error, MaybeCommitted | PoolTimeout):
        return False
    lost = error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    return lost or isinstance(error, UNDONE)


def without_nul(values: Values) -> Values:
    """Put another character for NUL, which PostgreSQL's text cannot hold, so that what has one is not found.

    Nothing that is written has one: requests with it are refused, and what RunAPI says is kept as JSON.
    """
    if isinstance(values, Mapping):
        return {name: plain_text(value) for name, value in values.items()}
    return [plain_text(value) for value in values]


def plain_text(value: object) -> object:
    return value.replace("\0", REPLACEMENT) if isinstance(value, str) else value


def change_of(payload: str) -> Change:
    """Give the change that a trigger tells of; for what is none of ours, that anything may have changed."""
    try:
        found = json.loads(payload)
        return Change(found["caller"], found["task_id"], bool(found["listed"]), found["key"])
    except (ValueError, TypeError, LookupError):
        return Change(None, None, listed=True)


def describe_database(url: SecretStr) -> str:
    """Name a database by its server and name, without who uses it and how."""
    try:
        found = conninfo_to_dict(url.get_secret_value())
    except psycopg.ProgrammingError:
        return "PostgreSQL"
    place = f"{found.get('host', 'localhost')}:{found.get('port', 5432)}"
    return f"PostgreSQL at {place}/{found.get('dbname', '')}"


def reason(error: Exception) -> str:
    """Give the first line of what PostgreSQL said, which names no password."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
