"""The application: the one place where the parts meet, are opened and closed; and what it can do, in verbs."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import httpx
from anyio.abc import TaskGroup
from pydantic import SecretStr

from luma_mcp import crash_points
from luma_mcp.accounts import Account, Accounts
from luma_mcp.answering import Answering
from luma_mcp.arguments import check_listing, check_request, checked_id
from luma_mcp.background import background_work
from luma_mcp.callbacks import CALLBACKS_PATH, Callbacks
from luma_mcp.changes import Changes
from luma_mcp.connection import Connection, open_connection
from luma_mcp.deliveries import Deliveries, Way
from luma_mcp.downloads import Downloads
from luma_mcp.errors import InvalidRequest, LumaError, SubmissionUnconfirmed, TaskNotFound
from luma_mcp.file_names import checked_name
from luma_mcp.intents import Intents
from luma_mcp.kept_files import is_foreign
from luma_mcp.ledger import Ledger
from luma_mcp.ledger_place import LEDGER_NAME
from luma_mcp.models import SANDBOX_ORIGIN, Clock, Limits, Status, Task, VideoRequest
from luma_mcp.progress import Progress
from luma_mcp.runapi import RunAPI
from luma_mcp.saving import Saving
from luma_mcp.settings import LONGEST_WAIT_SECONDS, Settings
from luma_mcp.storage_errors import LedgerUnusable
from luma_mcp.submission import Submission, too_old
from luma_mcp.tracker import Tracker
from luma_mcp.transfers import Transfers
from luma_mcp.uploads import Uploads
from luma_mcp.waiting import Waiting, is_named

SUBMIT_SECONDS = 5.0
OTHER_KEY = "This request was sent with another RunAPI key, and whether it was accepted is not known."
OTHER_KEY_HINT = "Repeat the call in the host that has that key, or look at the task list of that RunAPI account."


@dataclass(frozen=True, slots=True)
class App:
    """What the server can do, whoever asks."""

    settings: Settings
    ledger: Ledger
    tracker: Tracker
    deliveries: Deliveries
    way: Way
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
        self, request: VideoRequest, caller: str, *, wait_seconds: int, new_take: bool, progress: Progress
    ) -> tuple[Task, bool]:
        """Submit a request, or join the task that it repeats, and wait within the bound; tell whether it joined.

        Waits at least `SUBMIT_SECONDS` for RunAPI to name the task. Raises a `LumaError` that is charged "no" if
        nothing was submitted, and `LedgerUnusable` charged "unknown" if the ledger fails afterwards.
        """
        bound = self._bound(wait_seconds)
        begun = anyio.current_time()
        with self.ledger.telling():
            task, joined = await self.intents.join_or_add(
                request, caller, new_take=new_take, seconds=max(bound, SUBMIT_SECONDS)
            )
        crash_points.reach("submission.intended")
        try:
            with self.deliveries.call(task.key):
                await self._settle(task)
                await self.waiting.watch(task.key, begun + max(bound, SUBMIT_SECONDS), progress, until=is_named)
                task = await self.waiting.watch(task.key, begun + bound, progress)
                return await self.saving.as_it_is(task), joined
        except (LedgerUnusable, TaskNotFound) as error:
            error.charged = "unknown"  # the intent is written, and may be on its way
            raise

    async def get_task(self, task_id: str, caller: str, *, wait_seconds: int, progress: Progress) -> Task:
        """Give a task of the caller's, after waiting within the bound for its end; raise `TaskNotFound`."""
        bound = self._bound(wait_seconds)
        begun = anyio.current_time()
        with self.ledger.telling():
            task = await self.find(task_id, caller)
        await self.follow(task.key)
        with self.deliveries.call(task.key):
            until = begun if is_foreign(task, self.runapi.origin) else begun + bound
            return await self.saving.as_it_is(await self.waiting.watch(task.key, until, progress))

    async def save_video(self, task_id: str, caller: str, filename: str, *, progress: Progress) -> Task:
        """Save a finished task's video, under a name if one is given, and wait for that as long as calls wait.

        Raises `InvalidRequest`, `TaskNotFound`, `DownloadFailed` or `OutputNotWritable`.
        """
        try:
            return await self._save_video(task_id, caller, checked_name(filename), progress)
        except LumaError as error:
            error.retry_safe = True  # whatever went wrong, saving costs nothing
            raise

    async def _save_video(self, task_id: str, caller: str, name: str, progress: Progress) -> Task:
        bound, begun = self._bound(-1), anyio.current_time()
        with self.ledger.telling():
            task = await self.find(task_id, caller)
        await self.saving.begin(task, name)
        await self.follow(task.key)
        self.tracker.hurry(task.key)
        with self.deliveries.call(task.key):
            task = await self.saving.as_it_is(await self.waiting.watch(task.key, begun + bound, progress))
            return await self.saving.under_name(task, name, max(SUBMIT_SECONDS, begun + bound - anyio.current_time()))

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

    async def check_source(self, source: str, caller: str) -> None:
        """Check that a source can be used now; raise `InvalidRequest` or a `Source…` error."""
        await self.uploads.check(source, caller)

    async def follow(self, key: str) -> None:
        """See to it that an unfinished task is followed, here or in another process."""
        self.wake()
        task = await self.ledger.get(key)
        running = not task.status.done and task.status is not Status.UNCONFIRMED
        if (running or task.awaits_file) and task.origin == self.runapi.origin:
            self.tracker.follow(key)

    async def _settle(self, task: Task) -> None:
        """See to it that a submitted or joined task comes to its end: one in doubt goes out again under its key."""
        if task.status is Status.UNCONFIRMED and task.key_id != self.runapi.key_id:
            raise SubmissionUnconfirmed(OTHER_KEY, hint=OTHER_KEY_HINT)
        if task.status is Status.UNCONFIRMED and task.is_young(self.now()):
            await self.ledger.resubmit(task.key, self.now())
        elif task.status is Status.UNCONFIRMED:
            await self.ledger.explain(task.key, too_old())
        elif task.awaits_file and task.error and (task.expires_at or 0) > self.now():
            await self.ledger.want_file(task, "", self.now())
        await self.follow(task.key)
        self.tracker.hurry(task.key)

    def _bound(self, wait_seconds: int) -> float:
        if not -1 <= wait_seconds <= LONGEST_WAIT_SECONDS:
            raise InvalidRequest(
                f"wait_seconds must be from 0 to {LONGEST_WAIT_SECONDS} (-1 means the setting"
                f" {self.settings.wait_seconds}); more than {self.settings.max_wait_seconds} waits that long."
            )
        return self.settings.bound(wait_seconds)


