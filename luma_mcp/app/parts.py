"""What an app is made of: the one place where the parts are put together, opened and closed."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import httpx
from anyio.abc import TaskGroup
from pydantic import SecretStr

from luma_mcp.app.account import AccountChecker
from luma_mcp.app.changes import Changes
from luma_mcp.app.drain import ActiveRequests
from luma_mcp.app.login import KeyLogins
from luma_mcp.app.save import VideoSaver
from luma_mcp.app.submit import TaskCreator, check_request
from luma_mcp.app.tickets import Signer, UploadDesk, VideoLinks
from luma_mcp.app.videos import VideoFinder
from luma_mcp.app.wait import TaskWaiter
from luma_mcp.core.concurrency import Signals, background_work
from luma_mcp.core.models import SANDBOX_ORIGIN, Clock
from luma_mcp.core.observer import Observer
from luma_mcp.core.settings import Settings
from luma_mcp.ledger.ledger import Ledger, open_ledger
from luma_mcp.media.attachments import Attachments
from luma_mcp.media.downloads import Downloads
from luma_mcp.media.links import Links
from luma_mcp.media.received import ReceivedClips
from luma_mcp.media.transfers import Transfers
from luma_mcp.media.uploads import Uploads
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.connection import CONNECT_SECONDS, TIMEOUT, HttpClients, open_http_clients
from luma_mcp.runapi.ssrf import DownloadGuard
from luma_mcp.worker.callbacks import Callbacks
from luma_mcp.worker.submission import Submission
from luma_mcp.worker.tracker import Tracker
from luma_mcp.worker.usual_times import UsualTimes

if TYPE_CHECKING:
    from luma_mcp.app.preview import Previewer

PREVIEWS_FOLDER = "previews"  # beside the ledger
ATTACHED_FOLDER = "attached"  # the same
RECEIVED_FOLDER = "received"  # the same
LAST_ANSWERS_SECONDS = 1.2  # of the 2 s that hosts give a server to end


@dataclass(frozen=True, slots=True)
class Parts:
    """The open parts of an app."""

    settings: Settings
    now: Clock
    observer: Observer
    ledger: Ledger
    runapi: RunAPI
    uploads: Uploads
    submission: Submission
    callbacks: Callbacks
    tracker: Tracker
    changes: Changes
    changed: Signals
    active_requests: ActiveRequests
    background: TaskGroup
    creator: TaskCreator
    waiter: TaskWaiter
    saver: VideoSaver
    videos: VideoFinder
    account_checker: AccountChecker
    make_previewer: Callable[[], "Previewer"]
    logins: KeyLogins
    attachments: Attachments
    upload_desk: UploadDesk
    video_links: VideoLinks
    signer: Signer


@dataclass(frozen=True, slots=True)
class Network:
    """The HTTP clients, and the address and key of RunAPI or of the sandbox in its place."""

    clients: HttpClients
    base_url: str
    key: SecretStr | None


@asynccontextmanager
async def open_network(
    settings: Settings, now: Clock, transport: httpx.AsyncBaseTransport | None, timeout: httpx.Timeout = TIMEOUT
) -> AsyncGenerator[Network]:
    """Open the HTTP clients for RunAPI or for the sandbox; `transport`, if given, takes the place of the network."""
    async with AsyncExitStack() as stack:
        base_url, key = settings.base_url, settings.api_key
        if settings.sandbox:
            from luma_mcp.sandbox.application import open_sandbox_transport  # noqa: PLC0415 - only the sandbox needs it

            base_url, key = SANDBOX_ORIGIN, SecretStr("sandbox")
            sandbox = open_sandbox_transport(settings.tasks_dir, now)
            transport = transport or await stack.enter_async_context(sandbox)
        yield Network(await stack.enter_async_context(open_http_clients(transport, timeout)), base_url, key)


@asynccontextmanager
async def open_parts(
    settings: Settings,
    now: Clock,
    transport: httpx.AsyncBaseTransport | None,
    unreached_seconds: float,
    observer: Observer,
) -> AsyncGenerator[Parts]:
    """Open all parts, and close them in reverse order when left; for the parameters see `open_app`."""
    async with AsyncExitStack() as stack:
        timeout = connect_within(unreached_seconds)
        network = await stack.enter_async_context(open_network(settings, now, transport, timeout))
        ledger = open_ledger(settings, observer)
        stack.callback(ledger.close)
        background = await stack.enter_async_context(background_work())
        parts = assemble(settings, now, network, ledger, background, unreached_seconds, observer)
        await background.start(parts.tracker.run, name="tracker")
        background.start_soon(parts.changes.run, name="changes")
        stack.push_async_callback(wait_for_last_answers, parts.submission)
        yield parts


def assemble(
    settings: Settings,
    now: Clock,
    network: Network,
    ledger: Ledger,
    background: TaskGroup,
    unreached_seconds: float,
    observer: Observer,
) -> Parts:
    """Put the parts together; nothing is read, written or asked yet."""
    private, origin = settings.allow_private, network.base_url
    runapi = RunAPI(network.clients, origin, network.key, allow_private=private, reload_key=settings.reload_key)
    transfers, callbacks, active_requests, changed = Transfers(), Callbacks(), ActiveRequests(), Signals()
    uploads = Uploads(ledger, runapi, transfers, settings, now, observer)
    downloads = Downloads(network.clients, settings.output_dir, transfers, trusted=origin, allow_private=private)
    saver = VideoSaver(settings, ledger, downloads, runapi, now, settings.saved_folders)
    check = partial(check_request, callback_hosts=settings.callback_hosts)
    submission = Submission(
        ledger, runapi, uploads, settings, now, observer, check=check, unreached_seconds=unreached_seconds
    )
    usual_times, changes = UsualTimes(ledger, runapi), Changes(ledger, changed)
    account_checker = AccountChecker(settings, ledger, runapi, now)
    signer, received = Signer(ledger, runapi), ReceivedClips(settings.tasks_dir / RECEIVED_FOLDER)
    attachments = Attachments(network.clients, settings.tasks_dir / ATTACHED_FOLDER, trusted=origin)
    tidies = (downloads.tidy, received.tidy, attachments.tidy)
    tracker = Tracker(
        ledger, runapi, submission, downloads, callbacks, usual_times, settings, now, changed.give, observer, tidies
    )
    source_guard = DownloadGuard(trusted=origin, allow_private=False)  # models name sources
    previewer = partial(make_previewer, settings, saver, uploads, Links(ledger, runapi, now), source_guard)
    creator = TaskCreator(settings, ledger, runapi, uploads, account_checker, now)
    waiter = TaskWaiter(ledger, changes, transfers, active_requests, usual_times, now)
    desk = UploadDesk(signer, ledger, runapi, uploads, received, now)
    links, logins = VideoLinks(signer, ledger, settings.callback_base_url, now), KeyLogins(runapi, background)
    worked = (submission, callbacks, tracker, changes, changed, active_requests, background)
    seen = (creator, waiter, saver, VideoFinder(uploads, saver.saved_folders, now), account_checker, previewer)
    offered = (logins, attachments, desk, links, signer)
    return Parts(settings, now, observer, ledger, runapi, uploads, *worked, *seen, *offered)


def make_previewer(
    settings: Settings, saver: VideoSaver, uploads: Uploads, links: Links, source_guard: DownloadGuard
) -> "Previewer":
    """Make what looks into videos; imported here, because few servers ever do."""
    from luma_mcp.app.preview import Previewer  # noqa: PLC0415 - a start need not wait for it
    from luma_mcp.media.preview import ContactSheets  # noqa: PLC0415 - as above

    return Previewer(ContactSheets(settings.tasks_dir / PREVIEWS_FOLDER), saver, uploads, links, source_guard)


def connect_within(unreached_seconds: float) -> httpx.Timeout:
    """Bound connecting so that one attempt fits into the time that the network is waited for."""
    bounds = TIMEOUT.as_dict() | {"connect": min(CONNECT_SECONDS, unreached_seconds - 1.0)}
    return httpx.Timeout(**bounds)


async def wait_for_last_answers(submission: Submission) -> None:
    """Give submissions under way a moment to be answered and recorded: they cost money."""
    with anyio.move_on_after(LAST_ANSWERS_SECONDS, shield=True):
        await submission.wait_until_answered()
