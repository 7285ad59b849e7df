"""What is read and written of single tasks within one transaction."""

import sqlite3
from collections.abc import Sequence

from luma_mcp.core.errors import LimitReached
from luma_mcp.core.models import DAY_SECONDS, REPLAY_SECONDS, Limits, Position, Task
from luma_mcp.core.storage_errors import LedgerUnusable, TaskUnreadable
from luma_mcp.core.text import safe_text
from luma_mcp.ledger.errors import LeaseLost
from luma_mcp.ledger.queries import ACTIVE, HELD, SUBMITTED, UNLESS_COUNTED
from luma_mcp.ledger.records import Row, is_task, task_of


def insert(db: sqlite3.Connection, row: Row) -> bool:
    """Write a new row, unless its request has a task that counts; tell whether it was written."""
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    insertion = f"INSERT INTO tasks ({names}) VALUES ({values}){UNLESS_COUNTED}"  # noqa: S608 - column names of ours
    return db.execute(insertion, row).rowcount == 1


def check_lease(db: sqlite3.Connection, key: str, owner: str) -> None:
    """Raise `LeaseLost` unless an owner holds the lease on a task."""
    if db.execute(HELD, (key, owner)).fetchone() is None:
        raise LeaseLost(key)


def check_limits(db: sqlite3.Connection, limits: Limits, caller: str, now: float, *, besides: str = "") -> None:
    """Refuse another task when as many of a caller's run, or were submitted in 24 hours, as the user allows.

    `besides` is the key of a task that is asked for, which does not count.
    """
    active = db.execute(ACTIVE, ages(caller, now, besides)).fetchone()[0]
    if limits.active is not None and active >= limits.active:
        raise LimitReached(f"As many tasks are running as LUMA_MCP_MAX_ACTIVE allows: {active}.")
    today = db.execute(SUBMITTED, ages(caller, now, besides)).fetchone()[0]
    if limits.daily is not None and today >= limits.daily:
        raise LimitReached(
            f"{today} tasks were submitted in 24 hours, and LUMA_MCP_DAILY_LIMIT allows {limits.daily}.",
            hint="Wait until older ones are more than 24 hours ago, then repeat the call; or have the limit raised"
            " in this server's settings.",
        )


def ages(caller: str, now: float, besides: str = "") -> Row:
    """Say whose tasks count against the limits, except which, and since when."""
    return {"caller": caller, "besides": besides, "born": now - DAY_SECONDS, "doubted": now - REPLAY_SECONDS}


def readable(row: sqlite3.Row) -> Task:
    """Read a task that a caller or follower needs; raise `TaskUnreadable` if the row makes no sense."""
    if is_task(row):
        return task_of(row)
    raise TaskUnreadable(f"The task {safe_text(str(row['key']))} cannot be read from the ledger.")


def position_in(rows: Sequence[sqlite3.Row]) -> Position:
    """Read how far the ledger has come; raise `LedgerUnusable` if its count makes no sense."""
    ledger, last = (rows[0]["ledger"], rows[0]["last"]) if rows else (None, None)
    if isinstance(ledger, str) and isinstance(last, int):
        return Position(ledger, last)
    raise LedgerUnusable("The ledger's count of changes cannot be read.")
