"""The tasks on disk: the one truth, shared by every server process on this machine (SQLite).

A row is written before RunAPI is asked and changed before an answer is used.
"""

import json
import math
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from luma_mcp.core.errors import TaskNotFound
from luma_mcp.core.models import (
    CLOCK_STEP_SECONDS,
    DAY_SECONDS,
    MOST_TAKES,
    OUTPUT_LIFETIME_SECONDS,
    REPLAY_SECONDS,
    Change,
    Limits,
    Position,
    Status,
    Task,
)
from luma_mcp.ledger.cursors import cursor_after, position
from luma_mcp.ledger.database import LedgerFile
from luma_mcp.ledger.place import Place
from luma_mcp.ledger.queries import (
    CHANGED,
    CLAIM,
    DURATIONS,
    FORGET,
    GIVE_UP_FILE,
    GOES_ON,
    MATCHING,
    NAMED,
    PAGE,
    RELEASE,
    RELINK,
    RENEW,
    RESUBMIT,
    SAVE_TOO,
    TAKE_PATH,
    TAKES,
    THAT_COUNTS,
    UNATTENDED,
    UNCHANGED,
    WANT,
    WANT_FILE,
)
from luma_mcp.ledger.records import FIXED, Row, is_key, is_task, row_of, stored, task_of
from luma_mcp.ledger.rows import (
    check_lease,
    check_limits,
    insert,
    position_in,
    readable,
)
from luma_mcp.ledger.sums import LedgerSums
from luma_mcp.ledger.uploads import LedgerUploads

LONGEST_LEASES: Row = {"held": 30.0, "aside": 600.0}  # seconds; nobody holds one or puts a task aside for longer
SEARCHED = 10_000
COMPARABLE_SECONDS = 3600.0  # longer means that nobody was there to see the end


