"""A look at what was made: frames of a finished task's video below those of its source, and what to look at."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from luma_mcp.app.save import PREVIEW_SECONDS, VideoSaver, check_completed
from luma_mcp.core.errors import LumaError, PreviewFailed, VideoGone, VideoUrlMissing
from luma_mcp.core.models import SANDBOX_ORIGIN, Task
from luma_mcp.core.text import sanitise_text
from luma_mcp.media.files import find_saved_video, megabytes
from luma_mcp.media.links import Links
from luma_mcp.media.parts import fetch_part
from luma_mcp.media.preview import ContactSheet, ContactSheets, SheetFacts, VideoStream
from luma_mcp.media.sheet_process import SheetVideo
from luma_mcp.media.sources import AttachedClip, LocalFile, PublicUrl, TaskOutput, UploadedClip, parse_source
from luma_mcp.media.uploads import Uploads
from luma_mcp.runapi.ssrf import DownloadGuard

UNFINISHED_HINT = "Wait for its end with get_task, then call preview_video again."
LATE_HINT = "Call preview_video again in a minute, or let the user look at the video itself."
NOT_READ = "its file is not where it was, or may not be read"
CHANGED = "its file has changed since"
NOT_FETCHED = "it could not be fetched from where it was"
GONE = "the result that it was is gone"
ADVICE = (
    "Compare the frames with the prompt before you tell the user that it worked: is what was asked for there, and is"
    " the rest as it was? Single frames show neither motion nor sound: for these the user has to look at the video."
)
SANDBOX_LINE = "This is the sandbox: the result is a stand-in, so it need not fit the prompt."


@dataclass(frozen=True, slots=True)
class Preview:
    """A contact sheet as a JPEG, what it shows, and what to say of it."""

    jpeg: bytes
    lines: tuple[str, ...]  # what it is
    advice: str  # to a model: what to look at
    shows: Literal["source and result", "result"]


@dataclass(frozen=True, slots=True)
class VideoPlace:
    """Where a video is, a file or a link, and what tells it from any other."""

    identity: str
    path: Path | None = None
    url: str = ""
    linked: Task | None = None  # the task whose result the link leads to


@dataclass(frozen=True, slots=True)
class Previewer:
    """Makes previews of finished tasks."""

    sheets: ContactSheets
    saver: VideoSaver
    uploads: Uploads
    links: Links
    source_guard: DownloadGuard

    async def preview(self, task: Task, caller: str) -> Preview:
        """Give a preview of a task of the caller's.

        Raises `InvalidRequest`, `DownloadFailed`, `PreviewToolMissing` or `OutputNotWritable`.
        """
        with anyio.move_on_after(PREVIEW_SECONDS):
            current = await self.saver.current_task(task)
            result = await self._result_place(current)
            source = await self._source_place(task, caller)
            sheet, missing = await self._sheet(task, result, source)
            return describe_sheet(task, sheet, missing)
        raise PreviewFailed(f"The preview was not ready after {PREVIEW_SECONDS:.0f} seconds.", hint=LATE_HINT)

    async def _sheet(self, task: Task, result: VideoPlace, source: VideoPlace | str) -> tuple[ContactSheet, str]:
        """Give a sheet, kept or new, and why its source is missing; only one with all that there is, is kept."""
        known = source.identity if isinstance(source, VideoPlace) else source
        name = hashlib.sha256("\n".join((task.key, result.identity, known)).encode()).hexdigest()
        missing = "" if isinstance(source, VideoPlace) else source
        if sheet := await self.sheets.find_sheet(name):
            return sheet, missing
        self.sheets.check_available()
        async with self.sheets.turn:
            if sheet := await self.sheets.find_sheet(name):
                return sheet, missing
            sheet, fetched = await self._drawn(result, source)
            if fetched:
                await self.sheets.keep(name, sheet)
            return sheet, missing if fetched else NOT_FETCHED

    async def _drawn(self, result: VideoPlace, source: VideoPlace | str) -> tuple[ContactSheet, bool]:
        """Make a sheet, and tell whether its source could be fetched, where there is one to be fetched."""
        with ExitStack() as parts:
            video = await self._fetched(result, parts)
            try:
                other = await self._fetched(source, parts) if isinstance(source, VideoPlace) else None
            except LumaError:
                return await self.sheets.draw(video, None), False
            return await self.sheets.draw(video, other), True

    async def _fetched(self, place: VideoPlace, parts: ExitStack) -> SheetVideo:
        """Give a video as a file: its own, or one that holds its beginning for as long as `parts` is open."""
        if place.path:
            return SheetVideo(place.path)
        guard, url = self.source_guard, place.url
        if place.linked:
            guard, url = self.links.runapi.download_guard, await self.links.find_working_link(place.linked, alone=True)
        part = parts.enter_context(self.sheets.part())
        try:
            share = await fetch_part(self.links.runapi.connection, guard, url, part)
        except OSError as error:
            raise PreviewFailed(f"{part.parent} cannot be written: {error.strerror}.") from error
        return SheetVideo(part, share)

    async def _result_place(self, task: Task) -> VideoPlace:
        """Find the video of a task as it stands now; raise the error that says why there is none."""
        check_completed(task, UNFINISHED_HINT)
        find = partial(find_saved_file, task, self.saver.saved_folders)
        if task.video_path and (found := await anyio.to_thread.run_sync(find, abandon_on_cancel=True)):
            return found
        if not task.video_urls:
            raise VideoUrlMissing
        if not task.is_available(self.saver.now()):
            raise VideoGone("RunAPI keeps a video for seven days, and these are over; there is no saved file.")
        return VideoPlace(f"link of {task.key}", url=task.video_urls[0], linked=task)

    async def _source_place(self, task: Task, caller: str) -> VideoPlace | str:
        """Find a task's source by the rules for sources; where it cannot be shown, say why."""
        try:
            match parse_source(task.request.source):
                case PublicUrl(url):
                    return VideoPlace(f"address {url}", url=url)
                case LocalFile():
                    clip = await self.uploads.inspect_source_file(task.request.source, caller)
                    if clip is None or (task.source_digest and clip.digest != task.source_digest):
                        return CHANGED
                    return VideoPlace(f"file {clip.digest}", clip.path)
                case TaskOutput(task_id):
                    return await self._earlier_result(task_id, caller)
                case AttachedClip() | UploadedClip():
                    return NOT_READ
        except LumaError:
            return NOT_READ

    async def _earlier_result(self, task_id: str, caller: str) -> VideoPlace | str:
        try:
            earlier = await self.saver.ledger.find(caller, task_id)
            return await self._result_place(await self.saver.current_task(earlier)) if earlier else GONE
        except LumaError:
            return GONE


