"""The application: the one place where the parts meet, are opened and closed; and what it can do, in verbs."""

import math
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import httpx
from anyio.abc import TaskGroup
from pydantic import SecretStr

from luma_mcp.app.account import Account, Accounts
from luma_mcp.app.arguments import check_listing, check_request, checked_id
from luma_mcp.app.changes import Changes
from luma_mcp.app.drain import Answering
from luma_mcp.app.progress import Progress
from luma_mcp.app.save import Saving
from luma_mcp.app.submit import Intents
from luma_mcp.app.wait import Waiting, is_named
from luma_mcp.core import failpoints
from luma_mcp.core.concurrency import background_work
from luma_mcp.core.errors import InvalidRequest, LumaError, TaskNotFound
from luma_mcp.core.filenames import checked_name
from luma_mcp.core.models import SANDBOX_ORIGIN, Clock, Limits, Status, Task, VideoRequest
from luma_mcp.core.settings import LONGEST_WAIT_SECONDS, Settings
from luma_mcp.core.storage_errors import LedgerUnusable
from luma_mcp.core.uris import CALLBACKS_PATH, task_uri
from luma_mcp.ledger import cursors
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.place import LEDGER_NAME
from luma_mcp.media.downloads import Downloads
from luma_mcp.media.kept_files import is_foreign
from luma_mcp.media.sources import TaskOutput, parse_source
from luma_mcp.media.transfers import Transfers
from luma_mcp.media.uploads import Uploads
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.connection import CONNECT_SECONDS, TIMEOUT, Connection, open_connection
from luma_mcp.worker.callbacks import Callbacks
from luma_mcp.worker.submission import Submission
from luma_mcp.worker.tracker import Tracker

