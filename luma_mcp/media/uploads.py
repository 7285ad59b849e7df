"""Source clips to RunAPI: allowed files are uploaded in pieces, once for each content, and earlier outputs reused."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from luma_mcp.core import failpoints
from luma_mcp.core.errors import (
    DownloadFailed,
    DownloadRefused,
    InvalidRequest,
    LinkRefused,
    LumaError,
    ServiceUnavailable,
    SourceNotAllowed,
    SourceNotFound,
    UploadRefused,
    VideoUnusable,
)
from luma_mcp.core.models import MIN_URL_LIFETIME_SECONDS, Clock, Status, Task
from luma_mcp.core.observer import Observer
from luma_mcp.core.settings import Settings
from luma_mcp.core.uris import clip_uri
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.clips import Clip, Clips, Content, changed_clip_error
from luma_mcp.media.files import find_saved_video, is_video
from luma_mcp.media.links import Links
from luma_mcp.media.sources import (
    NO_FILES_HINT,
    AttachedClip,
    LocalFile,
    PublicUrl,
    TaskOutput,
    UploadedClip,
    parse_source,
    resolve_allowed_file,
)
from luma_mcp.media.transfers import Transfers
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.upload_targets import UploadTarget

NOT_HERE = "source_video_url: there is no such file in the folders that this server may read."
REFUSED_HINT = (
    "RunAPI names no other link, and there is no saved file. Nothing was submitted. Try again later, continue from"
    " another task, or give the clip that this one was made of."
)
CHANGED_HINT = "The result stays as it is; only the clip that it was made of cannot be shown."
RECEIVED_SECONDS = 1800.0  # for which at least a clip that somebody has just sent can be used
BRING_SECONDS = 15.0  # for an attached clip, while its call waits: with those to fetch it and to ask its price, 40
ATTACH_HINT = "Have the user attach the video to this call again, or give a link that anyone on the internet can open."
UPLOAD_HINT = " For a clip that only the user has, call request_upload."
UPLOAD_AGAIN_HINT = "Call request_upload and have the clip uploaded once more: RunAPI keeps one for about an hour."
NOTHING_ARRIVED = "source_video_url: no clip of yours has arrived under this name, at least not yet."
NOTHING_ARRIVED_HINT = (
    "Have the user finish the upload at the address that request_upload gave, then repeat the call; or call"
    " request_upload for a new address."
)
SAVE_EARLIER_HINT = "Call save_video with the task_id of that task, then look again."
EXPIRED_HINT = "Call save_video soon after a task has finished to keep its result for longer than seven days."


class Uploads:
    """Turns what a caller named as source into a URL that RunAPI can fetch (contract 5.1)."""

    def __init__(
        self,
        ledger: Ledger,
        runapi: RunAPI,
        transfers: Transfers,
        settings: Settings,
        now: Clock,
        observer: Observer,
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._transfers = transfers
        self._roots = settings.readable_folders
        self._implicit_roots = settings.implicit_folders
        self._saved_folders = (settings.output_dir, *self._roots)
        self._discreet = settings.serves_http
        self._upload_hint = UPLOAD_HINT if settings.takes_uploads else ""
        self._now = now
        self._observer = observer
        self._links = Links(ledger, runapi, now)
        self._clips = Clips()
        self._under_way: dict[str, anyio.Lock] = {}
        self._attached: list[Clip] = []

    async def inspect_source_file(self, source: str, caller: str) -> Clip | None:
        """Give the clip that a source names by its content, as files do; None for other sources.

        Raises a `Source…` error or `InvalidRequest`.
        """
        match parse_source(source):
            case LocalFile(path):
                return await self._clips.inspect(await self._allowed(path))
            case AttachedClip(digest):
                return self._find_attached(digest) or Clip.known_by(digest)
            case UploadedClip(upload_id):
                return await self._find_uploaded(upload_id, caller)
            case _:
                return None

    @asynccontextmanager
    async def attached(self, path: Path) -> AsyncGenerator[str]:
        """Give the source that names a clip that a host handed over, by its content; it can be uploaded inside.

        Raises `SourceNotFound` if it is no whole MP4 or MOV video.
        """
        clip = await self._clips.inspect(path)
        self._attached.append(clip)
        try:
            yield clip_uri(clip.digest)
        finally:
            self._attached.remove(clip)

    async def bring_received(self, path: Path, caller: str) -> Clip:
        """Upload a clip that somebody sent to this server, unless RunAPI has its content.

        Raises `SourceNotFound` if it is no whole MP4 or MOV video, and the failures of uploads.
        """
        clip = await self._clips.inspect(path)
        await self._upload_once(clip, caller, lasting=RECEIVED_SECONDS)
        return clip

    async def check_kept(self, source: str, digest: str) -> None:
        """Raise `SourceNotFound` for a clip that RunAPI keeps no more (sent by a ticket), or that no call brings."""
        match parse_source(source):
            case UploadedClip():
                await self._find_brought(digest, UPLOAD_AGAIN_HINT)
            case AttachedClip():
                self._handed_over(digest)
            case _:
                return

    async def _find_uploaded(self, upload_id: str, caller: str) -> Clip:
        ticket = await self._ledger.tickets.find(upload_id)
        if ticket is None or ticket.caller != caller or not ticket.digest:
            raise SourceNotFound(NOTHING_ARRIVED, hint=NOTHING_ARRIVED_HINT)
        return Clip.known_by(ticket.digest)._replace(seconds=ticket.seconds)

    async def bring_attached(self, task: Task) -> None:
        """Upload the clip that a new task was handed, if any: after its call it is gone.

        Raises `SourceNotFound` where none was handed over, and the failures of uploads.
        """
        found = parse_source(task.request.source)
        if not isinstance(found, AttachedClip):
            return
        clip = self._handed_over(found.digest)
        with anyio.move_on_after(BRING_SECONDS):
            await self._upload_once(clip, task.caller, task.key)
            return
        raise ServiceUnavailable(
            f"The attached video did not reach RunAPI within {BRING_SECONDS:.0f} seconds.", hint=ATTACH_HINT
        )

    def _find_attached(self, digest: str) -> Clip | None:
        return next((clip for clip in self._attached if clip.digest == digest), None)

    def _handed_over(self, digest: str) -> Clip:
        if clip := self._find_attached(digest):
            return clip
        raise SourceNotFound("source_video_url: the attached video is not kept here.", hint=ATTACH_HINT)

    async def saved_output(self, source: str, caller: str) -> Clip | None:
        """Give the saved clip of an earlier task that must be uploaded because its link does not last; else None.

        Raises a `Source…` error for a result that cannot be had.
        """
        found = parse_source(source)
        output = await self._output_of(found.task_id, caller) if isinstance(found, TaskOutput) else None
        return await self._clips.inspect(output.path) if isinstance(output, LocalFile) else None

    async def check(self, source: str, caller: str) -> None:
        """Check that a source can be used now; raise a `Source…` error or `InvalidRequest`."""
        await self.inspect_source_file(source, caller)
        await self.saved_output(source, caller)

    async def resolve_url(self, task: Task) -> str:
        """Give the URL of a source, uploading it if it is a file on this machine; raise a `LumaError`."""
        match parse_source(task.request.source):
            case PublicUrl(url):
                return url
            case LocalFile(path):
                return await self._upload_file(task, await self._allowed(path))
            case TaskOutput(task_id):
                output = await self._output_of(task_id, task.caller, answering=True)
                return output.url if isinstance(output, PublicUrl) else await self._upload_file(task, output.path)
            case AttachedClip(digest):
                return await self._find_brought(digest, ATTACH_HINT)
            case UploadedClip():
                return await self._find_brought(task.source_digest, UPLOAD_AGAIN_HINT)

    async def find_source_file(self, task: Task) -> Path:
        """Give the file on this machine that a task was made of, by the same rules as when it was uploaded.

        Raises `InvalidRequest` or a `Source…` error, also where the file has another size by now.
        """
        match parse_source(task.request.source):
            case LocalFile(path):
                return await unchanged_file(await self._allowed(path), task)
            case TaskOutput(task_id):
                earlier, folders = await self._completed_task(task_id, task.caller), self._saved_folders
                saved = await anyio.to_thread.run_sync(find_saved_video, earlier, folders, abandon_on_cancel=True)
                if saved:
                    return saved
                raise SourceNotFound(f"The result of task {task_id} is not saved.", hint=SAVE_EARLIER_HINT)
            case PublicUrl():
                raise SourceNotFound("This task was made of a clip on the internet.", hint="See source_video_url.")
            case AttachedClip():
                raise SourceNotFound("This task was made of an attached video, which is not kept.", hint=CHANGED_HINT)
            case UploadedClip():
                raise SourceNotFound("This task was made of an uploaded video, which is not kept.", hint=CHANGED_HINT)

    async def _find_brought(self, digest: str, hint: str) -> str:
        """Give the URL of a clip that was uploaded before its task was made; raise `SourceNotFound`."""
        long_enough = self._now() + MIN_URL_LIFETIME_SECONDS
        if url := await self._ledger.uploads.find_url(self._runapi.account, digest, long_enough):
            return url
        came = "attached" if hint == ATTACH_HINT else "uploaded"
        raise SourceNotFound(f"RunAPI does not keep the {came} video any more.", hint=hint)

    async def forget_upload(self, task: Task) -> None:
        """Let the clip of a failed task be uploaded anew the next time: RunAPI may have lost it."""
        if task.source_bytes is not None:
            await self._ledger.uploads.forget(task.source_url, self._now())

    async def _allowed(self, path: Path) -> Path:
        """Find an allowed file; callers from other machines do not learn what else there is on this one."""
        try:
            find = partial(resolve_allowed_file, path, self._roots, unnamed=self._implicit_roots)
            return await anyio.to_thread.run_sync(find, abandon_on_cancel=True)
        except (SourceNotAllowed, SourceNotFound) as error:
            if self._discreet and self._roots:
                raise SourceNotAllowed(NOT_HERE, hint=NO_FILES_HINT + self._upload_hint) from None
            error.hint += self._upload_hint
            raise

    async def _output_of(self, task_id: str, caller: str, *, answering: bool = False) -> PublicUrl | LocalFile:
        """Find the result of an earlier task, by link or on disk; with `answering`, the link is tried first."""
        earlier = await self._completed_task(task_id, caller)
        left = (earlier.expires_at or 0) - self._now() if earlier.video_urls else 0.0
        saved = await anyio.to_thread.run_sync(find_saved_video, earlier, self._saved_folders, abandon_on_cancel=True)
        if left > MIN_URL_LIFETIME_SECONDS or (left > 0 and not saved):
            try:
                find = self._links.find_working_link
                return PublicUrl(await find(earlier, alone=not saved) if answering else earlier.video_urls[0])
            except DownloadFailed as failure:
                if not saved:
                    raise output_error(failure, task_id) from failure
        if saved:
            return LocalFile(saved)
        raise SourceNotFound(
            f"source_video_url: the output of task {task_id} has expired at RunAPI and there is no saved file.",
            hint=EXPIRED_HINT,
        )

    async def _completed_task(self, task_id: str, caller: str) -> Task:
        earlier = await self._ledger.find(caller, task_id)
        if earlier is None:
            raise SourceNotFound(f"source_video_url: there is no finished task {task_id[:80]!r} to continue from.")
        if not earlier.status.done:
            hint = "Wait for its end with get_task, then call modify_video again."
            raise SourceNotFound(f"source_video_url: task {task_id} is still {earlier.status}.", hint=hint)
        if earlier.status is not Status.COMPLETED:
            hint = "Continue from another task, or from the clip that this one was made of."
            raise SourceNotFound(f"source_video_url: task {task_id} has failed, so it has no result.", hint=hint)
        return earlier

    async def _upload_file(self, task: Task, path: Path) -> str:
        clip = await self._clips.inspect(path)
        if task.source_digest not in ("", clip.digest):
            raise changed_clip_error(clip)
        return await self._upload_once(clip, task.caller, task.key)

    async def _upload_once(
        self, clip: Clip, caller: str, key: str = "", *, lasting: float = MIN_URL_LIFETIME_SECONDS
    ) -> str:
        """Give the URL of a caller's clip, uploaded if none is known that lasts for so many seconds.

        `key` is that of its task, empty where there is none yet.
        """
        async with self._alone(clip.digest):
            long_enough = self._now() + lasting
            if url := await self._ledger.uploads.find_url(self._runapi.account, clip.digest, long_enough):
                return url
            try:
                with self._observer.operation("upload", caller, key):
                    return await self._upload(key, clip)
            except InvalidRequest as error:
                raise InvalidRequest(f"{clip}: {error.message}", hint=error.hint) from error

    async def _upload(self, key: str, clip: Clip) -> str:
        """Upload a clip; a refused address may have expired, so one more is asked for."""
        begun = self._now()
        try:
            target = await self._send(key, clip)
        except UploadRefused:
            target = await self._send(key, clip)
        failpoints.reach("upload.sent")
        stored = await self._runapi.confirm_upload(target)
        failpoints.reach("upload.confirmed")
        account = self._runapi.account  # by now, as its key may have been replaced
        await self._ledger.uploads.remember(account, clip.digest, stored.url, begun + stored.seconds, self._now())
        return stored.url

    async def _send(self, key: str, clip: Clip) -> UploadTarget:
        name = clip.path.name.encode(errors="replace").decode()
        target = await self._runapi.prepare_upload(name, clip.size, clip.md5)
        failpoints.reach("upload.prepared")
        with self._transfers.moving(key, clip.size) as moved:
            async with aclosing(Content(clip, moved)) as content:
                try:
                    await self._runapi.put_upload(target, clip.size, content)
                except OSError as error:
                    raise SourceNotFound(f"{clip} cannot be read: {error.strerror}.") from error
        return target

    @asynccontextmanager
    async def _alone(self, digest: str) -> AsyncGenerator[None]:
        """Upload each content once, however many tasks ask for it at the same time."""
        lock = self._under_way.setdefault(digest, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._under_way.pop(digest, None)


async def unchanged_file(path: Path, task: Task) -> Path:
    """Give a source file; raise `SourceNotFound` if its size is not that of the clip that was uploaded."""
    try:
        size = (await anyio.Path(path).stat()).st_size
    except OSError as error:
        raise SourceNotFound(f"The source file {path.name} cannot be read: {error.strerror}.") from error
    if task.source_bytes not in (None, size):
        raise SourceNotFound(f"The source file {path.name} has changed since it was uploaded.", hint=CHANGED_HINT)
    if not await anyio.to_thread.run_sync(is_video, path):
        raise SourceNotFound(f"The source file {path.name} is no video.", hint=CHANGED_HINT)
    return path


def output_error(failure: DownloadFailed, task_id: str) -> LumaError:
    if isinstance(failure, LinkRefused | VideoUnusable | DownloadRefused):
        hint = failure.hint if isinstance(failure, DownloadRefused) else REFUSED_HINT
        return SourceNotFound(
            f"source_video_url: the output of task {task_id} cannot be had. {failure.message}", hint=hint
        )
    return ServiceUnavailable(f"The output of task {task_id} cannot be had now. {failure.message}")
