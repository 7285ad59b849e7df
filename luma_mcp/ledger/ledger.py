"""The tasks on disk: the one truth, shared by every server process on this machine, or on many.

A row is written before RunAPI is asked and changed before an answer is used. Each query that runs often has an index,
however long the history is.
"""

import json
import math
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from luma_mcp.core.errors import InvalidRequest, TaskNotFound, TaskUnreadable
from luma_mcp.core.models import (
    CLOCK_STEP_SECONDS,
    DAY_SECONDS,
    MAX_TAKES,
    MICROS,
    MODEL,
    OUTPUT_LIFETIME_SECONDS,
    PRICE_USD,
    REPLAY_SECONDS,
    Change,
    LedgerPosition,
    Limits,
    Spending,
    Status,
    Task,
    Usage,
    settled_charge,
    to_micros,
)
from luma_mcp.core.observer import Observer, Settled
from luma_mcp.core.settings import Settings
from luma_mcp.core.text import sanitise_text
from luma_mcp.ledger.audit import log_charge
from luma_mcp.ledger.database import LedgerFile
from luma_mcp.ledger.errors import LeaseLost, TaskIdTaken
from luma_mcp.ledger.files import LedgerPath, ledger_path
from luma_mcp.ledger.records import (
    IMMUTABLE_COLUMNS,
    UNREADABLE,
    Row,
    failure_to_json,
    is_key,
    is_valid_row,
    row_of,
    task_of,
)
from luma_mcp.ledger.schema import BLOCKS_REPEAT, UNENDED, UNSAVED
from luma_mcp.ledger.store import Connection, Record, Store
from luma_mcp.ledger.tickets import LedgerTickets
from luma_mcp.ledger.uploads import LedgerUploads

MAX_COST_USD = 1_000_000  # no task costs more: what says so was made up
# Conditions that several statements share.
MAY_BE_SENT = "(wanted_at BETWEEN :doubted AND :latest OR coalesce(sent_at, 0) BETWEEN :doubted AND :latest)"
"""As `Task.is_young` has it: not before `:doubted`, nor after `:latest`, which no clock that is right has written."""
LEASE_IS_FREE = """lease_owner = '' AND (aside_until <= :now
    -- nobody puts a task aside for longer: the clock was set back since
    OR aside_until > :now + :aside)"""
SAYS_IT_LIVES = """alive_until > :now
    -- no server says for longer that it lives: the clock was set back since
    AND alive_until <= :now + :held"""
MAX_LEASE_SECONDS: Row = {"held": 30.0}
MAX_ASIDE_SECONDS: Row = {"aside": 600.0}
SAY_ALIVE = """
    INSERT INTO servers VALUES (:owner, :until)
    ON CONFLICT (owner) DO UPDATE SET alive_until = excluded.alive_until"""
FIND_BY_REQUEST = f"""
    SELECT * FROM tasks INDEXED BY tasks_that_count
    WHERE {BLOCKS_REPEAT} AND caller = ? AND name = ? AND take = ?"""  # noqa: S608 - conditions of ours
ACTIVE = f"""
    SELECT count(*) AS tasks FROM tasks INDEXED BY tasks_unended
    WHERE {UNENDED} AND caller = :caller AND key <> :besides
        -- an older one is followed no longer
        AND wanted_at > :born
        -- one in doubt is tried again for a while only
        AND (status <> 'unconfirmed' OR wanted_at > :doubted OR coalesce(sent_at, 0) > :doubted)"""  # noqa: S608 - conditions of ours
SUBMITTED = """
    SELECT count(*) AS tasks FROM tasks WHERE caller = :caller AND created_at > :born AND key <> :besides
        -- what failed before RunAPI had named it was not submitted
        AND (task_id <> '' OR status <> 'failed')"""
COST = f"""
    CASE WHEN charged = 'yes' AND cost_usd BETWEEN 0 AND {MAX_COST_USD} THEN CAST(round(cost_usd * {MICROS}) AS BIGINT)
        -- what RunAPI did not report, somebody made up, or may yet be charged counts with the price
        ELSE :price END"""
