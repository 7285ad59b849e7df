"""Source clips to RunAPI: allowed files are uploaded in pieces, once for each content, and earlier outputs reused."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from luma_mcp.core import failpoints
from luma_mcp.core.errors import InvalidRequest, LumaError, ServiceUnavailable, SourceNotAllowed, SourceNotFound
from luma_mcp.core.models import LEAST_LIFE_SECONDS, Clock, Status, Task
from luma_mcp.core.storage_errors import DownloadFailed, DownloadRefused, LinkRefused, NoVideoThere, UploadRefused
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.clips import CHANGED_HINT, Clip, Clips, Content
from luma_mcp.media.kept_files import kept_at
from luma_mcp.media.links import Links
from luma_mcp.media.sources import NO_FILES_HINT, LocalFile, PublicUrl, TaskOutput, allowed_file, parse_source
from luma_mcp.media.transfers import Transfers
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.upload_targets import UploadTarget

NOT_HERE = "source_video_url: there is no such file in the folders that this server may read."
REFUSED_HINT = (
    "RunAPI names no other link, and there is no saved file. Nothing was submitted. Try again later, continue from"
    " another task, or give the clip that this one was made of."
)
EXPIRED_HINT = "Call save_video soon after a task has finished to keep its result for longer than seven days."


class Uploads:
    """Turns what a caller named as source into something that RunAPI can fetch (contract 5.1)."""

    def __init__(
        self,
        ledger: Ledger,
        runapi: RunAPI,
        transfers: Transfers,
        roots: Sequence[Path],
        now: Clock,
        *,
        unnamed: Sequence[Path] = (),
        kept_in: Sequence[Path],
        discreet: bool = False,
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._transfers = transfers
        self._roots = roots
        self._unnamed = unnamed
        self._kept_in = kept_in
        self._discreet = discreet
        self._now = now
        self._links = Links(ledger, runapi, now)
        self._clips = Clips()
        self._under_way: dict[str, anyio.Lock] = {}

    async def named_clip(self, source: str) -> Clip | None:
        """Give the clip whose content names a source: none for what is named as it is written.

        Raises a `Source…` error or `InvalidRequest`.
        """
        found = parse_source(source)
        return await self._clips.inspect(await self._allowed(found.path)) if isinstance(found, LocalFile) else None

    async def kept_output(self, source: str, caller: str) -> Clip | None:
        """Give the saved clip of an earlier task that must be uploaded because its link does not last; none for others.

        Raises a `Source…` error for a result that cannot be had.
        """
        found = parse_source(source)
        output = await self._output_of(found.task_id, caller) if isinstance(found, TaskOutput) else ""
        return None if isinstance(output, str) else await self._clips.inspect(output)

    async def check(self, source: str, caller: str) -> None:
        """Check that a source can be used now; raise a `Source…` error or `InvalidRequest`."""
        await self.named_clip(source)
        await self.kept_output(source, caller)

    async def url(self, task: Task) -> str:
        """Give the URL of a checked source, uploading it if it is a file on this machine."""
        match parse_source(task.request.source):
            case PublicUrl(url):
                return url
            case LocalFile(path):
                return await self._uploaded(task, await self._allowed(path))
            case TaskOutput(task_id):
                output = await self._output_of(task_id, task.caller, answering=True)
                return output if isinstance(output, str) else await self._uploaded(task, output)

    async def distrust(self, task: Task) -> None:
        """Upload a clip anew the next time, because a task with it has failed, perhaps for want of it."""
        if task.source_bytes is not None:
            await self._ledger.uploads.forget(task.source_url, self._now())

    async def _allowed(self, path: Path) -> Path:
        """Find an allowed file; callers from other machines do not learn what else there is on this one."""
        try:
            find = partial(allowed_file, path, self._roots, unnamed=self._unnamed)
            return await anyio.to_thread.run_sync(find, abandon_on_cancel=True)
        except (SourceNotAllowed, SourceNotFound):
            if self._discreet and self._roots:
                raise SourceNotAllowed(NOT_HERE, hint=NO_FILES_HINT) from None
            raise

    async def _output_of(self, task_id: str, caller: str, *, answering: bool = False) -> str | Path:
        """Find where the result of an earlier task lies, by link or on disk; an `answering` link has been tried."""
        earlier = await self._ended(task_id, caller)
        left = (earlier.expires_at or 0) - self._now() if earlier.video_urls else 0.0
        saved = await anyio.to_thread.run_sync(kept_at, earlier, self._kept_in, abandon_on_cancel=True)
        if left > LEAST_LIFE_SECONDS or (left > 0 and not saved):
            try:
                return await self._links.that_answers(earlier, alone=not saved) if answering else earlier.video_urls[0]
            except DownloadFailed as failure:
                if not saved:
                    raise unusable(failure, task_id) from failure
        if saved:
            return saved
        raise SourceNotFound(
            f"source_video_url: the output of task {task_id} has expired at RunAPI and there is no saved file.",
            hint=EXPIRED_HINT,
        )

    async def _ended(self, task_id: str, caller: str) -> Task:
        """Find an earlier task that has a result."""
        earlier = await self._ledger.find(caller, task_id)
        if earlier and not earlier.status.done:
            hint = "Wait for its end with get_task, then call modify_video again."
            raise SourceNotFound(f"source_video_url: task {task_id} is still {earlier.status}.", hint=hint)
        if earlier and earlier.status is not Status.COMPLETED:
            hint = "Continue from another task, or from the clip that this one was made of."
            raise SourceNotFound(f"source_video_url: task {task_id} has failed, so it has no result.", hint=hint)
        if earlier is None:
            raise SourceNotFound(f"source_video_url: there is no finished task {task_id[:80]!r} to continue from.")
        return earlier

    async def _uploaded(self, task: Task, path: Path) -> str:
        """Give the URL of a clip at RunAPI, where it is brought unless it is there already."""
        clip = await self._clips.inspect(path)
        if task.source_digest not in ("", clip.digest):
            raise SourceNotFound(f"{clip} has changed since it was asked for.", hint=CHANGED_HINT)
        account = (self._runapi.origin, self._runapi.key_id)
        async with self._alone(clip.digest):
            long_enough = self._now() + LEAST_LIFE_SECONDS
            if url := await self._ledger.uploads.find(account, clip.digest, long_enough):
                return url
            try:
                return await self._upload(task, clip, account)
            except InvalidRequest as error:
                raise InvalidRequest(f"{clip}: {error.message}", hint=error.hint) from error

    async def _upload(self, task: Task, clip: Clip, account: tuple[str, str]) -> str:
        """Upload a clip; an address that does not take it may have expired, so one more is asked for."""
        begun = self._now()
        try:
            target = await self._send(task, clip)
        except UploadRefused:
            target = await self._send(task, clip)
        failpoints.reach("upload.sent")
        stored = await self._runapi.confirm_upload(target)
        failpoints.reach("upload.confirmed")
        await self._ledger.uploads.remember(account, clip.digest, stored.url, begun + stored.seconds, self._now())
        return stored.url

    async def _send(self, task: Task, clip: Clip) -> UploadTarget:
        """Ask for an address and send a clip there."""
        name = clip.path.name.encode(errors="replace").decode()
        target = await self._runapi.prepare_upload(name, clip.size, clip.md5)
        failpoints.reach("upload.prepared")
        with self._transfers.moving(task.key, clip.size) as moved:
            async with aclosing(Content(clip, moved)) as content:
                try:
                    await self._runapi.put_upload(target, clip.size, content)
                except OSError as error:
                    raise SourceNotFound(f"{clip} cannot be read: {error.strerror}.") from error
        return target

    @asynccontextmanager
    async def _alone(self, digest: str) -> AsyncGenerator[None]:
        """Bring each content to RunAPI once, however many tasks ask for it at the same time."""
        lock = self._under_way.setdefault(digest, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._under_way.pop(digest, None)


def unusable(failure: DownloadFailed, task_id: str) -> LumaError:
    """Say that a result cannot be continued from, before anything is paid: for good, or for the moment."""
    if isinstance(failure, LinkRefused | NoVideoThere | DownloadRefused):
        hint = failure.hint if isinstance(failure, DownloadRefused) else REFUSED_HINT
        return SourceNotFound(
            f"source_video_url: the output of task {task_id} cannot be had. {failure.message}", hint=hint
        )
    return ServiceUnavailable(f"The output of task {task_id} cannot be had now. {failure.message}")