SUBMIT_SECONDS = 5.0
ANSWERED_SECONDS = 1.2  # at the end: for requests that cost money, of the 2 s that hosts give


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task as a call leaves it, and what the caller should know beside it.

    `is_new` tells that the call made the task, `joined` that it found it there, perhaps with an `other_callback` than
    its own, and `is_free` that nothing was sent for the call, as RunAPI had taken the task before. `next_take` is
    the lowest take that the request never had, 0 if it had all.
    """

    task: Task
    is_new: bool = False
    joined: bool = False
    is_free: bool = False
    other_callback: bool = False
    next_take: int = 0


@dataclass(frozen=True, slots=True)
class App:
    """What the server can do, whoever asks."""

    settings: Settings
    ledger: Ledger
    tracker: Tracker
    changes: Changes
    callbacks: Callbacks
    answering: Answering
    background: TaskGroup
    runapi: RunAPI
    uploads: Uploads
    intents: Intents
    waiting: Waiting
    saving: Saving
    accounts: Accounts
    now: Clock

    def wake(self) -> None:
        """Go on with unfinished tasks: called at the first real request."""
        self.tracker.wake()

    def end_waits(self) -> None:
        """Answer those who wait for tasks with how these stand now."""
        self.answering.ending.set()
        self.tracker.tell()

    async def modify_video(
        self, request: VideoRequest, caller: str, *, wait_seconds: int, progress: Progress
    ) -> Outcome:
        """Submit a request, or join the task that it has, and wait within the bound.

        Waits at least `SUBMIT_SECONDS` for RunAPI to name the task. Raises a `LumaError` that is charged "no" if
        nothing was submitted, and `LedgerUnusable` charged "unknown" if the ledger fails afterwards.
        """
        bound = self._bound(wait_seconds)
        begun, asked_at = anyio.current_time(), self.now()
        with self.ledger.telling():
            task, joined = await self.intents.join_or_add(request, caller, seconds=max(bound, SUBMIT_SECONDS))
        failpoints.reach("submission.intended")
        try:
            if joined:
                await self._go_on(task)
            await self.follow(task.key)
            self.tracker.hurry(task.key)
            await self.waiting.watch(task.key, begun + max(bound, SUBMIT_SECONDS), progress, until=is_named)
            task = await self.waiting.watch(task.key, begun + bound, progress)
            found = await self.outcome(task)
            other = request.callback_url not in ("", task.request.callback_url)
            free = joined and (task.sent_at or math.inf) < asked_at
            return replace(found, is_new=not joined, joined=joined, is_free=free, other_callback=other)
        except (LedgerUnusable, TaskNotFound) as error:
            error.charged = "unknown"  # the intent is written, and may be on its way
            raise

    async def get_task(self, task_id: str, caller: str, *, wait_seconds: int, progress: Progress) -> Outcome:
        """Give a task of the caller's, after waiting within the bound for its end; raise `TaskNotFound`."""
        bound = self._bound(wait_seconds)
        begun = anyio.current_time()
        with self.ledger.telling():
            task = await self.find(task_id, caller)
        await self.follow(task.key)
        until = begun if is_foreign(task, self.runapi.origin) else begun + bound
        return await self.outcome(await self.waiting.watch(task.key, until, progress))

    async def save_video(self, task_id: str, caller: str, filename: str, *, progress: Progress) -> Outcome:
        """Save a finished task's video, under a name if one is given, and wait for that as long as calls wait.

        Raises `InvalidRequest`, `TaskNotFound`, `DownloadFailed` or `OutputNotWritable`.
        """
        try:
            return await self._save_video(task_id, caller, checked_name(filename), progress)
        except LumaError as error:
            error.retry_safe = True  # whatever went wrong, saving costs nothing
            raise

    async def _save_video(self, task_id: str, caller: str, name: str, progress: Progress) -> Outcome:
        bound, begun = self._bound(-1), anyio.current_time()
        with self.ledger.telling():
            task = await self.find(task_id, caller)
        if task.status is not Status.COMPLETED and task.is_lost(self.now()):
            return await self.outcome(task)
        await self.saving.begin(task, name)
        await self.follow(task.key)
        self.tracker.hurry(task.key)
        outcome = await self.outcome(await self.waiting.watch(task.key, begun + bound, progress))
        left = max(SUBMIT_SECONDS, begun + bound - anyio.current_time())
        return replace(outcome, task=await self.saving.under_name(outcome.task, name, left))

    async def check_account(self, caller: str) -> Account:
        """Tell what a task costs, what is left and what a caller spent; what cannot be known is left out."""
        self.wake()
        with self.ledger.telling():
            return await self.accounts.check(caller)

    async def find(self, task_id: str, caller: str) -> Task:
        """Look a task of the caller's up in the ledger; raise `TaskNotFound`."""
        task = await self.ledger.find(caller, checked_id(task_id))
        if task is None:
            raise TaskNotFound(f"There is no task {task_id[:80]!r} in this server's ledger.")
        return task

    async def wait(self, key: str, seconds: float, progress: Progress) -> Task:
        """Wait for a task's end, at most some seconds."""
        return await self.waiting.watch(key, anyio.current_time() + seconds, progress)

    async def list_tasks(self, caller: str, status: str, limit: int, cursor: str) -> tuple[list[Task], str]:
        """Give a page of the caller's tasks, newest first, and the cursor of the next."""
        check_listing(status, limit)
        with self.ledger.telling():
            tasks, next_cursor = await self.ledger.page(caller, status, limit, cursor)
            return await self.saving.as_they_are(tasks), next_cursor

    async def check_clip(self, source: str, earlier: Task | None, caller: str) -> None:
        """Refuse at once what would be refused only after a person has agreed to the cost: results that cannot be had.

        Raises `InvalidRequest` or a `Source…` error.
        """
        if earlier and earlier.status is Status.COMPLETED:
            await self.uploads.check(task_uri(earlier.task_id), caller)
        if source and isinstance(parse_source(source), TaskOutput):
            await self.uploads.check(source, caller)

    async def follow(self, key: str) -> None:
        """See to it that an unfinished task is followed, here or in another process.

        What may still be submitted is left to servers with its key; whoever finds it too late ends it.
        """
        self.wake()
        task = await self.ledger.get(key)
        running = not task.status.done and task.status is not Status.UNCONFIRMED
        may_follow = task.task_id or task.key_id == self.runapi.key_id or not task.is_young(self.now())
        if ((running and may_follow) or task.awaits_file) and task.origin == self.runapi.origin:
            self.tracker.follow(key)

    async def _go_on(self, task: Task) -> None:
        """See to it that a joined task comes to its end: one in doubt goes out again under its key, at any age.

        Its video is saved where this server saves, also if the one that made it does not.
        """
        if not (task.task_id or task.status.done) and task.key_id == self.runapi.key_id:
            self.tracker.vouch(task.key)
            await self.ledger.want(task.key, self.now())
            await self.ledger.resubmit(task.key, self.now())
        if self.settings.saves and not (task.wants_file or task.video_path):
            await self.ledger.save_too(task.key)
        elif task.awaits_file and task.error and (task.expires_at or 0) > self.now():
            await self.ledger.want_file(task, "", self.now())

    async def outcome(self, task: Task) -> Outcome:
        """Tell how a task stands."""
        return Outcome(await self.saving.as_it_is(task), next_take=await self.ledger.unused_take(task.key))

    def _bound(self, wait_seconds: int) -> float:
        if not -1 <= wait_seconds <= LONGEST_WAIT_SECONDS:
            raise InvalidRequest(
                f"wait_seconds must be from 0 to {LONGEST_WAIT_SECONDS} (-1 means the setting"
                f" {self.settings.wait_seconds}); more than {self.settings.max_wait_seconds} waits that long."
            )
        return self.settings.bound(wait_seconds)


