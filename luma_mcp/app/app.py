"""What the server can do, in verbs, whoever asks and over whatever transport."""

import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import httpx

from luma_mcp.app.account import Account
from luma_mcp.app.changes import Listener
from luma_mcp.app.login import PendingLogin
from luma_mcp.app.parts import Parts, open_parts
from luma_mcp.app.progress import Progress, describe, report_to_nobody
from luma_mcp.app.save import DISK_TIMEOUT_SECONDS
from luma_mcp.app.submit import Charge, Confirm
from luma_mcp.app.tickets import LinkedVideoElsewhere, UploadOffer, VideoLink, works_at_runapi
from luma_mcp.app.videos import VideoFile, read_piece
from luma_mcp.app.wait import is_named
from luma_mcp.core import failpoints
from luma_mcp.core.concurrency import background_work
from luma_mcp.core.errors import (
    InvalidApiKey,
    InvalidRequest,
    LedgerUnusable,
    LumaError,
    ServiceUnavailable,
    SourceNotFound,
    TaskNotFound,
)
from luma_mcp.core.filenames import validate_filename
from luma_mcp.core.models import CLOCK_STEP_SECONDS, FOLLOW_SECONDS, Clock, Status, Task, UploadTicket, VideoRequest
from luma_mcp.core.observer import Fail, Observer
from luma_mcp.core.settings import WAIT_LIMIT_SECONDS, Settings
from luma_mcp.core.uris import parse_task_id, task_uri
from luma_mcp.ledger.database import count_tasks_of
from luma_mcp.ledger.files import LEDGER_NAME
from luma_mcp.ledger.ledger import next_cursor
from luma_mcp.media.clips import Clip
from luma_mcp.media.files import awaits_other_server
from luma_mcp.media.sources import TaskOutput, parse_source
from luma_mcp.worker.polling import DOCUMENTED
from luma_mcp.worker.tracker import TrackerLoad

if TYPE_CHECKING:
    from luma_mcp.app.preview import Preview, Previewer

