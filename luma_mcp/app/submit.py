"""From a request to its task: the checks that cost nothing, then the task that it has, or a new one."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import anyio
import anyio.to_thread
import httpx

from luma_mcp.app.account import AccountChecker
from luma_mcp.core.errors import InvalidRequest, SourceNotAllowed, SpendingSwitchedOff, TaskUnreadable
from luma_mcp.core.models import MAX_TAKES, MODEL, Clock, Task, VideoRequest, new_key
from luma_mcp.core.settings import Settings
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.clips import Clip, describe_measures
from luma_mcp.media.files import check_writable
from luma_mcp.media.sources import AttachedClip, PublicUrl, check_public_url, parse_source
from luma_mcp.media.uploads import Uploads
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.callbacks import new_callback_url
from luma_mcp.worker.tracker import LEASE_SECONDS

MAX_PROMPT_LENGTH = 20_000
TAKE_HINT = f"Leave take out, or give 2, 3, … (up to {MAX_TAKES}) when the user wants another version."
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Charge:
    """What a person is asked to agree to: one new task."""

    request: VideoRequest
    name: str  # of the request, whichever take; the clip's content is in it, and whose request it is
    price: int  # millionths of a USD, charged if the task succeeds
    is_simulated: bool  # the sandbox charges nothing
    measures: str  # of a clip whose file is known: how large and how long it is


Confirm = Callable[[Charge], Awaitable[None]]
"""Returns once a person has agreed to a charge; raises to have nothing sent and nothing recorded."""


@dataclass(frozen=True, slots=True)
class TaskCreator:
    """Finds the task of a request, or records a new one: the same request is the same task."""

    settings: Settings
    ledger: Ledger
    runapi: RunAPI
    uploads: Uploads
    account_checker: AccountChecker
    now: Clock

    async def join_or_add(
        self, request: VideoRequest, caller: str, *, seconds: float, confirm: Confirm | None
    ) -> tuple[Task, bool]:
        """Give the task of a request, a new one after checks within `seconds`, and whether it was there before.

        A repetition needs no key, no room on the disk, no place within the limits and nobody's yes, and its callback
        does not count. Raises a `LumaError`, charged "no", and whatever `confirm` raises.
        """
        check_words(request)
        name, task, joined = await self._find_or_draft(request, caller, seconds)
        if not joined:
            task, joined = await self._confirm_and_add(task, name, confirm)
        check_name(task, name, request.take)
        return task, joined

    async def _confirm_and_add(self, draft: Task, name: str, confirm: Confirm | None) -> tuple[Task, bool]:
        """Record a draft once a person has said yes, where one has to; join what others have recorded meanwhile.

        RunAPI is asked for the price where it matters; before a person is asked or an attached clip is sent, which
        comes before the task is recorded, the limits are looked at too.
        """
        sends = isinstance(parse_source(draft.request.source), AttachedClip)
        needs_price = confirm is not None or sends or self.settings.daily_budget is not None
        limits = await self.account_checker.check_limits(draft.caller) if needs_price else self.settings.limits
        if confirm is not None:
            measures = describe_measures(draft.source_bytes, draft.source_seconds) if draft.source_bytes else ""
            await confirm(Charge(draft.request, name, limits.price, self.settings.sandbox, measures))
            draft = replace(draft, created_at=self.now(), updated_at=self.now(), wanted_at=self.now())
        await self.uploads.bring_attached(draft)
        return await self.ledger.join_or_add(draft, name, limits, lease_until=self.now() + LEASE_SECONDS)

    async def _find_or_draft(self, request: VideoRequest, caller: str, seconds: float) -> tuple[str, Task, bool]:
        """Give the name of a request, its task (found, or drafted and not yet recorded), and whether it was found."""
        with anyio.move_on_after(seconds):
            clip = await self.uploads.inspect_source_file(request.source, caller)
            name = request.name(caller, self.runapi.origin, clip.digest if clip else "")
            found = await self.ledger.find_by_request(caller, name, request.take)
            return name, found or await self._draft(request, caller, clip), found is not None
        raise InvalidRequest(
            f"The source file or the output folder could not be read within {seconds:.0f} seconds.",
            hint="Repeat the call: reading goes on meanwhile. Or give a smaller file, or a longer wait_seconds.",
        )

    async def _draft(self, request: VideoRequest, caller: str, named: Clip | None) -> Task:
        """Draft a new task after all checks that cost nothing; `named` is the clip if the source is a file."""
        if self.settings.never_pays:
            raise SpendingSwitchedOff
        check_callback(request, self.settings.callback_hosts)
        self.runapi.check_ready()
        if named:
            await self.uploads.check_kept(request.source, named.digest)
        clip = named or await self.uploads.saved_output(request.source, caller)
        await self._check_free_space(clip.size if clip else 0)
        return Task(
            key=new_key(),
            caller=caller,
            request=request,
            created_at=self.now(),
            updated_at=self.now(),
            wanted_at=self.now(),
            origin=self.runapi.origin,
            key_id=self.runapi.key_id,
            callback="" if request.callback_url else new_callback_url(self.settings.callback_base_url),
            wants_file=self.settings.saves,
            source_digest=clip.digest if clip else "",
            source_bytes=clip.size if clip else None,
            source_seconds=clip.seconds if clip else None,
        )

    async def _check_free_space(self, size: int) -> None:
        """Check that a video about as large as its source can be saved, before any money is spent."""
        if self.settings.saves:
            folder = self.settings.output_dir
            await anyio.to_thread.run_sync(check_writable, folder, size, abandon_on_cancel=True)


def check_request(request: VideoRequest, callback_hosts: Sequence[str]) -> None:
    """Raise `InvalidRequest` for a request that RunAPI could not fulfil, or `SourceNotAllowed` for its callback.

    `callback_hosts` may receive the result of a clip of the user's own.
    """
    check_words(request)
    check_callback(request, callback_hosts)


def check_words(request: VideoRequest) -> None:
    if not any(c.isprintable() and not c.isspace() for c in request.prompt):
        raise InvalidRequest("prompt must say how the video should change.")
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in request.prompt + request.source):
        raise InvalidRequest("prompt and source_video_url must be valid Unicode text.")
    if len(request.prompt) > MAX_PROMPT_LENGTH:
        raise InvalidRequest(f"prompt must be at most {MAX_PROMPT_LENGTH} characters.")
    if request.model != MODEL:
        raise InvalidRequest(f"model must be {MODEL}, the only one that RunAPI offers here.")
    if not 1 <= request.take <= MAX_TAKES:
        raise InvalidRequest(f"take must be from 1 to {MAX_TAKES}.", hint=TAKE_HINT)


def check_callback(request: VideoRequest, hosts: Sequence[str]) -> None:
    """Raise `SourceNotAllowed` or `InvalidRequest` for an address that RunAPI could not call, or must not.

    RunAPI sends it the result. The result of a clip of the user's own (a file, or an earlier result) goes only to
    `hosts` that the user named, each a name or `name:port`; for a public clip any public address may be called.
    """
    if not request.callback_url:
        return
    try:
        check_public_url(request.callback_url, "callback_url")
    except SourceNotAllowed as error:
        error.hint = "Give an http(s) URL that RunAPI can reach, or no callback_url."
        raise
    host = host_of(request.callback_url)
    if not isinstance(parse_source(request.source), PublicUrl) and not {host, host.rpartition(":")[0]} & {*hosts}:
        raise SourceNotAllowed(
            f"callback_url: RunAPI would send the result of a clip of the user's own to {host}, which nobody allowed.",
            hint="Leave callback_url out, or have its host added to LUMA_MCP_CALLBACK_HOSTS in this server's settings.",
        )


def host_of(url: str) -> str:
    """Give the host and port of a URL as settings write them: `name:port`, in lower case."""
    parsed = httpx.URL(url)
    name = parsed.raw_host.decode("ascii").lower().removesuffix(".")
    return f"{f'[{name}]' if ':' in name else name}:{parsed.port or DEFAULT_PORTS[parsed.scheme]}"


def check_name(task: Task, name: str, take: int) -> None:
    """Raise `TaskUnreadable` if the task in the ledger is not that of the request it is recorded under."""
    if (task.request.name(task.caller, task.origin, task.source_digest), task.request.take) != (name, take):
        raise TaskUnreadable(f"The ledger holds task {task.task_id or task.key} under the name of another request.")