@asynccontextmanager
async def open_network(
    settings: Settings, now: Clock, transport: httpx.AsyncBaseTransport | None
) -> AsyncGenerator[tuple[Connection, Path, str, SecretStr | None]]:
    """Give the way to RunAPI or to the sandbox: connection, data folder, address, key. Close it when left."""
    async with AsyncExitStack() as stack:
        folder, base_url, key = settings.data_dir, settings.base_url, settings.api_key
        if settings.sandbox:
            from luma_mcp.sandbox import embedded  # noqa: PLC0415 - only those who play need it

            folder, base_url, key = folder / "sandbox", SANDBOX_ORIGIN, SecretStr("sandbox")
            transport = transport or await stack.enter_async_context(embedded(folder, now))
        yield await stack.enter_async_context(open_connection(transport)), folder, base_url, key


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    now: Clock = time.time,
    transport: httpx.AsyncBaseTransport | None = None,
    way: Way | None = None,
) -> AsyncGenerator[App]:
    """Open everything, and close it when left: followers stop, connections and the ledger are closed.

    `transport` takes the place of the network. `way` knows which answers have reached their callers. Nothing is
    read, written or asked before the first request.
    """
    async with AsyncExitStack() as stack:
        connection, folder, base_url, key = await stack.enter_async_context(open_network(settings, now, transport))
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
        )
        background = await stack.enter_async_context(background_work())
        callbacks, keep_days = Callbacks(), settings.keep_days
        tracker = Tracker(ledger, runapi, submission, downloads, callbacks, background, now, keep_days=keep_days)
        deliveries, changes = Deliveries(ledger), Changes(ledger)
        background.start_soon(tracker.attend, name="tracker")
        background.start_soon(deliveries.attend, name="deliveries")
        background.start_soon(changes.attend, name="changes")
        yield App(
            settings=settings,
            ledger=ledger,
            tracker=tracker,
            deliveries=deliveries,
            way=way or Way(),
            changes=changes,
            callbacks=callbacks,
            answering=answering,
            background=background,
            runapi=runapi,
            uploads=uploads,
            intents=Intents(settings, ledger, deliveries, runapi, uploads, now),
            waiting=Waiting(ledger, tracker, transfers, answering, now),
            saving=Saving(settings, ledger, downloads, runapi, now, kept_in),
            accounts=Accounts(settings, ledger, runapi, now),
            now=now,
        )
        await deliveries.leave()
