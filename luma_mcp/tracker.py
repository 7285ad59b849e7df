"""Follows every unfinished task to its end in the background, and wakes those who wait (design 3.2)."""

import logging
import random
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from luma_mcp.downloads import Downloads
from luma_mcp.errors import DownloadFailed, Failure, LumaError, ServiceUnavailable
from luma_mcp.ledger import Ledger
from luma_mcp.models import OUTPUT_LIFETIME_SECONDS, Clock, Task
from luma_mcp.pace import REFUSED_LONGEST_SECONDS, SAVING_LONGEST_SECONDS, backoff, poll_after, usual
from luma_mcp.runapi import RunAPI
from luma_mcp.submission import Submission

ROUND_SECONDS = 5.0
LEASE_SECONDS = 15.0
CRASHED_SECONDS = 600.0
LOOK_SECONDS = 1.0
DELIVERY_SECONDS = 1.0
FOLLOW_SECONDS = 24 * 3600.0
QUIET_SAVE_FAILURES = 2
GONE = "It can no longer be downloaded. modify_video with new_take=true makes, and charges, another one."

logger = logging.getLogger(__name__)


class Tracker:
    """One follower a task, under a lease that keeps other processes on the same ledger away."""

    def __init__(
        self, ledger: Ledger, runapi: RunAPI, submission: Submission, downloads: Downloads, now: Clock
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._submission = submission
        self._downloads = downloads
        self._now = now
        self._owner = uuid.uuid4().hex
        self._awake = anyio.Event()
        self._changed = anyio.Event()
        self._following: set[str] = set()
        self._followers: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Own the followers; leaving stops them, and the ledger keeps what they were at."""
        try:
            async with anyio.create_task_group() as self._followers:
                self._followers.start_soon(self._attend, name="attend")
                yield
                self._followers.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # Whoever leaves with an error should see that error, not the group that it passed through.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise

    def wake(self) -> None:
        """Start attending: at the first real request, because a process that is only probed must do nothing."""
        self._awake.set()

    def follow(self, key: str) -> None:
        """Follow a task from now on, unless this or another process does."""
        if key not in self._following and self._hold(key):
            self._following.add(key)
            self._followers.start_soon(self._guard, key, name=f"follow {key}")

    def answered(self, key: str) -> None:
        """Note a finished task as delivered a moment from now: by then its answer has left, or has died with us."""
        self._followers.start_soon(self._note_delivery, key, name=f"answered {key}")

    async def changed(self) -> None:
        """Wait until something changed here, or long enough that another process may have changed something."""
        with anyio.move_on_after(LOOK_SECONDS):
            await self._changed.wait()

    # -- all tasks ----------------------------------------------------------------------------------------------------

    async def _attend(self) -> None:
        await self._awake.wait()
        starting, said = True, ""
        while True:
            try:
                self._go_round(starting=starting)
                starting = False
            except LumaError as error:
                if error.message != said:
                    logger.warning("Unfinished tasks cannot be followed now: %s", error.message)
                said = error.message
            await anyio.sleep(ROUND_SECONDS)

    def _go_round(self, *, starting: bool) -> None:
        """Prolong the leases held, take up what nobody attends to, and at the start settle what was in doubt."""
        now, origin = self._now(), self._runapi.origin
        self._ledger.renew(self._owner, now + LEASE_SECONDS)
        for key in self._ledger.unconfirmed(origin, now) if starting else ():
            self._ledger.resubmit(key, now)
        age = OUTPUT_LIFETIME_SECONDS if starting else FOLLOW_SECONDS
        for key in self._ledger.unattended(origin, now, age):
            self.follow(key)

    async def _note_delivery(self, key: str) -> None:
        await anyio.sleep(DELIVERY_SECONDS)
        try:
            self._ledger.deliver([key])
        except LumaError as error:
            logger.warning("The delivery of task %s was not noted: %s", key, error.message)

    def _hold(self, key: str) -> bool:
        return self._ledger.claim(key, self._owner, self._now(), self._now() + LEASE_SECONDS)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # -- one task -----------------------------------------------------------------------------------------------------

    async def _guard(self, key: str) -> None:
        """Follow one task; what goes wrong with it goes wrong for it alone."""
        kept_for = 0.0
        try:
            await self._follow(self._ledger.get(key))
        except LumaError as error:
            kept_for = LEASE_SECONDS
            logger.warning("Task %s is put aside for %.0f s: %s", key, kept_for, error.message)
        except Exception:
            # The one boundary: a bug in following one task must not end the others.
            kept_for = CRASHED_SECONDS
            logger.exception("Task %s is put aside for %.0f s after an unexpected error", key, kept_for)
        finally:
            self._following.discard(key)
            self._let_go(key, kept_for)
            self._tell()

    def _let_go(self, key: str, kept_for: float) -> None:
        try:
            self._ledger.release(self._owner, key, until=self._now() + kept_for if kept_for else 0.0)
        except LumaError as error:
            logger.debug("The lease on task %s runs out by itself: %s", key, error.message)

    async def _follow(self, task: Task) -> None:
        if not task.task_id:
            task = await self._submission.submit(task)
            self._tell()
            pause = poll_after(0.0, usual(self._ledger.durations(task.request.model)))
        else:
            pause = 0.0
        if task.task_id and not task.status.done:
            task = await self._poll_until_done(task, pause)
        if task.awaits_file:
            await self._save(task)

    async def _poll_until_done(self, task: Task, pause: float) -> Task:
        failures = 0
        while not task.status.done:
            await anyio.sleep(pause)
            if not self._hold(task.key):
                break
            try:
                reading = await self._runapi.read(task.task_id)
            except LumaError as error:
                failures += 1
                task = self._record(task, task.troubled(trouble(error), self._now()))
                pause = backoff_for(error, failures)
                continue
            failures = 0
            task = self._record(task, task.read(reading, self._now()))
            if self._overdue(task):
                break
            known = usual(self._ledger.durations(task.request.model))
            pause = poll_after(task.elapsed(self._now()), known, retry_after=reading.retry_after)
        return task

    def _overdue(self, task: Task) -> bool:
        """Tell, and tell the caller, that a task has run too long to be followed further."""
        if task.status.done or task.elapsed(self._now()) < FOLLOW_SECONDS:
            return False
        endless = ServiceUnavailable(
            "RunAPI has not finished this task in 24 hours; it is asked again only by get_task."
        )
        self._record(task, task.troubled(trouble(endless), self._now()))
        return True

    async def _save(self, task: Task) -> None:
        failures = 0
        while (task.expires_at or 0) > self._now() and self._hold(task.key):
            try:
                path = await self._downloads.save(task)
            except LumaError as error:
                failures += 1
                if failures > QUIET_SAVE_FAILURES or not error.transient:
                    task = self._record(task, task.troubled(error.failure(), self._now()))
                await anyio.sleep(backoff(failures, jitter=jitter(), longest=SAVING_LONGEST_SECONDS))
            else:
                self._record(task, task.saved(str(path), self._now()))
                return
        if (task.expires_at or 0) <= self._now():
            gone = DownloadFailed("The finished video was not saved in the seven days that RunAPI keeps it.", hint=GONE)
            self._record(task, task.troubled(gone.failure(), self._now()))

    def _record(self, before: Task, after: Task) -> Task:
        if after == before:
            return before
        written = self._ledger.record(after)
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