"""What a task counts with, in whole millionths of a USD: sums of these are exact, and stay far below what overflows."""
COMMITTED = f"""
    SELECT CAST(coalesce(sum({COST}), 0) AS BIGINT) AS cost FROM (
        SELECT charged, cost_usd, caller, key FROM tasks INDEXED BY tasks_by_end
        WHERE model = :model AND status IN ('completed', 'failed') AND finished_at > :born AND {BLOCKS_REPEAT}
        UNION ALL
        -- what runs, waits to be sent, or is in doubt
        SELECT charged, cost_usd, caller, key FROM tasks INDEXED BY tasks_unended
        WHERE {UNENDED} AND caller = :caller AND wanted_at > :born
    ) AS counted WHERE caller = :caller AND key <> :besides"""  # noqa: S608 - conditions of ours
CLEAR_PATH_ELSEWHERE = """
    UPDATE tasks SET video_path = '', wants_file = false WHERE video_path = ? AND key <> ?
        -- as the index `tasks_by_path` has it
        AND video_path <> ''"""
CHANGED_AT_ONCE = 2_000  # rows in one transaction: others wait no longer than that takes
SEARCHED = 10_000  # tasks; so many rows are looked at
COMPARABLE_SECONDS = 3600.0  # longer means that nobody was there to see the end


def next_cursor(task: Task) -> str:
    """Give the cursor of the page that begins behind a task."""
    return format_cursor(task.created_at, task.key)


def format_cursor(created_at: float, key: str) -> str:
    return f"{created_at!r}_{key}"


def parse_cursor(cursor: str) -> tuple[float, str]:
    """Give the creation time and key of the last task of the page before; raise `InvalidRequest`."""
    if not cursor:
        return math.inf, ""
    created_at, _, key = cursor.partition("_")
    try:
        place = float(created_at), str(uuid.UUID(key))
    except ValueError as error:
        raise InvalidRequest("cursor is not one that list_tasks returned.") from error
    if not math.isfinite(place[0]) or cursor != format_cursor(*place):
        raise InvalidRequest("cursor is not one that list_tasks returned.")
    return place


def insert(db: Connection, row: Row) -> bool:
    """Add a row unless its request has a task that blocks a repeat; tell whether it was added."""
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    insertion = f"""
        INSERT INTO tasks ({names}) VALUES ({values})
        ON CONFLICT (caller, name, take) WHERE {BLOCKS_REPEAT} DO NOTHING"""  # noqa: S608 - column names and conditions of ours
    return db.execute(insertion, row).rowcount == 1


def check_lease(db: Connection, key: str, owner: str) -> None:
    if db.execute("SELECT 1 FROM tasks WHERE key = ? AND lease_owner = ?", (key, owner)).fetchone() is None:
        raise LeaseLost(key)


def newly_settled(db: Connection, task: Task) -> Settled:
    """Tell what a task is about to be recorded as for the first time; asked only where it may be anything."""
    if not task.status.done and task.settled_charge == "no":
        return Settled()
    row = db.execute("SELECT status, charged, given_up FROM tasks WHERE key = ?", (task.key,)).fetchone()
    if row is None:
        return Settled()
    before = settled_charge(row["status"], row["charged"], given_up=bool(row["given_up"]))
    return Settled(
        ended=task.status.done and not Status(row["status"]).done,
        charged=task.settled_charge not in ("no", before),
    )


def claim(db: Connection, keys: list[str], owner: str, now: float, until: float, skip_locked: str) -> set[str]:
    """Lease those tasks that are free, and give all of them that the owner has."""
    update = f"""
        UPDATE tasks SET lease_owner = :owner WHERE key IN (
            SELECT key FROM tasks
            WHERE key IN (SELECT value FROM json_each(:keys)) AND {LEASE_IS_FREE} {skip_locked})"""  # noqa: S608 - of ours
    held = """
        SELECT key FROM tasks WHERE key IN (SELECT value FROM json_each(:keys)) AND lease_owner = :owner"""
    values: Row = {"owner": owner, "keys": json.dumps(keys), "now": now, "until": until} | MAX_ASIDE_SECONDS
    db.execute(SAY_ALIVE, values)
    db.execute(update, values)
    return {row["key"] for row in db.execute(held, values)}


