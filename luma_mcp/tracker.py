"""Follows every unfinished task to its end in the background, and wakes those who wait (design 3.2)."""

import logging
import math
import random
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from luma_mcp import crash_points
from luma_mcp.downloads import Downloads
from luma_mcp.errors import DownloadFailed, Failure, LeaseLost, LumaError, ServiceUnavailable
from luma_mcp.ledger import Ledger
from luma_mcp.models import OUTPUT_LIFETIME_SECONDS, Clock, Status, Task
from luma_mcp.pace import REFUSED_LONGEST_SECONDS, SAVING_LONGEST_SECONDS, Usual, backoff, poll_after, usual
from luma_mcp.runapi import RunAPI
from luma_mcp.submission import Submission

ROUND_SECONDS = 5.0
LEASE_SECONDS = 15.0
CRASHED_SECONDS = 600.0
LOOK_SECONDS = 1.0
DOUBTED_SECONDS = 60.0
RELEASE_SECONDS = 1.0
TAKEN_UP_AT_ONCE = 50
TIDY_SECONDS = 3600.0
FOLLOW_SECONDS = 24 * 3600.0
QUIET_SAVE_FAILURES = 2
GONE = "It can no longer be downloaded. modify_video with new_take=true makes, and charges, another one."

logger = logging.getLogger(__name__)


