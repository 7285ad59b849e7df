"""What is read and written of single tasks within one transaction."""

import sqlite3
from collections.abc import Sequence

from luma_mcp.errors import LimitReached
from luma_mcp.ledger_queries import ACTIVE, JOINABLE, SUBMITTED
from luma_mcp.ledger_schema import Row, is_task, task_of
from luma_mcp.models import DAY_SECONDS, REPLAY_SECONDS, Limits, Task
from luma_mcp.storage_errors import LedgerUnusable


def insert(db: sqlite3.Connection, row: Row) -> None:
    """Write a new row."""
    names = ", ".join(row)
    db.execute(f"INSERT INTO tasks ({names}) VALUES ({', '.join(f':{name}' for name in row)})", row)  # noqa: S608 - column names of ours


def mark_delivered(db: sqlite3.Connection, keys: Sequence[str]) -> None:
    """Note that results were handed over."""
    db.executemany("UPDATE tasks SET delivered = 1 WHERE key = ? AND NOT delivered", [(key,) for key in keys])


def joinable(db: sqlite3.Connection, caller: str, fingerprint: str) -> Task | None:
    """Find the newest task that a repetition of its request joins."""
    row = db.execute(JOINABLE, (caller, fingerprint)).fetchone()
    return task_of(row) if row else None


def check_limits(db: sqlite3.Connection, limits: Limits, caller: str, now: float) -> None:
    """Refuse another task when as many of a caller's run, or were submitted in 24 hours, as the user allows."""
    active = db.execute(ACTIVE, ages(caller, now)).fetchone()[0]
    if limits.active is not None and active >= limits.active:
        raise LimitReached(f"As many tasks are running as LUMA_MCP_MAX_ACTIVE allows: {active}.")
    today = db.execute(SUBMITTED, ages(caller, now)).fetchone()[0]
    if limits.daily is not None and today >= limits.daily:
        raise LimitReached(
            f"{today} tasks were submitted in 24 hours, and LUMA_MCP_DAILY_LIMIT allows {limits.daily}.",
            hint="Wait until older ones are more than 24 hours ago, then repeat the call; or have the limit raised"
            " in this server's settings.",
        )


def ages(caller: str, now: float) -> Row:
    """Say whose tasks count against the limits, and since when."""
    return {"caller": caller, "born": now - DAY_SECONDS, "doubted": now - REPLAY_SECONDS}


def readable(row: sqlite3.Row) -> Task:
    """Read a task that a caller or follower needs; raise `LedgerUnusable` if the row makes no sense."""
    if is_task(row):
        return task_of(row)
    raise LedgerUnusable(f"The task {row['key']} cannot be read from the ledger.")
