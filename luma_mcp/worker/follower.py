"""Bringing one task to its end: submitted, polled until RunAPI has finished it, its video saved."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio

from luma_mcp.core import failpoints
from luma_mcp.core.backoff import backoff
from luma_mcp.core.concurrency import Pause
from luma_mcp.core.errors import (
    KEEPS_ASKING,
    Failure,
    InvalidApiKey,
    LumaError,
    MissingApiKey,
    NeverKnown,
    NoVideoNamed,
    ProxyUnusable,
    TaskNotFound,
    Unfinished,
    WrongAddress,
)
from luma_mcp.core.models import FOLLOW_SECONDS, Clock, Reading, Status, Task
from luma_mcp.core.storage_errors import LinkRefused, VideoGone, VideoTooLarge
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import Downloads
from luma_mcp.media.files import Published
from luma_mcp.media.links import renewed
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.callbacks import Awaited, Callbacks
from luma_mcp.worker.leases import ForeignTask
from luma_mcp.worker.polling import REFUSED_LONGEST_SECONDS, SAVING_LONGEST_SECONDS, Usual, poll_after, usual
from luma_mcp.worker.submission import Submission

DOUBTED_SECONDS = 60.0
QUIET_SAVE_FAILURES = 2
UNKNOWN_SECONDS = 3600.0  # of answers that RunAPI does not know a task, after which it will not any more
MOST_UNNAMED = 10  # answers in a row, over about five minutes, that call a task completed without naming its video
MENDED_HERE = (MissingApiKey, InvalidApiKey, ProxyUnusable, WrongAddress)


@dataclass(frozen=True, slots=True)
class Follower:
    """Knows the way from intent to saved file.

    `hold` prolongs the lease on a task and tells whether it is still held; `tell` wakes those who wait.
    """

    ledger: Ledger
    runapi: RunAPI
    submission: Submission
    downloads: Downloads
    callbacks: Callbacks
    now: Clock
    hold: Callable[[str], Awaitable[bool]]
    tell: Callable[[], None]

    async def follow(self, task: Task, before_saving_again: Pause) -> float:
        """Bring a task as far as it comes, and tell for how many seconds nothing more can be done.

        Raises `LeaseLost` when another process has taken it over, and `ForeignTask` when it takes another RunAPI key to
        ask for it.
        """
        failpoints.reach("lease.taken")
        pause = 0.0
        if not (task.task_id or task.status.done):
            task = await self.submission.submit(task)
            self.tell()
            pause = poll_after(0.0, await self._usual(task))
        if task.task_id and not task.status.done:
            with self.callbacks.awaiting(task.callback) as call:
                task = await self._poll_until_done(task, pause, call)
        if task.status is Status.FAILED:
            await self.submission.distrust_source(task)
        if task.awaits_file:
            await self._save(task, before_saving_again)
        return DOUBTED_SECONDS if task.status is Status.UNCONFIRMED else 0.0

    async def _poll_until_done(self, task: Task, pause: float, call: Awaited) -> Task:
        unnamed, known_at = 0, anyio.current_time()
        while not task.status.done:
            await call.pause(pause)
            if not await self.hold(task.key):
                break
            try:
                failpoints.reach("poll.asking")
                reading = await self.runapi.read(task.task_id)
                failpoints.reach("poll.answered")
            except LumaError as error:
                unnamed = unnamed + 1 if isinstance(error, NoVideoNamed) else 0
                known_at = known_at if isinstance(error, TaskNotFound) else anyio.current_time()
                unknown = anyio.current_time() - known_at >= UNKNOWN_SECONDS
                task = await self._note_trouble(task, error, unnamed=unnamed > MOST_UNNAMED, unknown=unknown)
                pause = backoff_for(error, task.failures)
            else:
                unnamed, known_at = 0, anyio.current_time()
                task = await self._note_reading(task, reading)
                pause = await self._until_next(task, reading)
            if task.generating(self.now()) >= FOLLOW_SECONDS:
                break
        if task.status.done:
            self.callbacks.ended(task.callback, call)
        return task

    async def _note_reading(self, task: Task, reading: Reading) -> Task:
        """Take what RunAPI says; a task that it does not finish in a day is given up on."""
        read = task.read(reading, self.now())
        if not read.status.done and read.generating(self.now()) >= FOLLOW_SECONDS:
            read = read.left(Unfinished().failure(), self.now())
        return await self._record(task, read)

    async def _note_trouble(self, task: Task, error: LumaError, *, unnamed: bool, unknown: bool) -> Task:
        """Let callers know what keeps a task from being followed, or that its video or itself was never known."""
        if not error.transient and task.key_id != self.runapi.key_id:
            raise ForeignTask(task.key) from error
        if unnamed:
            return await self._record(task, task.without_video(error.failure(), self.now()))
        counted = replace(task, failures=task.failures + 1)
        if unknown:
            return await self._record(task, counted.left(NeverKnown().failure(), self.now()))
        return await self._record(task, counted.troubled(trouble(error), self.now()))

    async def _until_next(self, task: Task, reading: Reading) -> float:
        """Give the seconds to wait before RunAPI is asked again."""
        elapsed, called_back = task.generating(self.now()), bool(task.callback) and self.callbacks.reliable
        return poll_after(elapsed, await self._usual(task), retry_after=reading.retry_after, called_back=called_back)

    async def _usual(self, task: Task) -> Usual:
        return usual(await self.ledger.durations(task.request.model))

    async def _save(self, task: Task, before_next: Pause) -> None:
        failures = 0
        while task.awaits_file and (task.expires_at or 0) > self.now() and await self.hold(task.key):
            try:
                task, saved = await self._download(task)
                failpoints.reach("download.saved")
            except LumaError as error:
                failures += 1
                counted = replace(task, failures=task.failures + 1)
                loud = failures > QUIET_SAVE_FAILURES or not error.transient
                await self._record(task, counted.troubled(error.failure(), self.now()) if loud else counted)
                if isinstance(error, VideoTooLarge):
                    await self.ledger.give_up_file(task.key)
                    self.tell()
                    return
                await before_next.wait(backoff(failures, jitter=jitter(), longest=SAVING_LONGEST_SECONDS))
                task = await self.ledger.get(task.key)
            else:
                if saved.is_new:
                    await self.ledger.take_path(str(saved.path), task.key)
                await self._record(task, task.saved(str(saved.path), self.now()))
                return
        if task.awaits_file and (task.expires_at or 0) <= self.now():
            gone = VideoGone("The finished video was not saved in the seven days that RunAPI keeps it.")
            await self._record(task, task.troubled(gone.failure(), self.now()))

    async def _download(self, task: Task) -> tuple[Task, Published]:
        """Save a finished video; if its link is refused, from where RunAPI says that it lies now."""
        try:
            return task, await self.downloads.save(task)
        except LinkRefused:
            task = await self._record(before := task, await renewed(self.runapi, task, self.now()))
            if task.video_urls == before.video_urls:
                raise
            return task, await self.downloads.save(task)

    async def _record(self, before: Task, after: Task) -> Task:
        if after == before:
            return before
        written = await self.ledger.record(after)
        self.tell()
        return written


def trouble(error: LumaError) -> Failure:
    """Describe what keeps a running task from being followed; advice that is for a submission does not count."""
    hint = error.hint if isinstance(error, MENDED_HERE) else KEEPS_ASKING
    return replace(error.failure(), charged="unknown", retry_safe=True, hint=hint)


def backoff_for(error: LumaError, failures: int) -> float:
    """Give the seconds until the next question: a refusal slows down further than trouble that passes."""
    longest = {} if error.transient else {"longest": REFUSED_LONGEST_SECONDS}
    return backoff(failures, jitter=jitter(), retry_after=error.retry_after, **longest)


def jitter() -> float:
    """Give a number in 0..1 that spreads the load of many clients."""
    return random.random()  # noqa: S311 - guards nothing
