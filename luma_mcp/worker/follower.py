"""Following one task to its end: submitted, polled until RunAPI has finished it, its video saved."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import anyio

from luma_mcp.core import failpoints
from luma_mcp.core.backoff import Backoff
from luma_mcp.core.errors import (
    ASKS_ON,
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
from luma_mcp.core.models import FOLLOW_SECONDS, OUTPUT_LIFETIME_SECONDS, Clock, Status, Task, TaskSnapshot
from luma_mcp.core.observer import Observer
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import Downloads
from luma_mcp.media.files import PublishedFile
from luma_mcp.media.links import refresh_links
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.callbacks import Callbacks
from luma_mcp.worker.polling import MAX_REFUSED_SECONDS, MAX_SAVE_RETRY_SECONDS, next_poll
from luma_mcp.worker.submission import Submission
from luma_mcp.worker.usual_times import UsualTimes

POLL_BACKOFF = Backoff()
REFUSED_BACKOFF = Backoff(MAX_REFUSED_SECONDS)  # a refusal slows down further than trouble that passes
SAVE_BACKOFF = Backoff(MAX_SAVE_RETRY_SECONDS)
MAX_POLLS_AT_ONCE = 16  # fewer than connections, so that callers find one
QUIET_SAVE_FAILURES = 2
NOT_FOUND_SECONDS = 3600.0  # if RunAPI has not known a task for so long, it never will
SILENT_SECONDS = 3600.0  # if RunAPI has told nothing of an old task for so long, its end is not known here
MAX_UNNAMED_ANSWERS = 10  # in a row (about five minutes), calling a task completed without naming its video
CONFIGURATION_ERRORS = (MissingApiKey, InvalidApiKey, ProxyUnusable, WrongAddress)


@dataclass(frozen=True, slots=True)
class LookAgain:
    """In how many seconds a task is to be looked at again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cooldown:
    """For how many seconds nobody follows a task any further; if `while_status` is set, only while it has that."""

    seconds: float
    while_status: Status | None = None


UNCONFIRMED_COOLDOWN = Cooldown(60.0, Status.UNCONFIRMED)


class TaskOfOtherKey(Exception):
    """RunAPI does not know a task that was submitted with another key."""


@dataclass(slots=True)
class Followed:
    """What is remembered of a followed task between two looks at it, besides what the ledger has."""

    key: str
    is_held: bool = False  # its lease was taken
    task: Task | None = None  # as it is in the ledger; None if that has to be looked up
    is_called: bool = False  # RunAPI called, and the task was not looked at since
    saves_again_now: bool = False  # a caller asked for the video during it
    callback: str = ""
    earliest_after_call: float = -math.inf  # when a call may cause another poll, by the event loop's clock
    known_at: float = math.inf  # when RunAPI last knew the task, or was first asked, by the same
    told_at: float = math.inf  # when RunAPI last told of the task, or was first asked, by the same
    ran_at: float | None = None  # when RunAPI last said that the task runs, by the same
    trace: object = None  # of the operation in which it began to be followed
    unnamed: int = 0  # answers in a row that call it completed without naming its video
    save_failures: int = 0