def check_limits(db: Connection, limits: Limits, caller: str, now: float, *, besides: str = "") -> None:
    """Refuse another task when as many of a caller's run, were submitted in 24 hours, or may cost as the user allows.

    `besides` is the key of a task that is asked for, which does not count.
    """
    values = limit_values(caller, now, besides)
    active = db.execute(ACTIVE, values).fetchone()["tasks"]
    submitted = 0 if limits.daily is None else db.execute(SUBMITTED, values).fetchone()["tasks"]
    money = values | money_values(limits.price)
    committed = 0 if limits.budget is None else db.execute(COMMITTED, money).fetchone()["cost"]
    if refusal := limits.refusal(Usage(active, submitted, committed)):
        raise refusal


def limit_values(caller: str, now: float, besides: str = "") -> Row:
    return {"caller": caller, "besides": besides, "born": now - DAY_SECONDS, "doubted": now - REPLAY_SECONDS}


def money_values(price: int) -> Row:
    return {"price": price, "model": MODEL}


def load_task(row: Record) -> Task:
    """Give the task in a row; raise `TaskUnreadable` if this server cannot have written it."""
    try:
        return task_of(row)
    except UNREADABLE as error:
        raise TaskUnreadable(f"The task {sanitise_text(str(row['key']))} cannot be read from the ledger.") from error