def cursor_after(task: Task) -> str:
    """Give the cursor of the page that begins after a task."""
    return cursors.cursor_after(task)


@asynccontextmanager
async def open_network(
    settings: Settings, now: Clock, transport: httpx.AsyncBaseTransport | None, timeout: httpx.Timeout = TIMEOUT
) -> AsyncGenerator[tuple[Connection, Path, str, SecretStr | None]]:
    """Give the way to RunAPI or to the sandbox: connection, data folder, address, key. Close it when left."""
    async with AsyncExitStack() as stack:
        folder, base_url, key = settings.data_dir, settings.base_url, settings.api_key
        if settings.sandbox:
            from luma_mcp.sandbox.application import embedded  # noqa: PLC0415 - only those who play need it

            folder, base_url, key = folder / "sandbox", SANDBOX_ORIGIN, SecretStr("sandbox")
            transport = transport or await stack.enter_async_context(embedded(folder, now))
        yield await stack.enter_async_context(open_connection(transport, timeout)), folder, base_url, key


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    now: Clock = time.time,
    transport: httpx.AsyncBaseTransport | None = None,
    unreached_seconds: float = math.inf,
) -> AsyncGenerator[App]:
    """Open everything, and close it when left: followers stop, connections and the ledger are closed.

    `transport` takes the place of the network, which is waited for `unreached_seconds` at most before a new task is
    given up. Nothing is read, written or asked before the first request.
    """
    async with AsyncExitStack() as stack:
        timeout = patient(unreached_seconds)
        connection, folder, base_url, key = await stack.enter_async_context(
            open_network(settings, now, transport, timeout)
        )
        ledger = Ledger(folder / LEDGER_NAME, named="data_dir" in settings.model_fields_set)
        stack.callback(ledger.close)
        folders, output, private = settings.readable_folders, settings.output_dir, settings.allow_private
        runapi = RunAPI(connection, base_url, key, allow_private=private)
        transfers, answering = Transfers(), Answering()
        discreet, unnamed, kept_in = settings.serves_http, settings.unnamed_folders, (output, *folders)
        uploads = Uploads(ledger, runapi, transfers, folders, now, unnamed=unnamed, kept_in=kept_in, discreet=discreet)
        downloads = Downloads(connection, output, transfers, trusted=base_url, allow_private=private)
        submission = Submission(
            ledger,
            runapi,
            uploads,
            now,
            limits=Limits(settings.max_active, settings.daily_limit),
            called_below=f"{settings.called_at}{CALLBACKS_PATH}/" if settings.called_at else "",
            check=partial(check_request, callback_hosts=settings.callback_hosts),
            unreached_seconds=unreached_seconds,
        )
        background = await stack.enter_async_context(background_work())
        callbacks, keep_days = Callbacks(), settings.keep_days
        tracker = Tracker(ledger, runapi, submission, downloads, callbacks, background, now, keep_days=keep_days)
        changes = Changes(ledger)
        background.start_soon(tracker.attend, name="tracker")
        background.start_soon(changes.attend, name="changes")
        stack.push_async_callback(last_answers, submission)
        yield App(
            settings=settings,
            ledger=ledger,
            tracker=tracker,
            changes=changes,
            callbacks=callbacks,
            answering=answering,
            background=background,
            runapi=runapi,
            uploads=uploads,
            intents=Intents(settings, ledger, runapi, uploads, now),
            waiting=Waiting(ledger, tracker, transfers, answering, now),
            saving=Saving(settings, ledger, downloads, runapi, now, kept_in),
            accounts=Accounts(settings, ledger, runapi, now),
            now=now,
        )


def patient(unreached_seconds: float) -> httpx.Timeout:
    """Give the bounds of waits on the network, of which to connect must fit into the time that it is waited for."""
    bounds = TIMEOUT.as_dict() | {"connect": min(CONNECT_SECONDS, unreached_seconds - 1.0)}
    return httpx.Timeout(**bounds)


async def last_answers(submission: Submission) -> None:
    """Give requests that cost money a moment to be answered, and their answers to be written down."""
    with anyio.move_on_after(ANSWERED_SECONDS, shield=True):
        await submission.answered()