@dataclass(frozen=True, slots=True)
class Follower:
    """Brings a task from its intent to its saved file, one look after the other."""

    ledger: Ledger
    runapi: RunAPI
    submission: Submission
    downloads: Downloads
    callbacks: Callbacks
    usual_times: UsualTimes
    now: Clock
    notify_changed: Callable[[str], None]  # called with the key of a task that changed
    notify_called: Callable[[str], None]  # called with the key of a task about which RunAPI called
    observer: Observer
    polls: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, MAX_POLLS_AT_ONCE))

    async def look(self, followed: Followed) -> LookAgain | Cooldown | None:
        """Do what is to be done for a task now; None if there is nothing more to be done.

        Raises `LeaseLost` if another process has taken the task over, and `TaskOfOtherKey`.
        """
        task, followed.task = followed.task or await self.ledger.get_held(followed.key), None
        if not (task.task_id or task.status.done):
            task = await self.submission.submit(task)
            self.notify_changed(task.key)
            if task.task_id and not task.status.done:
                self._expect_call(task, followed)
                followed.task, followed.ran_at = task, anyio.current_time()
                return LookAgain(next_poll(0.0, await self.usual_times.profile()))
        elif not task.status.done:
            task, wait = await self._poll(task, followed)
            if not task.status.done:
                followed.task = task
                return None if wait is None else LookAgain(wait)
            task = await self.ledger.get_held(task.key)  # somebody may have asked for its file meanwhile
        if task.status is Status.FAILED:
            await self.submission.forget_upload(task)
        if task.needs_saving:
            return await self._save(task, followed)
        return UNCONFIRMED_COOLDOWN if task.status is Status.UNCONFIRMED else None

    async def _poll(self, task: Task, followed: Followed) -> tuple[Task, float | None]:
        """Ask RunAPI once; give the task as it is recorded then, and the seconds until it is to be asked again.

        A task of more than a day is asked for until there is an answer, for as long as RunAPI keeps results: the
        machine may have slept, or be without a network when it starts.
        """
        self._expect_call(task, followed)
        begun = anyio.current_time()
        followed.known_at, followed.told_at = min(begun, followed.known_at), min(begun, followed.told_at)
        try:
            failpoints.reach("poll.asking")
            async with self.polls:
                with self.observer.operation("poll", task.caller, task.key):
                    reading = await self.runapi.read_task(task.task_id)
            failpoints.reach("poll.answered")
        except LumaError as error:
            task = await self._note_error(task, error, followed)
            backoff = POLL_BACKOFF if error.transient else REFUSED_BACKOFF
            wait, patience = backoff.after(task.failures, error.retry_after), OUTPUT_LIFETIME_SECONDS
        else:
            followed.unnamed = 0
            followed.known_at = followed.told_at = anyio.current_time()
            self._note_running(task, reading, followed)
            task = await self._note_reading(task, reading)
            wait = 0.0 if task.status.done else await self._until_next(task, reading)
            patience = FOLLOW_SECONDS
        if task.status.done:
            self.callbacks.note_task_end(task.callback)
        return task, None if self._is_older(task, patience) else wait

    def _expect_call(self, task: Task, followed: Followed) -> None:
        followed.callback = task.callback
        self.callbacks.expect(task.callback, partial(self.notify_called, task.key))

    def _note_running(self, task: Task, reading: TaskSnapshot, followed: Followed) -> None:
        """Note that a task runs, or tell how late its end is seen at most: RunAPI does not say when that was."""
        now = anyio.current_time()
        if not reading.status.done:
            followed.ran_at = now
        elif followed.ran_at is None:
            self.observer.end_seen(task.generating_seconds(self.now()))
        else:
            self.observer.end_seen(now - followed.ran_at)

    async def _note_error(self, task: Task, error: LumaError, followed: Followed) -> Task:
        """Record why a task cannot be polled now, or that no more is to be expected of RunAPI."""
        if not error.transient and task.key_id != self.runapi.key_id:
            raise TaskOfOtherKey(task.key) from error
        now = anyio.current_time()
        followed.unnamed = followed.unnamed + 1 if isinstance(error, VideoUrlMissing) else 0
        if followed.unnamed > MAX_UNNAMED_ANSWERS:
            return await self._record(task, task.without_video(error.failure(), self.now()))
        if not isinstance(error, TaskNotFound):
            followed.known_at = now
        counted = replace(task, failures=task.failures + 1)
        is_silent = self._is_older(task, FOLLOW_SECONDS) and now - followed.told_at >= SILENT_SECONDS
        if now - followed.known_at >= NOT_FOUND_SECONDS:
            noted = counted.left(TaskNeverKnown().failure(), self.now())
        elif is_silent or task.given_up:
            noted = counted.left(following_failure(error, keeps_asking=ASKS_ON), self.now())
        else:
            noted = counted.troubled(following_failure(error), self.now())
        return await self._record(task, noted)

    async def _note_reading(self, task: Task, reading: TaskSnapshot) -> Task:
        read = task.read(reading, self.now())
        if not read.status.done and self._is_older(read, FOLLOW_SECONDS):
            read = read.left(TaskUnfinished().failure(), self.now())
        return await self._record(task, read)

    def _is_older(self, task: Task, seconds: float) -> bool:
        return task.generating_seconds(self.now()) >= seconds

    async def _until_next(self, task: Task, reading: TaskSnapshot) -> float:
        elapsed, called_back = task.generating_seconds(self.now()), bool(task.callback) and self.callbacks.is_reliable
        usual = await self.usual_times.profile()
        return next_poll(elapsed, usual, retry_after=reading.retry_after, called_back=called_back)

    async def _save(self, task: Task, followed: Followed) -> LookAgain | None:
        if not task.is_available(self.now()):
            gone = VideoGone("The finished video was not saved in the seven days that RunAPI keeps it.")
            await self._record(task, task.troubled(gone.failure(), self.now()))
            return None
        try:
            task, saved = await self._download(task)
            failpoints.reach("download.saved")
        except LumaError as error:
            return await self._note_save_error(task, error, followed)
        kept = task.saved(str(saved.path), self.now())
        await (self.ledger.record_saved(kept) if saved.is_new else self.ledger.record(kept))
        self.notify_changed(task.key)
        return None

    async def _note_save_error(self, task: Task, error: LumaError, followed: Followed) -> LookAgain | None:
        followed.save_failures += 1
        counted = replace(task, failures=task.failures + 1)
        loud = followed.save_failures > QUIET_SAVE_FAILURES or not error.transient
        await self._record(task, counted.troubled(error.failure(), self.now()) if loud else counted)
        if isinstance(error, VideoTooLarge):
            await self.ledger.clear_wants_file(task.key)
            self.notify_changed(task.key)
            return None
        return LookAgain(SAVE_BACKOFF.after(followed.save_failures))

    async def _download(self, task: Task) -> tuple[Task, PublishedFile]:
        """Save a finished video; if its link is refused, once more from a fresh link."""
        try:
            return task, await self._download_once(task)
        except LinkRefused:
            task = await self._record(before := task, await refresh_links(self.runapi, task, self.now()))
            if task.video_urls == before.video_urls:
                raise
            return task, await self._download_once(task)

    async def _download_once(self, task: Task) -> PublishedFile:
        with self.observer.operation("download", task.caller, task.key):
            return await self.downloads.save(task)

    async def _record(self, before: Task, after: Task) -> Task:
        if after == before:
            return before
        written = await self.ledger.record(after)
        self.notify_changed(after.key)
        return written


def following_failure(error: LumaError, keeps_asking: str = KEEPS_ASKING) -> Failure:
    """Describe what keeps a running task from being polled; hints that are about submitting are replaced."""
    hint = error.hint if isinstance(error, CONFIGURATION_ERRORS) else keeps_asking
    return replace(error.failure(), charged="unknown", retry_safe=True, hint=hint)