def find_saved_file(task: Task, folders: Sequence[Path]) -> VideoPlace | None:
    path = find_saved_video(task, folders)
    if path is None:
        return None
    found = os.stat(path)
    return VideoPlace(f"file {path} {found.st_size} {found.st_mtime_ns}", path)


def describe_sheet(task: Task, sheet: ContactSheet, missing: str) -> Preview:
    """Say what a sheet shows; `missing` is why the source is not on it."""
    facts = sheet.facts
    sandbox = (SANDBOX_LINE,) if task.origin == SANDBOX_ORIGIN else ()
    lines = (*row_sentences(facts, missing), *sandbox)
    advice = f'{ADVICE} The prompt: "{sanitise_text(task.request.prompt)}"'
    return Preview(sheet.jpeg, lines, advice, "source and result" if facts.source else "result")


def row_sentences(facts: SheetFacts, missing: str) -> Iterator[str]:
    moments = ", ".join(f"{moment:.1f}" for moment in facts.moments)
    if facts.source:
        yield f"Upper row: the source at {moments} seconds. Lower row: the result at the same moments."
    else:
        reason = missing or (f"its file {facts.fault}" if facts.fault else "it cannot be shown")
        yield f"Frames of the result at {moments} seconds. The source is not shown: {reason}."
    yield f"Result: {stream_words(facts.result)}."
    if facts.source:
        yield f"Source: {stream_words(facts.source)}."
    if facts.result.share < 1:
        yield f"Only the beginning of the result was fetched ({facts.result.share:.0%}), and the frames are from there."


def stream_words(stream: VideoStream) -> str:
    sound = f"sound {stream.sound}" if stream.sound else "no sound"
    rate = f"{round(stream.frames_per_second, 2):g} frames a second"
    size = f"{stream.width}x{stream.height} pixels"
    return f"{megabytes(stream.size_bytes)}, {size}, {stream.seconds:.1f} s, {rate}, {stream.codec}, {sound}"
