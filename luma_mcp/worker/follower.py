"""Following one task to its end: submitted, polled until RunAPI has finished it, its video saved."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio

from luma_mcp.core import failpoints
from luma_mcp.core.backoff import Backoff
from luma_mcp.core.concurrency import Pause
from luma_mcp.core.errors import (
    KEEPS_ASKING,
    Failure,
    InvalidApiKey,
    LinkRefused,
    LumaError,
    MissingApiKey,
    ProxyUnusable,
    TaskNeverKnown,
    TaskNotFound,
    TaskUnfinished,
    VideoGone,
    VideoTooLarge,
    VideoUrlMissing,
    WrongAddress,
)
from luma_mcp.core.models import FOLLOW_SECONDS, Clock, Status, Task, TaskSnapshot
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import Downloads
from luma_mcp.media.files import PublishedFile
from luma_mcp.media.links import refresh_links
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.callbacks import Callbacks, CallbackWaiter
from luma_mcp.worker.polling import (
    MAX_REFUSED_SECONDS,
    MAX_SAVE_RETRY_SECONDS,
    DurationProfile,
    duration_profile,
    next_poll,
)
from luma_mcp.worker.submission import Submission

POLL_BACKOFF = Backoff()
REFUSED_BACKOFF = Backoff(MAX_REFUSED_SECONDS)  # a refusal slows down further than trouble that passes
SAVE_BACKOFF = Backoff(MAX_SAVE_RETRY_SECONDS)
QUIET_SAVE_FAILURES = 2
NOT_FOUND_SECONDS = 3600.0  # if RunAPI has not known a task for so long, it never will
MAX_UNNAMED_ANSWERS = 10  # in a row (about five minutes), calling a task completed without naming its video
CONFIGURATION_ERRORS = (MissingApiKey, InvalidApiKey, ProxyUnusable, WrongAddress)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """For how many seconds nobody follows a task any further; if `while_status` is set, only while it has that."""

    seconds: float
    while_status: Status | None = None


UNCONFIRMED_COOLDOWN = Cooldown(60.0, Status.UNCONFIRMED)


class TaskOfOtherKey(Exception):
    """RunAPI does not know a task that was submitted with another key."""


@dataclass(frozen=True, slots=True)
class Follower:
    """Brings one task from its intent to its saved file."""

    ledger: Ledger
    runapi: RunAPI
    submission: Submission
    downloads: Downloads
    callbacks: Callbacks
    now: Clock
    renew_lease: Callable[[str], Awaitable[bool]]  # of a task's key; False if the lease is no longer held
    notify_waiters: Callable[[], None]

    async def follow(self, task: Task, before_saving_again: Pause) -> Cooldown | None:
        """Bring a task as far as it comes; give a cooldown if nothing more can be done for a while.

        Raises `LeaseLost` if another process has taken the task over, and `TaskOfOtherKey`.
        """
        failpoints.reach("lease.taken")
        pause = 0.0
        if not (task.task_id or task.status.done):
            task = await self.submission.submit(task)
            self.notify_waiters()
            pause = next_poll(0.0, await self._duration_profile(task))
        if task.task_id and not task.status.done:
            with self.callbacks.register(task.callback) as call:
                task = await self._poll_until_done(task, pause, call)
        if task.status is Status.FAILED:
            await self.submission.forget_upload(task)
        if task.needs_saving:
            await self._save(task, before_saving_again)
        return UNCONFIRMED_COOLDOWN if task.status is Status.UNCONFIRMED else None

    async def _poll_until_done(self, task: Task, pause: float, call: CallbackWaiter) -> Task:
        unnamed, known_at = 0, anyio.current_time()
        while not task.status.done:
            await call.pause(pause)
            if not await self.renew_lease(task.key):
                break
            try:
                failpoints.reach("poll.asking")
                reading = await self.runapi.read_task(task.task_id)
                failpoints.reach("poll.answered")
            except LumaError as error:
                unnamed = unnamed + 1 if isinstance(error, VideoUrlMissing) else 0
                known_at = known_at if isinstance(error, TaskNotFound) else anyio.current_time()
                unknown = anyio.current_time() - known_at >= NOT_FOUND_SECONDS
                task = await self._record_error(task, error, unnamed=unnamed > MAX_UNNAMED_ANSWERS, unknown=unknown)
                backoff = POLL_BACKOFF if error.transient else REFUSED_BACKOFF
                pause = backoff.after(task.failures, error.retry_after)
            else:
                unnamed, known_at = 0, anyio.current_time()
                task = await self._note_reading(task, reading)
                pause = await self._until_next(task, reading)
            if task.generating_seconds(self.now()) >= FOLLOW_SECONDS:
                break
        if task.status.done:
            self.callbacks.note_task_end(task.callback, call)
        return task

    async def _note_reading(self, task: Task, reading: TaskSnapshot) -> Task:
        read = task.read(reading, self.now())
        if not read.status.done and read.generating_seconds(self.now()) >= FOLLOW_SECONDS:
            read = read.left(TaskUnfinished().failure(), self.now())
        return await self._record(task, read)

    async def _record_error(self, task: Task, error: LumaError, *, unnamed: bool, unknown: bool) -> Task:
        """Record why a task cannot be polled now, or that RunAPI never named its video or does not know it."""
        if not error.transient and task.key_id != self.runapi.key_id:
            raise TaskOfOtherKey(task.key) from error
        if unnamed:
            return await self._record(task, task.without_video(error.failure(), self.now()))
        counted = replace(task, failures=task.failures + 1)
        if unknown:
            return await self._record(task, counted.left(TaskNeverKnown().failure(), self.now()))
        return await self._record(task, counted.troubled(following_failure(error), self.now()))

    async def _until_next(self, task: Task, reading: TaskSnapshot) -> float:
        elapsed, called_back = task.generating_seconds(self.now()), bool(task.callback) and self.callbacks.is_reliable
        return next_poll(
            elapsed, await self._duration_profile(task), retry_after=reading.retry_after, called_back=called_back
        )

    async def _duration_profile(self, task: Task) -> DurationProfile:
        return duration_profile(await self.ledger.durations(task.request.model), self.runapi.told_seconds)

    async def _save(self, task: Task, before_next: Pause) -> None:
        failures = 0
        while task.needs_saving and task.is_available(self.now()) and await self.renew_lease(task.key):
            try:
                task, saved = await self._download(task)
                failpoints.reach("download.saved")
            except LumaError as error:
                failures += 1
                counted = replace(task, failures=task.failures + 1)
                loud = failures > QUIET_SAVE_FAILURES or not error.transient
                await self._record(task, counted.troubled(error.failure(), self.now()) if loud else counted)
                if isinstance(error, VideoTooLarge):
                    await self.ledger.clear_wants_file(task.key)
                    self.notify_waiters()
                    return
                await before_next.wait(SAVE_BACKOFF.after(failures))
                task = await self.ledger.get(task.key)
            else:
                if saved.is_new:
                    await self.ledger.clear_path_elsewhere(str(saved.path), task.key)
                await self._record(task, task.saved(str(saved.path), self.now()))
                return
        if task.needs_saving and not task.is_available(self.now()):
            gone = VideoGone("The finished video was not saved in the seven days that RunAPI keeps it.")
            await self._record(task, task.troubled(gone.failure(), self.now()))

    async def _download(self, task: Task) -> tuple[Task, PublishedFile]:
        """Save a finished video; if its link is refused, once more from a fresh link."""
        try:
            return task, await self.downloads.save(task)
        except LinkRefused:
            task = await self._record(before := task, await refresh_links(self.runapi, task, self.now()))
            if task.video_urls == before.video_urls:
                raise
            return task, await self.downloads.save(task)

    async def _record(self, before: Task, after: Task) -> Task:
        if after == before:
            return before
        written = await self.ledger.record(after)
        self.notify_waiters()
        return written


def following_failure(error: LumaError) -> Failure:
    """Describe what keeps a running task from being polled; hints that are about submitting are replaced."""
    hint = error.hint if isinstance(error, CONFIGURATION_ERRORS) else KEEPS_ASKING
    return replace(error.failure(), charged="unknown", retry_safe=True, hint=hint)