MIN_SUBMIT_SECONDS = 5.0
LEFT_TO_OTHERS = "not confirmed by RunAPI, and left to other servers, as this one never pays"
WAITING_FOR_YES = "waiting for the user's yes"
OUT_OF_REACH = (
    "How this task ended is not known here: it was made with a RunAPI key, or at an address of RunAPI, that this server"
    " does not use."
)
OUT_OF_REACH_HINT = (
    "Tell the user. Ask for it in the host where it was made, or have the task list of that RunAPI account looked at."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task as a call leaves it, and what the caller should know beside it."""

    task: Task
    is_new: bool = False  # this call recorded the task
    joined: bool = False  # this call asked for the task, and found it there
    nothing_sent: bool = False  # RunAPI had the task before this call: the call itself cost nothing
    other_callback: bool = False  # the task was submitted without the callback_url of this call
    next_take: int = 0  # the lowest take that the request never had; 0 if it had all
    offers_take: bool = True  # this server would make another take
    own_clip: bool = False  # the sandbox gave the caller's clip back as it was
    left_to_others: bool = False  # RunAPI has not confirmed the task, and this server never sends any
    in_background: bool = False  # the call did not wait: the task goes on
    video_link: VideoLink | None = None  # to the saved video, in place of RunAPI's links


class App:
    """What the server can do, in verbs, whoever asks; nobody reaches through it to a part."""

    def __init__(self, parts: Parts) -> None:
        self.settings = parts.settings
        self.now = parts.now
        self._parts = parts

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def modify_video(
        self,
        request: VideoRequest,
        caller: str,
        *,
        wait_seconds: int,
        progress: Progress,
        confirm: Confirm | None = None,
        in_background: bool = False,
    ) -> Outcome:
        """Submit a request, or join the task that it has, and wait within the bound.

        `confirm` asks a person before a new task, unless a person asks themselves. Waits `MIN_SUBMIT_SECONDS` or more
        for RunAPI to name the task; `in_background` for nothing, unless it had ended. Raises a `LumaError` charged
        "no" if nothing was submitted, "unknown" if the ledger fails afterwards, and what `confirm` raises.
        """
        bound, begun, asked_at = self.wait_bound(wait_seconds), anyio.current_time(), self.now()
        asks = partial(confirm_with_progress, confirm, progress) if confirm else None
        with self._parts.ledger.report_damage_once():
            task, joined = await self._parts.creator.join_or_add(
                request, caller, seconds=max(bound, MIN_SUBMIT_SECONDS), confirm=asks
            )
        named_by = max(begun + bound, (anyio.current_time() if confirm else begun) + MIN_SUBMIT_SECONDS)
        failpoints.reach("submission.intended")
        try:
            await (self._go_on(task) if joined else self._follow_new(task))
            if in_background and not task.has_ended(asked_at):
                standing = self.as_left(await self._parts.ledger.get(task.key))
                found = replace(await self.outcome(standing, only_lost_need_take=True), in_background=True)
            else:
                task = await self._watch_named(task, named_by, begun + bound, progress, is_new=not joined)
                found = await self.outcome(task, only_lost_need_take=not (joined or task.status.done))
            other = request.callback_url not in ("", found.task.request.callback_url)
            free = joined and (found.task.sent_at or math.inf) < asked_at
            return replace(found, is_new=not joined, joined=joined, nothing_sent=free, other_callback=other)
        except (LedgerUnusable, TaskNotFound) as error:
            error.charged = "unknown"  # the intent is recorded, and may be on its way
            raise

    async def _follow_new(self, task: Task) -> None:
        self.start_tracker()
        self._parts.tracker.follow_new(task)

    async def _watch_named(
        self, found: Task, named_by: float, until: float, progress: Progress, *, is_new: bool
    ) -> Task:
        """Wait for RunAPI to name a task, and then for its end, each up to a time of the event loop's clock."""
        added, waiter = found if is_new else None, self._parts.waiter
        task = await waiter.watch(found.key, named_by, progress, until=is_named, added=added)
        return await waiter.watch(found.key, until, progress) if anyio.current_time() < until else task

    @asynccontextmanager
    async def attached(self, url: str) -> AsyncGenerator[str]:
        """Fetch a video that a host hands over by its address, and give the source that names it inside.

        Raises `SourceNotAllowed`, `SourceNotFound` or `OutputNotWritable`.
        """
        async with self._parts.attachments.fetched(url) as path, self._parts.uploads.attached(path) as source:
            yield source

    async def get_task(self, task_id: str, caller: str, *, wait_seconds: int, progress: Progress | None) -> Outcome:
        """Give a task of the caller's, after waiting for its end within the bound; raise `TaskNotFound`.

        `progress` is None for a caller who wants none. Hosts ask often, so each step that can be spared is.
        """
        bound = self.wait_bound(wait_seconds)
        begun = anyio.current_time()
        with self._parts.ledger.report_damage_once():
            task = await self.find(task_id, caller)
        self._follow(task)
        until = begun if awaits_other_server(task, self._parts.runapi.origin) else begun + bound
        if progress or (until > begun and not task.is_settled):
            task = await self._parts.waiter.watch(task.key, until, progress or Progress(report_to_nobody))
        return await self.outcome(task, only_lost_need_take=True)

    async def save_video(self, task_id: str, caller: str, filename: str, *, progress: Progress) -> Outcome:
        """Save a completed task's video, under a name if one is given, and wait for that as long as calls wait.

        Raises `InvalidRequest`, `TaskNotFound`, `DownloadFailed` or `OutputNotWritable`.
        """
        try:
            return await self._save_video(task_id, caller, validate_filename(filename), progress)
        except LumaError as error:
            error.retry_safe = True  # whatever went wrong, saving costs nothing
            raise

    async def _save_video(self, task_id: str, caller: str, name: str, progress: Progress) -> Outcome:
        bound, begun = self.wait_bound(-1), anyio.current_time()
        with self._parts.ledger.report_damage_once():
            task = await self.find(task_id, caller)
        if task.status is not Status.COMPLETED and task.is_lost(self.now()):
            return await self.outcome(task)
        await self._parts.saver.request_save(task, name)
        await self._follow_now(task.key)
        outcome = await self.outcome(await self._parts.waiter.watch(task.key, begun + bound, progress))
        left = max(MIN_SUBMIT_SECONDS, begun + bound - anyio.current_time())
        return replace(outcome, task=await self._parts.saver.copy_under_name(outcome.task, name, left))

    async def open_video(self, task_id: str, caller: str, which: str) -> VideoFile:
        """Give the saved result of a task of the caller's (`result`), or the local clip it was made of (`source`).

        Raises `TaskNotFound`, `InvalidRequest`, `SourceNotAllowed` or `SourceNotFound`.
        """
        with self._parts.ledger.report_damage_once():
            task = await self.find(task_id, caller)
        return await self._parts.videos.find(task, which)

    async def read_video(self, video: VideoFile, offset: int, length: int) -> bytes:
        """Give a piece of a video, at most `length` bytes; raise `InvalidRequest` or `SourceNotFound`."""
        if not 0 <= offset <= video.size:
            raise InvalidRequest(f"offset must be from 0 to {video.size}, the size of the video.")
        return await anyio.to_thread.run_sync(read_piece, video, offset, length, abandon_on_cancel=True)

    async def open_linked_video(self, ticket: str) -> VideoFile | str:
        """Give the saved result that a link leads to, or RunAPI's own link where this server has no such file.

        Raises `TicketUnknown`, `TicketSpent`, or `SourceNotFound`, which says where it was saved.
        """
        task = await self._parts.video_links.read(ticket)
        try:
            return await self._parts.videos.find(task, "result")
        except SourceNotFound:
            if works_at_runapi(task, self.now()):
                return task.video_urls[0]
            raise LinkedVideoElsewhere(task) from None

    # -- clips of people who are elsewhere ----------------------------------------------------------------------------

    async def offer_upload(self, caller: str) -> UploadOffer:
        """Give an address at which one clip may be sent within an hour; raise `MissingApiKey` or `LedgerUnusable`."""
        return await self._parts.upload_desk.offer(caller)

    async def find_upload(self, ticket: str) -> UploadTicket:
        """Give what an upload's ticket stands for; raise `TicketUnknown`, `TicketSpent` or `LedgerUnusable`."""
        return await self._parts.upload_desk.find(ticket)

    async def receive_upload(self, ticket: UploadTicket, pieces: AsyncIterable[bytes], size: int | None) -> Clip:
        """Take a clip of `size` bytes, if that is known, and pass it on to RunAPI; raises as `UploadDesk.receive`."""
        return await self._parts.upload_desk.receive(ticket, pieces, size)

    @cached_property
    def _previewer(self) -> "Previewer":
        return self._parts.make_previewer()

    async def preview(self, task_id: str, caller: str) -> "Preview":
        """Give frames of a finished task's video as a picture, above them those of its source where that can be had.

        Raises `InvalidRequest`, `TaskNotFound`, `DownloadFailed`, `PreviewToolMissing` or `OutputNotWritable`.
        """
        with self._parts.ledger.report_damage_once():
            task = await self.find(task_id, caller)
        return await self._previewer.preview(task, caller)

    async def copy_video(self, task: Task, folder: Path, name: str) -> Task:
        """Copy a saved video where a person at this machine wants it, under its own name if `name` is empty.

        Gives the task with the copy's path. Raises `VideoNotWritten`.
        """
        return await self._parts.saver.copy_into(task, folder, name or Path(task.video_path).name)

    async def check_account(self, caller: str) -> Account:
        """Give price, balance, spending and limits; what RunAPI does not tell is None. Raises `LedgerUnusable`."""
        self.start_tracker()
        with self._parts.ledger.report_damage_once():
            return await self._parts.account_checker.check(caller)

    async def secret(self, purpose: str) -> bytes:
        """Give a secret for one purpose that the account's servers on this ledger share; raise `LedgerUnusable`."""
        return await self._parts.signer.secret(purpose)

    async def spent_this_month(self, caller: str) -> float:
        """Give in USD what the caller spent through this server since the month began, in UTC; `LedgerUnusable`."""
        return await self._parts.account_checker.spent_this_month(caller)

    async def find(self, task_id: str, caller: str) -> Task:
        """Look up a task of the caller's in the ledger; raise `TaskNotFound`, or `InvalidRequest` for what is no id.

        Hosts that run the task in the background tell their model its key, by which it is found, too.
        """
        name = parse_task_id(task_id)
        task = await self._parts.ledger.find(caller, name) or await self._find_by_key(name, caller)
        if task is None:
            raise no_such_task(task_id)
        return task

    async def wait(self, key: str, seconds: float, progress: Progress) -> Task:
        """Wait for a task's end, for some seconds at most, and give the task as it stands then."""
        return await self._parts.waiter.watch(key, anyio.current_time() + seconds, progress)

    async def wait_until_over(self, key: str, progress: Progress) -> Task:
        """Wait as long as it takes until a task has ended or is out of reach, or until the server drains."""
        return await self._parts.waiter.watch(key, math.inf, progress, until=self.is_over)

    async def list_tasks(self, caller: str, status: str, limit: int, cursor: str) -> tuple[list[Task], str]:
        """Give a page of the caller's tasks, newest first, and the cursor of the next page (empty at the end).

        Raises `InvalidRequest` for a status, limit (1 to 100) or cursor that there cannot be.
        """
        check_listing(status, limit)
        with self._parts.ledger.report_damage_once():
            tasks, next_cursor = await self._parts.ledger.page(caller, status, limit, cursor)
            return await self._parts.saver.current_tasks(tasks), next_cursor

    async def newest_tasks(self, caller: str, limit: int) -> tuple[list[Task], str]:
        """Give the first page of all the caller's tasks, and the cursor of the next.

        Unlike `list_tasks` it does not use up the one report of a damaged ledger, which is meant for models.
        """
        tasks, next_page = await self._parts.ledger.page(caller, "", limit, "")
        return await self._parts.saver.current_tasks(tasks), next_page

    async def search_tasks(self, caller: str, typed: str, states: Sequence[Status], limit: int) -> list[Task]:
        """Give the caller's newest tasks, in some states, that have each typed word in their id or prompt."""
        return await self._parts.ledger.search_tasks(caller, typed, states, limit)

    async def find_tasks(self, caller: str, typed: str, status: str, limit: int) -> list[Task]:
        """Give the caller's newest tasks, in one state or in any, that have each typed word, as they stand now.

        Raises `InvalidRequest` as `list_tasks` does.
        """
        check_listing(status, limit)
        with self._parts.ledger.report_damage_once():
            states = [Status(status)] if status else list(Status)
            found = await self._parts.ledger.search_tasks(caller, typed, states, limit, unnamed=True)
            return await self._parts.saver.current_tasks(found)

    async def count_sandbox_tasks(self, caller: str) -> int:
        """Count the caller's tasks in the sandbox's own ledger, which those outside it do not see."""
        if self.settings.sandbox:
            return 0
        ledger = self.settings.sandbox_dir / LEDGER_NAME
        with anyio.move_on_after(DISK_TIMEOUT_SECONDS):
            return await anyio.to_thread.run_sync(count_tasks_of, ledger, caller, abandon_on_cancel=True)
        return 0

    async def check_earlier_outputs(self, source: str, earlier: Task | None, caller: str) -> None:
        """Refuse at once results that cannot be had, before a person is asked to agree to the cost.

        Raises `InvalidRequest` or a `Source…` error.
        """
        if earlier and earlier.status is Status.COMPLETED:
            await self._parts.uploads.check(task_uri(earlier.task_id), caller)
        if source and isinstance(parse_source(source), TaskOutput):
            await self._parts.uploads.check(source, caller)

    async def ensure_followed(self, key: str) -> None:
        """Have an unfinished task followed, here or in another process.

        One that may still be submitted is left to servers with its key; whoever finds it too late ends it.
        """
        self._follow(await self._parts.ledger.get(key))

    async def _follow_now(self, key: str) -> None:
        """Have an unfinished task followed, and a video that could not be saved tried again at once."""
        await self.ensure_followed(key)
        self._parts.tracker.retry_save_now(key)

    def _follow(self, task: Task) -> None:
        self.start_tracker()
        running = not task.status.done and task.status is not Status.UNCONFIRMED
        may_follow = task.task_id or self._may_send(task) or not task.is_young(self.now())
        if ((running and may_follow) or task.needs_saving) and task.origin == self._parts.runapi.origin:
            self._parts.tracker.follow(task.key)

    async def _go_on(self, task: Task) -> None:
        """Bring a joined task to its end: an unconfirmed one is submitted again under its key, at any age.

        Its video is saved if this server saves, even if the server that made it does not.
        """
        self._parts.runapi.look_for_key()
        if self._may_send(task) and not (task.task_id or task.status.done):
            self._parts.submission.exempt_from_limits(task.key)
            await self._parts.ledger.set_wanted_at(task.key, self.now())
            await self._parts.ledger.resubmit(task.key, self.now())
        if self.settings.saves and not (task.wants_file or task.video_path):
            await self._parts.ledger.set_wants_file(task.key)
        elif task.needs_saving and task.error and task.is_available(self.now()):
            await self._parts.ledger.request_save(task, "", self.now())
        await self._follow_now(task.key)

    def _may_send(self, task: Task) -> bool:
        return task.key_id == self._parts.runapi.key_id and not self.settings.never_pays

    async def follow_task(self, key: str, caller: str) -> Task:
        """Give a task of the caller's by its key, after having it followed; raise `TaskNotFound`."""
        task = await self._find_by_key(key, caller)
        if task is None:
            raise no_such_task(key)
        self._follow(task)
        return task

    async def _find_by_key(self, key: str, caller: str) -> Task | None:
        try:
            task = await self._parts.ledger.get(key)
        except TaskNotFound:
            return None
        return task if task.caller == caller else None

    def is_over(self, task: Task) -> bool:
        """Tell whether a task has ended, or is older than a day and out of this server's reach."""
        return self.as_left(task).has_ended(self.now())

    def as_left(self, task: Task) -> Task:
        """Give a task as it stands; one that is older than a day and out of this server's reach is given up on.

        It is where it was made at another address, or where RunAPI does not tell this server's key of it. Of a finished
        one the address alone matters: it is where the video would still be saved.
        """
        now = self.now()
        if task.has_ended(now) or task.asked_at + FOLLOW_SECONDS > now:
            return task
        is_here = task.origin == self._parts.runapi.origin
        if task.status.done:
            return replace(task, wants_file=is_here)
        if is_here and not self._parts.tracker.is_foreign(task.key):
            return task
        return task.left(ServiceUnavailable(OUT_OF_REACH, hint=OUT_OF_REACH_HINT).failure(), now)

    async def describe(self, task: Task) -> str:
        """Say in one line how a task goes and how long that usually takes, or that this server does nothing for it."""
        if self._leaves_to_others(task):
            return LEFT_TO_OTHERS
        profile = DOCUMENTED
        with suppress(LedgerUnusable):  # a line to read is worth no failure
            profile = await self._parts.waiter.usual_times.profile()
        return describe(task, profile, self.now(), self._parts.waiter.transfers.of(task.key), foretells=True)

    def check_can_follow(self, task: Task) -> None:
        """Raise a `LumaError` if this server does not ask RunAPI for an unfinished task, so that none waits for it."""
        if task.status.done:
            return
        if task.origin != self._parts.runapi.origin:
            raise InvalidRequest(f"Task {task.task_id} was made at {task.origin}, which is not used here.")
        self._parts.runapi.check_ready()
        if task.key_id != self._parts.runapi.key_id:
            raise InvalidApiKey(f"Task {task.task_id} was made with another RunAPI key than the one that is used here.")

    async def outcome(self, task: Task, *, only_lost_need_take: bool = False) -> Outcome:
        """Give a task as it stands: its file if that is there, its error as of now, its next free take."""
        task = await self._parts.saver.current_task(task)
        own_clip = await self._parts.saver.is_own_clip(task)
        needs_take = not only_lost_need_take or task.is_lost(self.now() + CLOCK_STEP_SECONDS)
        next_take = await self._parts.ledger.unused_take(task.key) if needs_take else 0
        left, link = self._leaves_to_others(task), await self._parts.video_links.link(task)
        pays = not self.settings.never_pays
        return Outcome(
            task, next_take=next_take, offers_take=pays, own_clip=own_clip, left_to_others=left, video_link=link
        )

    def _leaves_to_others(self, task: Task) -> bool:
        return self.settings.never_pays and not (task.task_id or task.status.done)

    def wait_bound(self, wait_seconds: int) -> float:
        """Give the seconds that a call waits for which `wait_seconds` were asked; raise `InvalidRequest`."""
        if not -1 <= wait_seconds <= WAIT_LIMIT_SECONDS:
            raise InvalidRequest(
                f"wait_seconds must be from 0 to {WAIT_LIMIT_SECONDS} (-1 means the setting"
                f" {self.settings.wait_seconds}); more than {self.settings.max_wait_seconds} waits that long."
            )
        return self.settings.clamp_wait(wait_seconds)

    # -- the key ------------------------------------------------------------------------------------------------------

    async def open_login(self) -> PendingLogin:
        """Give the login on RunAPI's page that is under way, or a new one.

        Raises `RunAPIFileUnusable` if a key could not be kept, and `OSError` if no port can be opened.
        """
        return await self._parts.logins.open()

    def find_login(self, name: str) -> PendingLogin | None:
        """Give the last login by its name, also one that has ended; None for any other."""
        return self._parts.logins.find(name)

    # -- the life of the server ---------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """The address of RunAPI, or the sandbox's."""
        return self._parts.runapi.origin

    @property
    def draining(self) -> anyio.Event:
        """Set when the server ends: whoever waits then answers with how things stand."""
        return self._parts.active_requests.draining

    def start_tracker(self) -> None:
        """Go on with unfinished tasks; called at the first real request, not when a host only probes the server."""
        self._parts.tracker.start()

    def start_background(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Start work that is cancelled when the app is closed."""
        self._parts.background.start_soon(work, name=name)

    def observe_call(self, caller: str) -> AbstractContextManager[Fail]:
        """Let a tool call inside be seen from outside; what is given takes the error code of one that failed."""
        return self._parts.observer.operation("call", caller)

    async def count_unended(self) -> Mapping[Status, int]:
        """Count the tasks in the ledger that have not ended, of all callers, by state; raise `LedgerUnusable`."""
        return await self._parts.ledger.count_unended()

    @property
    def tracker_load(self) -> TrackerLoad:
        """Count the tasks that this server follows."""
        return self._parts.tracker.load

    def track_request(self) -> AbstractContextManager[None]:
        """Count a request as being answered inside: `wait_until_idle` waits for it."""
        return self._parts.active_requests.track_request()

    def begin_drain(self) -> None:
        """Have those who wait for tasks answer with how these stand now."""
        self.draining.set()
        self._parts.changed.give_all()

    async def wait_until_idle(self) -> None:
        """Wait until no request is being answered, or none has begun or ended for a second."""
        await self._parts.active_requests.wait_until_idle()

    def handle_callback(self, secret: str) -> None:
        """Take RunAPI's call to the address that ends in `secret`; an unknown secret is ignored."""
        self._parts.callbacks.handle_call(secret)

    async def add_change_listener(self, caller: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each change of the caller's tasks from now on; give the function that removes it.

        Raises `LedgerUnusable`.
        """
        return await self._parts.changes.add_listener(caller, listener)

    async def catch_up_changes(self) -> None:
        """Call the listeners with what has changed up to now; raise `LedgerUnusable`."""
        await self._parts.changes.catch_up()

    async def check_ledger(self) -> None:
        """Raise `LedgerUnusable` if the ledger cannot be written now."""
        await self._parts.ledger.check_writable()

    async def check_runapi(self, max_silence_seconds: float) -> None:
        """Raise a `LumaError` if RunAPI cannot be used; ask it only if it was silent for `max_silence_seconds`."""
        runapi = self._parts.runapi
        runapi.check_ready()
        if anyio.current_time() > runapi.last_answer_at + max_silence_seconds:
            await runapi.check_reachable()


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    now: Clock = time.time,
    transport: httpx.AsyncBaseTransport | None = None,
    unreached_seconds: float = math.inf,
    observer: Observer | None = None,
) -> AsyncGenerator[App]:
    """Open everything, and close it when left: followers stop, connections and the ledger are closed.

    `transport` takes the place of the network, which is waited for `unreached_seconds` at most before a new task is
    given up. `observer` hears what happens. Nothing is read, written or asked before the first request.
    """
    async with open_parts(settings, now, transport, unreached_seconds, observer or Observer()) as parts:
        yield App(parts)


async def confirm_with_progress(confirm: Confirm, progress: Progress, charge: Charge) -> None:
    async with background_work() as group:
        group.start_soon(progress.report_standstill, WAITING_FOR_YES)
        await confirm(charge)


def no_such_task(name: str) -> TaskNotFound:
    return TaskNotFound(f"There is no task {name[:80]!r} in this server's ledger.")


def next_page_cursor(task: Task) -> str:
    """Give the cursor of the page that begins after a task."""
    return next_cursor(task)


def check_listing(status: str, limit: int) -> None:
    if status and status not in list(Status):
        raise InvalidRequest(f"status must be one of {', '.join(Status)}, or empty for all.")
    if not 1 <= limit <= 100:
        raise InvalidRequest("limit must be from 1 to 100.")
