"""The tasks on disk: the one truth, shared by every server process on this machine (SQLite, WAL).

A row is written before RunAPI is asked and changed before an answer is used. The connection is synchronous, because its
statements take microseconds, and opened at first use, because a server that is only probed must not touch the disk.
"""

import sqlite3
import uuid
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luma_mcp.errors import InvalidRequest, LimitReached
from luma_mcp.ledger_file import FIXED, Row, open_database, row_of, task_of, transaction, unusable
from luma_mcp.models import (
    DAY_SECONDS,
    OUTPUT_LIFETIME_SECONDS,
    REPLAY_SECONDS,
    Limits,
    Task,
)

LONGEST_LEASE_SECONDS = 600.0
COMPARABLE_SECONDS = 3600.0  # longer means that nobody was there to see the end
UNATTENDED = """
    SELECT key FROM tasks WHERE origin = :origin AND (lease_until <= :now OR lease_until > :now + :longest) AND (
        status IN ('submitting', 'pending', 'processing') AND created_at > :born
        OR status = 'completed' AND wants_file AND video_path = '' AND video_urls <> '[]' AND finished_at > :oldest
    ) ORDER BY created_at"""
JOINABLE = """
    SELECT * FROM tasks WHERE fingerprint = ? AND caller = ? AND (
        status IN ('submitting', 'pending', 'processing', 'unconfirmed') OR task_id <> '' AND NOT delivered
        OR error ->> 'charged' = 'unknown'
    ) ORDER BY created_at DESC LIMIT 1"""
CLAIM = """
    UPDATE tasks SET lease_owner = :owner, lease_until = :until
    WHERE key = :key AND (lease_owner = :owner OR lease_until <= :now OR lease_until > :now + :longest)"""
UNENDED = "(status NOT IN ('completed', 'failed') OR status = :status) AND task_id IN ('', :task_id)"
ACTIVE = "SELECT count(*) FROM tasks WHERE status IN ('submitting', 'pending', 'processing') AND created_at > ?"
SUBMITTED = "SELECT count(*) FROM tasks WHERE created_at > ? AND (task_id <> '' OR status <> 'failed')"


