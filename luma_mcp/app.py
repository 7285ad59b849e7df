"""The application: the one place where the parts meet, are opened and closed; and what it can do, in verbs."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread
import httpx
from anyio.abc import TaskGroup
from pydantic import SecretStr

from luma_mcp import crash_points
from luma_mcp.answering import Answering
from luma_mcp.arguments import check_listing, check_request, checked_id
from luma_mcp.background import background_work
from luma_mcp.callbacks import Callbacks, callback_address
from luma_mcp.changes import Changes
from luma_mcp.connection import open_connection
from luma_mcp.deliveries import Deliveries, Way
from luma_mcp.downloads import Downloads, check_writable
from luma_mcp.errors import InvalidRequest, LedgerUnusable, SubmissionUnconfirmed, TaskNotFound
from luma_mcp.ledger import Ledger
from luma_mcp.models import MODEL, REPLAY_SECONDS, SANDBOX_ORIGIN, Clock, Limits, Status, Task, VideoRequest, new_key
from luma_mcp.pace import usual
from luma_mcp.progress import Progress
from luma_mcp.runapi import RunAPI
from luma_mcp.settings import LONGEST_WAIT_SECONDS, Settings
from luma_mcp.submission import Submission, too_old
from luma_mcp.tracker import Tracker
from luma_mcp.uploads import Uploads

SUBMIT_SECONDS = 5.0
OTHER_KEY = "This request was sent with another RunAPI key, and whether it was accepted is not known."
OTHER_KEY_HINT = "Repeat the call in the host that has that key, or look at the task list of that RunAPI account."


def is_settled(task: Task) -> bool:
    """Tell whether waiting longer can bring nothing new."""
    return task.settled


def is_named(task: Task) -> bool:
    """Tell whether the caller can ask for the task by its id, or need not ask any more."""
    return bool(task.task_id) or task.settled


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
            digest = await self._check_in_time(request, caller, max(bound, SUBMIT_SECONDS))
            task, joined = await self._join_or_add(request, caller, digest, new_take=new_take)
        crash_points.reach("submission.intended")
        try:
            with self.deliveries.call(task.key):
                await self._settle(task)
                await self._watch(task.key, begun + max(bound, SUBMIT_SECONDS), progress, until=is_named)
                return await self._watch(task.key, begun + bound, progress), joined
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
            return await self._watch(task.key, begun + bound, progress)

    async def find(self, task_id: str, caller: str) -> Task:
        """Look a task of the caller's up in the ledger; raise `TaskNotFound`."""
        task = await self.ledger.find(caller, checked_id(task_id))
        if task is None:
            raise TaskNotFound(f"There is no task {task_id[:80]!r} in this server's ledger.")
        return task

    async def wait(self, key: str, seconds: float, progress: Progress) -> Task:
        """Wait for a task's end, at most some seconds."""
        return await self._watch(key, anyio.current_time() + seconds, progress)

    async def list_tasks(self, caller: str, status: str, limit: int, cursor: str) -> tuple[list[Task], str]:
        """Give a page of the caller's tasks, newest first, and the cursor of the next."""
        check_listing(status, limit)
        with self.ledger.telling():
            return await self.ledger.page(caller, status, limit, cursor)

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

    async def _join_or_add(
        self, request: VideoRequest, caller: str, digest: str, *, new_take: bool
    ) -> tuple[Task, bool]:
        limits = Limits(self.settings.max_active, self.settings.daily_limit)
        fingerprint = request.fingerprint(caller, self.runapi.origin, digest)
        draft, read = self._draft(request, caller), self.deliveries.sent_to(caller)
        found = await self.ledger.join_or_add(draft, fingerprint, limits, new_take=new_take, delivered=read)
        self.deliveries.forget(read)
        return found

    async def _settle(self, task: Task) -> None:
        """See to it that a submitted or joined task comes to its end: one in doubt goes out again under its key."""
        if task.status is Status.UNCONFIRMED and task.key_id != self.runapi.key_id:
            raise SubmissionUnconfirmed(OTHER_KEY, hint=OTHER_KEY_HINT)
        if task.status is Status.UNCONFIRMED and self.now() - task.created_at < REPLAY_SECONDS:
            await self.ledger.resubmit(task.key, self.now())
        elif task.status is Status.UNCONFIRMED:
            await self.ledger.explain(task.key, too_old())
        await self.follow(task.key)

    async def _check_in_time(self, request: VideoRequest, caller: str, seconds: float) -> str:
        with anyio.move_on_after(seconds):
            return await self._check(request, caller)
        raise InvalidRequest(
            f"The source file or the output folder could not be read within {seconds:.0f} seconds.",
            hint="Give a smaller file or one on a faster disk, or a longer wait_seconds.",
        )

    async def _check(self, request: VideoRequest, caller: str) -> str:
        """Check all that can be checked without money; give the digest of the source's content."""
        check_request(request)
        self.runapi.check_ready()
        digest = await self.uploads.check(request.source, caller)
        if self.settings.saves:
            await anyio.to_thread.run_sync(check_writable, self.settings.output_dir, abandon_on_cancel=True)
        return digest

    def _draft(self, request: VideoRequest, caller: str) -> Task:
        return Task(
            key=new_key(),
            caller=caller,
            request=request,
            created_at=self.now(),
            updated_at=self.now(),
            origin=self.runapi.origin,
            key_id=self.runapi.key_id,
            callback="" if request.callback_url else callback_address(self.settings.called_at),
            wants_file=self.settings.saves,
        )

    def _bound(self, wait_seconds: int) -> float:
        if not -1 <= wait_seconds <= LONGEST_WAIT_SECONDS:
            raise InvalidRequest(
                f"wait_seconds must be from 0 to {LONGEST_WAIT_SECONDS} (-1 means the setting"
                f" {self.settings.wait_seconds}); more than {self.settings.max_wait_seconds} waits that long."
            )
        return self.settings.bound(wait_seconds)

    async def _watch(
        self, key: str, deadline: float, progress: Progress, until: Callable[[Task], bool] = is_settled
    ) -> Task:
        """Tell of a task's progress until it has come far enough, or until the deadline on the event loop's clock."""
        known = usual(await self.ledger.durations(MODEL))
        with anyio.CancelScope(deadline=deadline):
            while True:
                task = await self.ledger.get(key)
                await progress.tell(task, known, self.now())
                if until(task) or self.answering.ending.is_set():
                    break
                await self.tracker.changed()
        return await self.ledger.get(key)


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
    folder, base_url, key = settings.data_dir, settings.base_url, settings.api_key
    if settings.sandbox:
        from luma_mcp.sandbox import Embedded  # noqa: PLC0415 - only those who play need it

        folder, base_url, key = folder / "sandbox", SANDBOX_ORIGIN, SecretStr("sandbox")
        transport = transport or Embedded(folder, now)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(open_connection(transport))
        ledger = Ledger(folder / "ledger.sqlite3")
        stack.callback(ledger.close)
        runapi = RunAPI(connection, base_url, key)
        uploads = Uploads(ledger, runapi, settings.readable_folders, now, discreet=settings.serves_http)
        downloads = Downloads(connection, settings.output_dir, trusted=base_url, allow_private=settings.allow_private)
        submission = Submission(ledger, runapi, uploads, now)
        background = await stack.enter_async_context(background_work())
        callbacks, keep_days = Callbacks(), settings.keep_days
        tracker = Tracker(ledger, runapi, submission, downloads, callbacks, background, now, keep_days=keep_days)
        deliveries, changes = Deliveries(ledger), Changes(ledger)
        background.start_soon(tracker.attend, name="tracker")
        background.start_soon(deliveries.attend, name="deliveries")
        background.start_soon(changes.attend, name="changes")
        yield App(
            *(settings, ledger, tracker, deliveries, way or Way(), changes, callbacks, Answering()),
            *(background, runapi, uploads, now),
        )
        await deliveries.leave()