class Ledger:
    """The table of tasks in a store. Every method raises `LedgerUnusable` when the store cannot be used.

    `uploads` are the clips that lie at RunAPI, `tickets` let callers elsewhere send some; `observer` hears what is
    recorded. What is read is input: `task_of` says what a row may hold.
    """

    def __init__(self, store: Store, observer: Observer | None = None) -> None:
        self._store = store
        self._observer = observer or Observer()
        self.uploads = LedgerUploads(self._store)
        self.tickets = LedgerTickets(self._store)
        self._owner = store.owner

    @classmethod
    def in_file(cls, path: Path, *, named: bool = False, observer: Observer | None = None) -> "Ledger":
        """Give the ledger in a file of SQLite's; `named` tells whether a flag or the environment named its folder."""
        return cls(LedgerFile(LedgerPath(path, named)), observer)

    def close(self) -> None:
        """Close the store; a later call opens it again."""
        self._store.close()

    def report_damage_once(self) -> AbstractContextManager[None]:
        """Serve a caller inside; if tasks were lost to damage, the first caller since then gets `LedgerDamaged`."""
        return self._store.report_damage_once()

    # -- writing ------------------------------------------------------------------------------------------------------

    async def join_or_add(
        self, draft: Task, name: str, limits: Limits, *, lease_until: float | None = None
    ) -> tuple[Task, bool]:
        """Add a task for the request `name`, unless one blocks a repeat; give the task, and whether it was there.

        However many processes try at the same instant, one of them adds it, and with `lease_until` (POSIX seconds)
        leases it, as `claim` does. Raises `LimitReached`.
        """
        owner = "" if lease_until is None else self._owner
        own: Row = {"name": name, "folded_prompt": draft.request.prompt.casefold(), "lease_owner": owner}

        def write(db: Connection) -> tuple[Task, bool]:
            self._store.lock_limits(db)
            while not insert(db, row_of(draft) | own):
                # otherwise the one that blocked has failed at this moment, and cost nothing
                if found := db.execute(FIND_BY_REQUEST, (draft.caller, name, draft.request.take)).fetchone():
                    return load_task(found), True
            check_limits(db, limits, draft.caller, draft.created_at, besides=draft.key)
            if owner:
                db.execute(SAY_ALIVE, {"owner": owner, "until": lease_until})
            return draft, False

        return await self._store.write(write, heeding=True)

    async def find_by_request(self, caller: str, name: str, take: int) -> Task | None:
        """Give the task of a request that blocks a repeat, by the request's name; None if there is none."""
        rows = await self._store.read(FIND_BY_REQUEST, (caller, name, take))
        return load_task(rows[0]) if rows else None

    async def unused_take(self, key: str) -> int:
        """Give the lowest take that the request of the task `key` never had; 0 if it had all."""
        query = """
            SELECT DISTINCT take FROM tasks INDEXED BY tasks_by_request
            WHERE (caller, name) = (SELECT caller, name FROM tasks WHERE key = ?)"""
        used = {row["take"] for row in await self._store.read(query, (key,))}
        return next((take for take in range(1, MAX_TAKES + 1) if take not in used), 0)

    async def record(self, task: Task) -> Task:
        """Write what may change of a task whose lease is held; `IMMUTABLE_COLUMNS` stay.

        Gives the task as it is stored afterwards: an end is final, an id is never replaced, a state never goes back.
        Raises `LeaseLost` when another owner took the task over, as after a sleep.
        """
        return await self._record(task, self._owner)

    async def record_accepted(self, task: Task) -> Task:
        """Write that RunAPI has taken a task, with its id, whoever has its lease by now: nothing else knows it.

        Raises `TaskIdTaken`.
        """
        query = """
            SELECT 1 FROM tasks WHERE task_id = ? AND key <> ?
                -- as the index `tasks_by_id` has it
                AND task_id <> ''"""

        def allow(db: Connection) -> None:
            if db.execute(query, (task.task_id, task.key)).fetchone():
                raise TaskIdTaken(task.task_id)

        return await self._record(task, None, allow)

    async def record_saved(self, task: Task) -> Task:
        """Write where a video was saved: what other tasks had at its path is gone; raises as `record` does."""
        gone = (task.video_path, task.key)
        return await self._record(task, self._owner, lambda db: db.execute(CLEAR_PATH_ELSEWHERE, gone))

    async def record_sending(self, task: Task, limits: Limits, now: float) -> Task:
        """Write that a task is about to be sent; raise `LimitReached`, or `LeaseLost`.

        The limits are checked again, because the row may come from elsewhere (the store is input).
        """

        def allow(db: Connection) -> None:
            self._store.lock_limits(db)
            check_limits(db, limits, task.caller, now, besides=task.key)

        return await self._record(task, self._owner, allow)

    async def _record(
        self, task: Task, owner: str | None, besides: Callable[[Connection], object] = lambda _: None
    ) -> Task:
        """Write a task, if `owner` has its lease or is None, and what is to be written or refused `besides`."""
        row = {name: value for name, value in row_of(task).items() if name not in IMMUTABLE_COLUMNS}
        changes = ", ".join(f"{name} = :{name}" for name in row)
        update = f"""
            UPDATE tasks SET {changes} WHERE key = :key
                -- an end is final
                AND ({UNENDED} OR status = :status)
                -- an id is never replaced
                AND task_id IN ('', :task_id)
                -- a state never goes back
                AND status IN (SELECT value FROM json_each(:past))
                AND {"true" if owner is None else "lease_owner = :owner"}"""  # noqa: S608 - column names and conditions of ours
        past = json.dumps([status for status in Status if status.rank <= task.status.rank])
        values = row | {"past": past, "key": task.key, "owner": owner}

        def write(db: Connection) -> Settled | None:
            besides(db)
            settled = newly_settled(db, task)
            if db.execute(update, values).rowcount == 1:
                if settled.charged:
                    log_charge(task)
                return settled
            if owner is not None:
                check_lease(db, task.key, owner)
            return None

        settled = await self._store.write(write)
        if settled is None:
            return await self.get(task.key)
        self._observer.settled(task, settled)
        return task

    async def set_wanted_at(self, key: str, now: float) -> None:
        """Note that a caller asks again for a task that has no id yet; `now` in POSIX seconds."""
        query = """
            UPDATE tasks SET wanted_at = ? WHERE key = ?
                -- afterwards asking prolongs nothing: a task is followed for a time from `wanted_at` on
                AND task_id = '' AND status IN ('submitting', 'unconfirmed')"""
        await self._store.change(query, (now, key))

    async def resubmit(self, key: str, now: float) -> None:
        """Put an unconfirmed task back to work under its key, now."""
        query = """
            UPDATE tasks SET status = 'submitting', error = NULL, updated_at = :now,
                -- one that was put aside is taken at once
                aside_until = 0
            WHERE key = :key AND status = 'unconfirmed'"""
        await self._store.change(query, {"key": key, "now": now})

    async def request_save(self, task: Task, name: str, now: float) -> None:
        """Have a finished video saved, under a name if one is given, unless it was saved elsewhere meanwhile.

        Whoever waits for a later try loses the lease.
        """
        query = """
            UPDATE tasks SET wants_file = true, video_path = '', error = NULL, failures = 0, updated_at = :now,
                file_name = CASE :name WHEN '' THEN file_name ELSE :name END,
                -- whoever else holds the lease of a task with an error only waits for a later try, and loses it
                lease_owner = CASE WHEN error IS NULL OR lease_owner = :owner THEN lease_owner ELSE '' END,
                -- what was put aside is taken at once
                aside_until = 0
            WHERE key = :key AND status = 'completed'
                -- otherwise it was saved elsewhere meanwhile
                AND video_path = :path"""
        seen = {"key": task.key, "path": task.video_path}
        await self._store.change(query, {**seen, "name": name, "now": now, "owner": self._owner})

    async def set_wants_file(self, key: str) -> None:
        """Have a video saved that was not to be, unless it has been."""
        query = "UPDATE tasks SET wants_file = true WHERE key = ? AND video_path = '' AND NOT wants_file"
        await self._store.change(query, (key,))

    async def clear_path_elsewhere(self, path: str, key: str) -> None:
        """Note that the file at `path` is that of the task `key` now: those of other tasks there are gone."""
        await self._store.change(CLEAR_PATH_ELSEWHERE, (path, key))

    async def clear_wants_file(self, key: str) -> None:
        """Leave a finished video unsaved until somebody asks for it."""
        query = """
            UPDATE tasks SET wants_file = false WHERE key = ? AND status = 'completed' AND video_path = ''
                -- otherwise somebody has asked for it meanwhile
                AND error IS NOT NULL"""
        await self._store.change(query, (key,))

    async def update_video_urls(self, task: Task) -> None:
        """Write the links of a finished video and what is wrong with them, whoever holds the lease."""
        query = "UPDATE tasks SET video_urls = ?, error = ?, updated_at = ? WHERE key = ? AND status = 'completed'"
        await self._store.change(
            query, (json.dumps(task.video_urls), failure_to_json(task.error), task.updated_at, task.key)
        )

    async def check_writable(self) -> None:
        """Raise `LedgerUnusable` if nothing could be written now."""
        await self._store.check_writable()

    async def forget(self, now: float, days: int) -> None:
        """Delete the tasks that ended more than `days` days ago, never an unconfirmed one; saved videos stay."""
        query = f"""
            DELETE FROM tasks WHERE key IN (
                SELECT key FROM tasks WHERE status IN ('completed', 'failed') AND updated_at < :before
                    -- it is saved as long as RunAPI keeps it
                    AND NOT ({UNSAVED} AND finished_at > :oldest)
                LIMIT {CHANGED_AT_ONCE})"""  # noqa: S608 - conditions of ours
        bounds = {"oldest": now - OUTPUT_LIFETIME_SECONDS, "before": now - days * DAY_SECONDS}
        if await self._change_all(query, bounds) + await self.tickets.forget(bounds["before"]):
            await self._store.shrink()

    # -- leases -------------------------------------------------------------------------------------------------------

    async def say_alive(self, until: float) -> None:
        """Keep all leases of this server, as far as nobody took them, until a moment in POSIX seconds."""
        await self._store.stay_connected()
        values: Row = {"owner": self._owner, "until": until}
        await self._store.change(SAY_ALIVE, values)

    @property
    def _living(self) -> str:
        return f"servers WHERE {SAYS_IT_LIVES} AND {self._store.is_connected}"

    async def free_tasks_of_silent_servers(self, now: float) -> None:
        """Take the leases of servers that did not say in time that they live, or are gone, and forget these."""
        lost = f"lease_owner <> '' AND lease_owner NOT IN (SELECT owner FROM {self._living})"  # noqa: S608 - conditions of ours
        found = f"""
            SELECT 1 FROM tasks INDEXED BY tasks_leased WHERE {lost}
            UNION ALL
            -- one that had no task left when it ended
            SELECT 1 FROM servers WHERE owner NOT IN (SELECT owner FROM {self._living}) LIMIT 1"""  # noqa: S608 - conditions of ours
        free = f"""
            UPDATE tasks SET lease_owner = '', aside_until = 0 WHERE key IN (
                SELECT key FROM tasks WHERE {lost} LIMIT {CHANGED_AT_ONCE} {self._store.skip_locked})"""  # noqa: S608 - as above
        forget = f"""
            DELETE FROM servers WHERE NOT ({SAYS_IT_LIVES} AND {self._store.is_connected})
                -- until all that it had is free
                AND NOT EXISTS (SELECT 1 FROM tasks WHERE lease_owner = owner)"""  # noqa: S608 - as above
        values: Row = {"now": now} | MAX_LEASE_SECONDS
        if await self._store.read(found, values):
            await self._change_all(free, values)
            await self._store.change(forget, values)

    async def count_servers(self, now: float) -> int:
        """Count the servers that have tasks to follow, this one among them if it has."""
        query = f"SELECT count(*) AS servers FROM {self._living}"  # noqa: S608 - conditions of ours
        rows = await self._store.read(query, {"now": now} | MAX_LEASE_SECONDS)
        servers: int = rows[0]["servers"]
        return servers

    async def claim(self, keys: list[str], now: float, until: float) -> set[str]:
        """Lease tasks to this server, which says that it lives `until` (POSIX seconds); give those that it has now."""
        return await self._store.write(lambda db: claim(db, keys, self._owner, now, until, self._store.skip_locked))

    async def leased(self) -> list[str]:
        """List the keys of the tasks that are leased to this server.

        They come in one row: at each row the reading thread has to wait for its turn beside the event loop's.
        """
        query = """
            SELECT group_concat(key, ' ') AS keys FROM tasks WHERE lease_owner = ?
                -- as the index `tasks_leased` has it
                AND lease_owner <> ''"""
        rows = await self._store.read(query, (self._owner,))
        return (rows[0]["keys"] or "").split()

    async def release(self, key: str, until: float = 0.0, *, while_status: str = "") -> None:
        """Give a lease back; while the task is in `while_status`, nobody takes it before `until` (POSIX seconds)."""
        query = """
            UPDATE tasks SET lease_owner = '',
                -- in another state there is something to do at once
                aside_until = CASE WHEN status = :status OR :status = '' THEN :until ELSE 0 END
            WHERE key = :key AND lease_owner = :owner"""
        values = {"until": until, "key": key, "owner": self._owner, "status": while_status}
        await self._store.change(query, values)

    async def release_all(self) -> None:
        """Give all leases of this server back."""

        def write(db: Connection) -> None:
            # the second half of the condition is as the index `tasks_leased` has it
            db.execute("UPDATE tasks SET lease_owner = '' WHERE lease_owner = ? AND lease_owner <> ''", (self._owner,))
            db.execute("DELETE FROM servers WHERE owner = ?", (self._owner,))

        await self._store.write(write)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def get(self, key: str) -> Task:
        """Give a task by its key; raise `TaskNotFound` if it was deleted, `TaskUnreadable` if it makes no sense."""
        return load_task(await self._row(key))

    async def get_held(self, key: str) -> Task:
        """Give a task that is leased to this server; raise `LeaseLost` if it is not, or as `get` does."""
        row = await self._row(key)
        if row["lease_owner"] != self._owner:
            raise LeaseLost(key)
        return load_task(row)

    async def _row(self, key: str) -> Record:
        rows = await self._store.read("SELECT * FROM tasks WHERE key = ?", (key,))
        if not rows:
            raise TaskNotFound("The task is no longer in this server's ledger.")
        return rows[0]

    async def find(self, caller: str, task_id: str) -> Task | None:
        """Find a caller's task by its id at RunAPI."""
        query = """
            SELECT * FROM tasks WHERE task_id = ? AND caller = ?
                -- as the index `tasks_by_id` has it
                AND task_id <> ''"""
        rows = await self._store.read(query, (task_id, caller))
        return load_task(rows[0]) if rows else None

    async def find_unattended(
        self, origin: str, key_id: str, now: float, age: float, *, pays: bool = True
    ) -> list[str]:
        """List the keys of an origin's tasks of at most `age` seconds that need work and have no lease, oldest first.

        Unfinished ones need it, finished ones without their file, and for `REPLAY_SECONDS` those in doubt. What may
        still be sent is no work for a server that does not pay.
        """
        query = f"""
            SELECT key, created_at FROM tasks INDEXED BY tasks_free
            WHERE {UNENDED} AND {LEASE_IS_FREE}
                -- an older one is followed no longer
                AND wanted_at > :born
                -- anyone ends what was never sent, to any RunAPI, once it is too old, or if it was made in the future
                AND (origin = :origin OR task_id = '' AND attempts = 0 AND wanted_at NOT BETWEEN :doubted AND :latest)
                -- one in doubt is tried again for a while only, and by those who have its key
                AND (status <> 'unconfirmed' OR key_id = :payer AND {MAY_BE_SENT})
                -- one without an id is left to those who have its key, as long as it may be sent
                AND (task_id <> '' OR key_id = :payer OR NOT {MAY_BE_SENT})
            UNION ALL
            SELECT key, created_at FROM tasks INDEXED BY tasks_unsaved
            WHERE {UNSAVED} AND {LEASE_IS_FREE}
                -- RunAPI may have deleted what is older
                AND finished_at > :oldest
                -- a video of another RunAPI or account is saved when somebody asks, and what has no link cannot be
                AND origin = :origin AND key_id = :key_id AND video_urls <> '[]'
            ORDER BY created_at"""  # noqa: S608 - conditions of ours
        ages = {"born": age, "oldest": OUTPUT_LIFETIME_SECONDS, "doubted": REPLAY_SECONDS}
        bounds: Row = {name: now - seconds for name, seconds in ages.items()}
        account = {"origin": origin, "key_id": key_id, "payer": key_id if pays else None}
        times = {"now": now, "latest": now + CLOCK_STEP_SECONDS}
        rows = await self._store.read(query, bounds | account | times | MAX_ASIDE_SECONDS)
        return [row["key"] for row in rows if is_key(row["key"])]

    async def count_unended(self) -> dict[Status, int]:
        """Count the tasks that have not ended, of all callers, in each state that any of them is in."""
        query = f"SELECT status, count(*) AS tasks FROM tasks WHERE {UNENDED} GROUP BY status"  # noqa: S608 - conditions of ours
        return {Status(row["status"]): row["tasks"] for row in await self._store.read(query, ())}

    async def durations(self, model: str, origin: str, limit: int = 50) -> list[float]:
        """List how many seconds the newest completed tasks of a model took at one RunAPI."""
        query = """
            SELECT finished_at - coalesce(sent_at, created_at) AS seconds FROM tasks
            WHERE status = 'completed' AND model = ? AND origin = ?
                -- as the index `tasks_by_end` has it
                AND finished_at IS NOT NULL
                -- a clock was set back, or nobody was there to see the end
                AND finished_at - coalesce(sent_at, created_at) BETWEEN 0 AND ?
            ORDER BY finished_at DESC LIMIT ?"""
        return [row["seconds"] for row in await self._store.read(query, (model, origin, COMPARABLE_SECONDS, limit))]

    async def spending(self, caller: str, origin: str, now: float, price: int = to_micros(PRICE_USD)) -> Spending:
        """Add up what a caller spent at an origin, today (UTC) and in all, and what counts against its limits.

        `price`, in millionths of a USD, is what a task counts with there that may yet be charged.
        """
        query = f"""
            SELECT CAST(coalesce(sum(cost), 0) AS BIGINT) AS total,
                CAST(coalesce(sum(cost) FILTER (WHERE finished_at >= :midnight), 0) AS BIGINT) AS today
            FROM (SELECT finished_at, {COST} AS cost
                FROM tasks WHERE caller = :caller AND charged = 'yes' AND origin = :origin) AS charges"""  # noqa: S608 - of ours
        facts = {"caller": caller, "origin": origin, "price": to_micros(PRICE_USD)}
        spent = (await self._store.read(query, facts | {"midnight": now - now % DAY_SECONDS}))[0]
        values = limit_values(caller, now)
        active = (await self._store.read(ACTIVE, values))[0]["tasks"]
        submitted = (await self._store.read(SUBMITTED, values))[0]["tasks"]
        committed = (await self._store.read(COMMITTED, values | money_values(price)))[0]["cost"]
        return Spending(spent["today"] / MICROS, spent["total"] / MICROS, Usage(active, submitted, committed))

    async def spent_since(self, caller: str, origin: str, since: float) -> float:
        """Add up in USD what a caller spent at an origin on tasks that ended at `since` (POSIX seconds) or later."""
        query = f"""
            SELECT CAST(coalesce(sum({COST}), 0) AS BIGINT) AS spent
            FROM tasks WHERE caller = :caller AND charged = 'yes' AND origin = :origin AND finished_at >= :since"""  # noqa: S608 - ours
        facts = {"caller": caller, "origin": origin, "since": since, "price": to_micros(PRICE_USD)}
        spent: int = (await self._store.read(query, facts))[0]["spent"]
        return spent / MICROS

    async def page(self, caller: str, status: str, limit: int, cursor: str) -> tuple[list[Task], str]:
        """Give `limit` of a caller's tasks, newest first, from `cursor` on; and the next cursor, empty at the end.

        Rows that make no sense are passed over, as far as there are not more than `SEARCHED` of them.
        """
        created_at, before = parse_cursor(cursor)
        place: Row = {"created_at": created_at, "before": before, "limit": limit + 1}
        query = f"""
            SELECT * FROM tasks WHERE caller = :caller AND {"status = :status AND" if status else ""}
                -- several may be of one moment
                (created_at, key) < (:created_at, :before)
            ORDER BY created_at DESC, key DESC LIMIT :limit"""  # noqa: S608 - conditions of ours
        tasks: list[Task] = []
        for _ in range(0, SEARCHED, limit):
            rows = await self._store.read(query, {"caller": caller, "status": status, **place})
            tasks += [task_of(row) for row in rows if is_valid_row(row)]
            if len(rows) <= limit or len(tasks) > limit:
                break
            place |= {"created_at": rows[-1]["created_at"], "before": rows[-1]["key"]}
        return tasks[:limit], next_cursor(tasks[limit - 1]) if len(tasks) > limit else ""

    async def search_tasks(
        self, caller: str, typed: str, states: Sequence[Status], limit: int, *, unnamed: bool = False
    ) -> list[Task]:
        """Give the caller's newest tasks in some states that have each typed word in id or prompt, in any case.

        Only tasks that have an id are found unless `unnamed` too, and only among the newest `SEARCHED`.
        """
        query = """
            SELECT * FROM tasks WHERE caller = :caller AND (task_id <> '' OR :unnamed)
                -- the time of the newest that is not searched any more, -1 where all are
                AND created_at > coalesce((SELECT created_at FROM tasks WHERE caller = :caller
                    ORDER BY created_at DESC LIMIT 1 OFFSET :searched), -1)
                AND status IN (SELECT value FROM json_each(:states))
                AND NOT EXISTS (SELECT 1 FROM json_each(:words)
                    WHERE instr(lower(task_id) || ' ' || folded_prompt, value) = 0)
            ORDER BY created_at DESC, key DESC LIMIT :limit"""
        words = json.dumps(sorted(set(typed.casefold().replace("\0", " ").split())))  # PostgreSQL takes no NUL
        values: Row = {"caller": caller, "words": words, "states": json.dumps(states)}
        rows = await self._store.read(query, values | {"limit": limit, "searched": SEARCHED, "unnamed": unnamed})
        return [task_of(row) for row in rows if is_valid_row(row)]

    async def changes(self, since: LedgerPosition | None) -> tuple[LedgerPosition, list[Change]]:
        """Give the present position, and what callers can see to have changed since an earlier one."""
        return await self._store.changes(since)

    async def stop_watching(self) -> None:
        """Take note that nobody asks for changes for now."""
        await self._store.rest()

    async def _change_all(self, query: str, values: Row) -> int:
        """Run a statement that changes `CHANGED_AT_ONCE` rows at most until it finds no more; give how many it did."""
        changed = 0
        while found := await self._store.change(query, values):
            changed += found
        return changed


def open_ledger(settings: Settings, observer: Observer | None = None) -> Ledger:
    """Give the ledger that the settings mean; its file or database is opened when it is needed."""
    if settings.database_url:
        from luma_mcp.ledger.postgres import PostgresStore  # noqa: PLC0415 - an extra, which few servers need

        return Ledger(PostgresStore(settings.database_url, settings.database_schema), observer)
    place = ledger_path(settings)
    return Ledger.in_file(place.path, named=place.is_configured, observer=observer)