class Ledger:
    """The table of tasks in the file `path`. Every method raises `LedgerUnusable` when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._opened:
            self._opened.close()
            self._opened = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def join_or_add(self, draft: Task, fingerprint: str, limits: Limits, *, new_take: bool) -> tuple[Task, bool]:
        """Give the caller's task for the same request if it still matters, else write the intent; tell which it was.

        A task matters while it is unfinished, unconfirmed, or finished without having been delivered (design 3.1).
        Raises `LimitReached`.
        """
        with self._transaction() as db:
            if not new_take and (found := joinable(db, draft.caller, fingerprint)):
                return found, True
            check_limits(db, limits, draft.created_at)
            row = row_of(draft) | {"fingerprint": fingerprint}
            names = ", ".join(row)
            db.execute(f"INSERT INTO tasks ({names}) VALUES ({', '.join(f':{name}' for name in row)})", row)  # noqa: S608 - column names of ours
        return draft, False

    def record(self, task: Task) -> Task:
        """Write what may change about a task; what it was submitted with and who has seen it stay.

        An end is final and an id is never replaced, whatever a process believes that slept meanwhile: gives the task as
        it stands afterwards.
        """
        row = {name: value for name, value in row_of(task).items() if name not in FIXED}
        changes = ", ".join(f"{name} = :{name}" for name in row)
        with self._transaction() as db:
            update = f"UPDATE tasks SET {changes} WHERE key = :key AND {UNENDED}"  # noqa: S608 - column names of ours
            written = db.execute(update, row | {"key": task.key})
        return task if written.rowcount else self.get(task.key)

    def resubmit(self, key: str, now: float) -> None:
        """Put an unconfirmed task back to work under its key."""
        self._change(
            "UPDATE tasks SET status = 'submitting', error = NULL, updated_at = ?"
            " WHERE key = ? AND status = 'unconfirmed'",
            (now, key),
        )

    def deliver(self, keys: Iterable[str]) -> None:
        """Remember that these results were handed to a caller."""
        with self._transaction() as db:
            db.executemany("UPDATE tasks SET delivered = 1 WHERE key = ? AND NOT delivered", [(key,) for key in keys])

    # -- leases -------------------------------------------------------------------------------------------------------

    def claim(self, key: str, owner: str, now: float, until: float) -> bool:
        """Take or prolong the lease on a task, unless another owner holds it; tell whether it is held now."""
        lease = {"key": key, "owner": owner, "now": now, "until": until, "longest": LONGEST_LEASE_SECONDS}
        return self._change(CLAIM, lease) == 1

    def renew(self, owner: str, until: float) -> None:
        """Prolong all leases of an owner."""
        self._change("UPDATE tasks SET lease_until = ? WHERE lease_owner = ?", (until, owner))

    def release(self, owner: str, key: str, until: float = 0.0) -> None:
        """Give a lease back; nobody takes it before `until`."""
        query = "UPDATE tasks SET lease_owner = '', lease_until = ? WHERE key = ? AND lease_owner = ?"
        self._change(query, (until, key, owner))

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Task:
        """Read a task that is known to exist."""
        return task_of(self._rows("SELECT * FROM tasks WHERE key = ?", (key,))[0])

    def find(self, caller: str, task_id: str) -> Task | None:
        """Find a caller's task by its id at RunAPI."""
        rows = self._rows("SELECT * FROM tasks WHERE task_id = ? AND task_id <> '' AND caller = ?", (task_id, caller))
        return task_of(rows[0]) if rows else None

    def unattended(self, origin: str, now: float, age: float) -> list[str]:
        """List the keys of an origin's unfinished tasks of at most `age` seconds without a lease, oldest first.

        A lease that runs implausibly long does not count: the clock was set back since.
        """
        bounds = {"now": now, "born": now - age, "oldest": now - OUTPUT_LIFETIME_SECONDS}
        rows = self._rows(UNATTENDED, {"origin": origin, "longest": LONGEST_LEASE_SECONDS, **bounds})
        return [row["key"] for row in rows]

    def unconfirmed(self, origin: str, now: float) -> list[str]:
        """List the keys of an origin's tasks whose outcome is unknown and that are young enough to be settled."""
        query = (
            "SELECT key FROM tasks WHERE status = 'unconfirmed' AND origin = ? AND created_at > ? ORDER BY created_at"
        )
        return [row["key"] for row in self._rows(query, (origin, now - REPLAY_SECONDS))]

    def durations(self, model: str, limit: int = 50) -> list[float]:
        """List how many seconds the newest completed tasks of a model took."""
        rows = self._rows(
            "SELECT finished_at - created_at AS seconds FROM tasks WHERE status = 'completed' AND model = ?"
            " AND finished_at - created_at < ? ORDER BY finished_at DESC LIMIT ?",
            (model, COMPARABLE_SECONDS, limit),
        )
        return [row["seconds"] for row in rows]

    def page(self, caller: str, status: str, limit: int, cursor: str) -> tuple[list[Task], str]:
        """Give `limit` of a caller's tasks, newest first, from `cursor` on; and the next cursor, empty at the end."""
        created_at, key = position(cursor)
        rows = self._rows(
            "SELECT * FROM tasks WHERE caller = ? AND (? = '' OR status = ?) AND (created_at, key) < (?, ?)"
            " ORDER BY created_at DESC, key DESC LIMIT ?",
            (caller, status, status, created_at, key, limit + 1),
        )
        tasks = [task_of(row) for row in rows[:limit]]
        more = len(rows) > limit
        return tasks, f"{tasks[-1].created_at!r}_{tasks[-1].key}" if more else ""

    # -- the file -----------------------------------------------------------------------------------------------------

    def _rows(self, query: str, values: Sequence[Any] | Row) -> list[sqlite3.Row]:
        with unusable(self._path):
            return self._connection().execute(query, values).fetchall()

    def _change(self, query: str, values: Sequence[Any] | Row) -> int:
        with unusable(self._path):
            return self._connection().execute(query, values).rowcount

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with unusable(self._path), transaction(self._connection()) as db:
            yield db

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = open_database(self._path)
        return self._opened


def joinable(db: sqlite3.Connection, caller: str, fingerprint: str) -> Task | None:
    """Find the newest task that a repetition of its request joins."""
    row = db.execute(JOINABLE, (fingerprint, caller)).fetchone()
    return task_of(row) if row else None


def check_limits(db: sqlite3.Connection, limits: Limits, now: float) -> None:
    """Refuse another task when as many run, or were submitted in 24 hours, as the user allows."""
    active = db.execute(ACTIVE, (now - DAY_SECONDS,)).fetchone()[0]
    if limits.active is not None and active >= limits.active:
        raise LimitReached(f"{active} tasks are running, and LUMA_MCP_MAX_ACTIVE allows {limits.active}.")
    today = db.execute(SUBMITTED, (now - DAY_SECONDS,)).fetchone()[0]
    if limits.daily is not None and today >= limits.daily:
        raise LimitReached(
            f"{today} tasks were submitted in 24 hours, and LUMA_MCP_DAILY_LIMIT allows {limits.daily}.",
            hint="Wait until older ones are more than 24 hours ago, or raise the limit in the host's configuration.",
        )


def new_key() -> str:
    """Make a fresh idempotency key."""
    return str(uuid.uuid4())


def position(cursor: str) -> tuple[float, str]:
    """Read a cursor of ours: the age and key of the last task of the page before."""
    if not cursor:
        return float("inf"), ""
    created_at, _, key = cursor.partition("_")
    try:
        return float(created_at), str(uuid.UUID(key))
    except ValueError as error:
        raise InvalidRequest("cursor is not one that list_tasks returned.") from error