class Ledger:
    """The table of tasks in the file `path`. Every method raises `LedgerUnusable` when the file cannot be used.

    `named` tells whether a flag or the environment named its folder. `uploads` are the clips that lie at RunAPI, `sums`
    what was spent. The file is input: `Place` says whose it may be, `refuse_strange` and `task_of` what it may hold.
    """

    def __init__(self, path: Path, *, named: bool = False) -> None:
        self._file = LedgerFile(Place(path, named))
        self.uploads = LedgerUploads(self._file)
        self.sums = LedgerSums(self._file)
        self._owner = uuid.uuid4().hex

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        self._file.close()

    def telling(self) -> AbstractContextManager[None]:
        """Serve a caller inside: one of them is told with `LedgerDamaged` that the file was damaged, if it was."""
        return self._file.telling()

    # -- writing ------------------------------------------------------------------------------------------------------

    async def join_or_add(self, draft: Task, name: str, limits: Limits) -> tuple[Task, bool]:
        """Write the intent of a request by its name, unless it has a task that counts: then give that one; tell which.

        Whatever several processes do at the same instant, one of them writes it. Raises `LimitReached`.
        """

        def write(db: sqlite3.Connection) -> tuple[Task, bool]:
            if insert(db, row_of(draft) | {"name": name}):
                check_limits(db, limits, draft.caller, draft.created_at, besides=draft.key)
                return draft, False
            return readable(db.execute(THAT_COUNTS, (draft.caller, name, draft.request.take)).fetchone()), True

        return await self._file.write(write, heeding=True)

    async def of_request(self, caller: str, name: str, take: int) -> Task | None:
        """Find the task of a request that counts, by the request's name."""
        rows = await self._file.read(THAT_COUNTS, (caller, name, take))
        return readable(rows[0]) if rows else None

    async def unused_take(self, key: str) -> int:
        """Give the lowest take that the request of a task never had; 0 if it had all."""
        used = {row["take"] for row in await self._file.read(TAKES, (key,))}
        return next((take for take in range(1, MOST_TAKES + 1) if take not in used), 0)

    async def record(self, task: Task) -> Task:
        """Write what may change about a task whose lease is held; what it was submitted with stays.

        An end is final, an id is never replaced and a state never goes back: gives the task as it stands afterwards.
        Raises `LeaseLost` when another owner took the task over, as after a sleep.
        """
        return await self._record(task, lambda db: check_lease(db, task.key, self._owner))

    async def note_sending(self, task: Task, limits: Limits, now: float) -> Task:
        """Write, before it happens, that a task is sent, within the limits (`LimitReached`).

        Whoever wrote the row may have asked no limits, whatever it says of itself. Raises `LeaseLost`.
        """

        def allow(db: sqlite3.Connection) -> None:
            check_lease(db, task.key, self._owner)
            check_limits(db, limits, task.caller, now, besides=task.key)

        return await self._record(task, allow)

    async def _record(self, task: Task, allow: Callable[[sqlite3.Connection], None]) -> Task:
        row = {name: value for name, value in row_of(task).items() if name not in FIXED}
        changes = ", ".join(f"{name} = :{name}" for name in row)
        update = f"UPDATE tasks SET {changes} WHERE key = :key AND {GOES_ON}"  # noqa: S608 - column names of ours
        past = json.dumps([status for status in Status if status.rank <= task.status.rank])
        values = row | {"past": past, "key": task.key, "owner": self._owner}

        def write(db: sqlite3.Connection) -> bool:
            allow(db)
            return db.execute(update, values).rowcount == 1

        return task if await self._file.write(write) else await self.get(task.key)

    async def want(self, key: str, now: float) -> None:
        """Note that somebody asks now for a task that RunAPI has not named."""
        await self._change(WANT, (now, key))

    async def resubmit(self, key: str, now: float) -> None:
        """Put an unconfirmed task back to work under its key, now."""
        await self._change(RESUBMIT, {"key": key, "now": now})

    async def want_file(self, task: Task, name: str, now: float) -> None:
        """Have a finished video saved, under a name if one is given, unless it was saved elsewhere meanwhile.

        Whoever waits for a later try loses the lease.
        """
        seen = {"key": task.key, "path": task.video_path}
        await self._change(WANT_FILE, {**seen, "name": name, "now": now, "owner": self._owner})

    async def save_too(self, key: str) -> None:
        """Have a video saved that was not to be, unless it has been."""
        await self._change(SAVE_TOO, (key,))

    async def take_path(self, path: str, key: str) -> None:
        """Note that a new file lies where other tasks had theirs, which must be gone."""
        await self._change(TAKE_PATH, (path, key))

    async def give_up_file(self, key: str) -> None:
        """Leave a finished video unsaved until somebody asks for it."""
        await self._change(GIVE_UP_FILE, (key,))

    async def relink(self, task: Task) -> None:
        """Note under which links a finished video lies now and what is wrong with them, whoever holds the lease."""
        await self._change(RELINK, (json.dumps(task.video_urls), stored(task.error), task.updated_at, task.key))

    async def check_writable(self) -> None:
        """Raise `LedgerUnusable` if nothing could be written now."""
        await self._change(UNCHANGED, ())

    async def forget(self, now: float, days: int) -> None:
        """Delete the tasks that ended more than `days` days ago, never an unconfirmed one; saved videos stay."""
        bounds = {"oldest": now - OUTPUT_LIFETIME_SECONDS, "before": now - days * DAY_SECONDS}
        if await self._change(FORGET, bounds):
            await self._file.shrink()

    # -- leases -------------------------------------------------------------------------------------------------------

    async def claim(self, key: str, now: float, until: float) -> bool:
        """Take or prolong the lease on a task (POSIX seconds), unless another holds it; tell whether it is held now."""
        lease: Row = {"key": key, "owner": self._owner, "now": now, "until": until}
        return await self._change(CLAIM, lease | LONGEST_LEASES) == 1

    async def renew(self, keys: Iterable[str], until: float) -> int:
        """Prolong those leases that are held, to a moment in POSIX seconds; give their number, others run out."""
        return await self._change(RENEW, (until, self._owner, json.dumps(list(keys))))

    async def release(self, key: str, until: float = 0.0, *, while_status: str = "") -> None:
        """Give a lease back; nobody takes it before `until` (POSIX seconds), as long as it stays in a certain state."""
        values = {"until": until, "key": key, "owner": self._owner, "status": while_status}
        await self._change(RELEASE, values)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def get(self, key: str) -> Task:
        """Read a task that should be known; raise `TaskNotFound` if it was forgotten."""
        for row in await self._file.read("SELECT * FROM tasks WHERE key = ?", (key,)):
            return readable(row)
        raise TaskNotFound("The task is no longer in this server's ledger.")

    async def find(self, caller: str, task_id: str) -> Task | None:
        """Find a caller's task by its id at RunAPI."""
        query = "SELECT * FROM tasks WHERE task_id = ? AND task_id <> '' AND caller = ?"
        rows = await self._file.read(query, (task_id, caller))
        return readable(rows[0]) if rows else None

    async def unattended(self, origin: str, key_id: str, now: float, age: float) -> list[str]:
        """List the keys of an origin's tasks of at most `age` seconds that need work and have no lease, oldest first.

        Unfinished ones need it, finished ones of this key without their file, and for `REPLAY_SECONDS` those whose
        outcome is unknown. What was sent with another RunAPI key is left to servers that have it; what was never sent,
        to any address, is ended by anyone once it is too old, or was made in the future. A lease that runs implausibly
        long does not count: the clock was set back since.
        """
        ages = {"born": age, "oldest": OUTPUT_LIFETIME_SECONDS, "doubted": REPLAY_SECONDS}
        bounds: Row = {name: now - seconds for name, seconds in ages.items()}
        account = {"origin": origin, "key_id": key_id}
        times = {"now": now, "latest": now + CLOCK_STEP_SECONDS}
        rows = await self._file.read(UNATTENDED, bounds | account | times | LONGEST_LEASES)
        return [row["key"] for row in rows if is_key(row["key"])]

    async def is_of_another(self, task_id: str, key: str) -> bool:
        """Tell whether an id at RunAPI is that of another task than the one with a key."""
        return bool(await self._file.read(NAMED, (task_id, key)))

    async def durations(self, model: str, limit: int = 50) -> list[float]:
        """List how many seconds the newest completed tasks of a model took."""
        return [row["seconds"] for row in await self._file.read(DURATIONS, (model, COMPARABLE_SECONDS, limit))]

    async def page(self, caller: str, status: str, limit: int, cursor: str) -> tuple[list[Task], str]:
        """Give `limit` of a caller's tasks, newest first, from `cursor` on; and the next cursor, empty at the end.

        Rows that make no sense are passed over, as far as there are not more than `SEARCHED` of them.
        """
        created_at, before = position(cursor)
        place: Row = {"created_at": created_at, "before": before, "limit": limit + 1}
        query = PAGE.format(status="status = :status AND" if status else "")
        tasks: list[Task] = []
        for _ in range(0, SEARCHED, limit):
            rows = await self._file.read(query, {"caller": caller, "status": status, **place})
            tasks += [task_of(row) for row in rows if is_task(row)]
            if len(rows) <= limit or len(tasks) > limit:
                break
            place |= {"created_at": rows[-1]["created_at"], "before": rows[-1]["key"]}
        return tasks[:limit], cursor_after(tasks[limit - 1]) if len(tasks) > limit else ""

    async def matching(self, caller: str, typed: str, states: Sequence[Status], limit: int) -> list[Task]:
        """Give the caller's newest tasks in some states that have each typed word in id or prompt, in any case.

        Only tasks that have an id are found, and only among the newest `SEARCHED`.
        """
        words = json.dumps(sorted(set(typed.casefold().split())))
        values: Row = {"caller": caller, "words": words, "states": json.dumps(states)}
        rows = await self._file.read(MATCHING, values | {"limit": limit, "searched": SEARCHED})
        return [task_of(row) for row in rows if is_task(row)]

    async def changes(self, since: Position | None) -> tuple[Position, list[Change]]:
        """Tell how far the ledger has come, and what callers can see to have changed since a position."""
        before = since.revision if since else math.inf
        rows = await self._file.read(CHANGED, {"since": before})  # one statement, so that nothing is written in between
        now = position_in(rows)
        if since and (since.ledger != now.ledger or since.revision > now.revision):
            return now, [Change(None, None, listed=True)]
        changed = [row for row in rows if row["caller"] is not None]
        return now, [Change(str(row["caller"]), row["task_id"], bool(row["listed"])) for row in changed]

    async def _change(self, query: str, values: Sequence[Any] | Row) -> int:
        return await self._file.write(lambda db: db.execute(query, values).rowcount)