class Tracker:
    """One follower a task, under a lease that keeps other processes on the same ledger away.

    The followers are stopped with their group; the ledger keeps what they were at.
    """

    def __init__(
        self,
        ledger: Ledger,
        runapi: RunAPI,
        submission: Submission,
        downloads: Downloads,
        followers: TaskGroup,
        now: Clock,
        *,
        keep_days: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._submission = submission
        self._downloads = downloads
        self._now = now
        self._keep_days = keep_days
        self._awake = anyio.Event()
        self._changed = anyio.Event()
        self._following: set[str] = set()
        self._asked_once: set[str] = set()
        self._foreign: set[str] = set()  # tasks of another RunAPI account, which only servers with its key can follow
        self._followers = followers

    def wake(self) -> None:
        """Start attending: at the first real request, because a process that is only probed must do nothing."""
        self._awake.set()

    def follow(self, key: str) -> None:
        """Follow a task from now on, unless this or another process does."""
        if key not in self._following:
            self._following.add(key)
            self._followers.start_soon(self._guard, key, name=f"follow {key}")

    async def changed(self) -> None:
        """Wait until something changed here, or long enough that another process may have changed something."""
        with anyio.move_on_after(LOOK_SECONDS):
            await self._changed.wait()

    # -- all tasks ----------------------------------------------------------------------------------------------------

    async def attend(self) -> None:
        """Take up what nobody attends to, for ever."""
        await self._awake.wait()
        starting, said, tidied = True, "", -math.inf
        while True:
            try:
                await self._go_round(starting=starting)
                starting = False
                if anyio.current_time() - tidied > TIDY_SECONDS:
                    await self._tidy()
                    tidied = anyio.current_time()
            except LumaError as error:
                if error.message != said:
                    logger.warning("Unfinished tasks cannot be followed now: %s", error.message)
                said = error.message
            except Exception:
                # As for each follower: a bug in going round must not end the server and all its calls.
                logger.exception("Going round the unfinished tasks ended unexpectedly")
            await anyio.sleep(ROUND_SECONDS)

    async def _go_round(self, *, starting: bool) -> None:
        """Prolong the leases held, take up what nobody attends to, and at the start settle what was in doubt.

        A task that is too old to be followed may have ended since: each process asks for it once.
        """
        now, account = self._now(), (self._runapi.origin, self._runapi.key_id)
        if self._following:
            await self._ledger.renew(now + LEASE_SECONDS)
        for key in await self._ledger.unconfirmed(*account, now) if starting else ():
            await self._ledger.resubmit(key, now)
        recent = await self._ledger.unattended(*account, now, FOLLOW_SECONDS)
        older = set(await self._ledger.unattended(*account, now, OUTPUT_LIFETIME_SECONDS)).difference(recent)
        free = [*recent, *(older - self._asked_once)]
        self._asked_once |= older
        for key in [key for key in free if key not in self._foreign][:TAKEN_UP_AT_ONCE]:
            self.follow(key)

    async def _tidy(self) -> None:
        if self._keep_days is not None:
            await self._ledger.forget(self._now(), self._keep_days)

    async def _hold(self, key: str) -> bool:
        return await self._ledger.claim(key, self._now(), self._now() + LEASE_SECONDS)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # -- one task -----------------------------------------------------------------------------------------------------

    async def _guard(self, key: str) -> None:
        """Follow one task if nobody else does; what goes wrong with it goes wrong for it alone."""
        kept_for = 0.0
        try:
            if await self._hold(key):
                kept_for = await self._follow(await self._ledger.get(key))
        except LeaseLost:
            logger.info("Task %s is followed by another process now", key)
        except LumaError as error:
            kept_for = LEASE_SECONDS
            logger.warning("Task %s is put aside for %.0f s: %s", key, kept_for, error.message)
        except Exception:
            # The one boundary: a bug in following one task must not end the others.
            kept_for = CRASHED_SECONDS
            logger.exception("Task %s is put aside for %.0f s after an unexpected error", key, kept_for)
        finally:
            with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                await self._let_go(key, kept_for)
            self._following.discard(key)
            self._tell()

    async def _let_go(self, key: str, kept_for: float) -> None:
        doubted = Status.UNCONFIRMED if kept_for == DOUBTED_SECONDS else ""
        until = self._now() + kept_for if kept_for else 0.0
        try:
            await self._ledger.release(key, until, while_status=doubted)
        except LumaError as error:
            logger.debug("The lease on task %s runs out by itself: %s", key, error.message)

    async def _follow(self, task: Task) -> float:
        """Bring a task as far as it comes, and tell for how many seconds nothing more can be done."""
        crash_points.reach("lease.taken")
        pause = 0.0
        if not task.task_id:
            task = await self._submission.submit(task)
            self._tell()
            pause = poll_after(0.0, await self._usual(task))
        if task.task_id and not task.status.done:
            task = await self._poll_until_done(task, pause)
        if task.awaits_file:
            await self._save(task)
        return DOUBTED_SECONDS if task.status is Status.UNCONFIRMED else 0.0

    async def _poll_until_done(self, task: Task, pause: float) -> Task:
        failures = 0
        while not task.status.done:
            await anyio.sleep(pause)
            if not await self._hold(task.key):
                break
            try:
                crash_points.reach("poll.asking")
                reading = await self._runapi.read(task.task_id)
                crash_points.reach("poll.answered")
            except LumaError as error:
                if not error.transient and task.key_id != self._runapi.key_id:
                    self._foreign.add(task.key)
                    break
                failures += 1
                task = await self._record(task, task.troubled(trouble(error), self._now()))
                pause = backoff_for(error, failures)
                continue
            failures = 0
            task = await self._record(task, task.read(reading, self._now()))
            if await self._overdue(task):
                break
            pause = poll_after(task.elapsed(self._now()), await self._usual(task), retry_after=reading.retry_after)
        return task

    async def _usual(self, task: Task) -> Usual:
        return usual(await self._ledger.durations(task.request.model))

    async def _overdue(self, task: Task) -> bool:
        """Tell, and tell the caller, that a task has run too long to be followed further."""
        if task.status.done or task.elapsed(self._now()) < FOLLOW_SECONDS:
            return False
        endless = ServiceUnavailable(
            "RunAPI has not finished this task in 24 hours; it is asked again only by get_task."
        )
        await self._record(task, task.troubled(trouble(endless), self._now()))
        return True

    async def _save(self, task: Task) -> None:
        failures = 0
        while (task.expires_at or 0) > self._now() and await self._hold(task.key):
            try:
                path = await self._downloads.save(task)
                crash_points.reach("download.saved")
            except LumaError as error:
                failures += 1
                if failures > QUIET_SAVE_FAILURES or not error.transient:
                    task = await self._record(task, task.troubled(error.failure(), self._now()))
                await anyio.sleep(backoff(failures, jitter=jitter(), longest=SAVING_LONGEST_SECONDS))
            else:
                await self._record(task, task.saved(str(path), self._now()))
                return
        if (task.expires_at or 0) <= self._now():
            gone = DownloadFailed("The finished video was not saved in the seven days that RunAPI keeps it.", hint=GONE)
            await self._record(task, task.troubled(gone.failure(), self._now()))

    async def _record(self, before: Task, after: Task) -> Task:
        if after == before:
            return before
        written = await self._ledger.record(after)
        self._tell()
        return written


def trouble(error: LumaError) -> Failure:
    """Describe what keeps a running task from being followed; the task itself goes on at RunAPI."""
    return replace(error.failure(), charged="unknown", retry_safe=True)


def backoff_for(error: LumaError, failures: int) -> float:
    """Give the seconds until the next question: a refusal slows down further than trouble that passes."""
    longest = {} if error.transient else {"longest": REFUSED_LONGEST_SECONDS}
    return backoff(failures, jitter=jitter(), retry_after=error.retry_after, **longest)


def jitter() -> float:
    """Give a number in 0..1 that spreads the load of many clients."""
    return random.random()  # noqa: S311 - guards nothing
