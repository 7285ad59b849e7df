"""Frames by PyAV, which brings FFmpeg's libraries: the extra `[preview]`."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import av.filter
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from luma_mcp.media.contact_sheet import (
    COLUMNS,
    GAP,
    MAX_PIXELS,
    MediaUnusable,
    OpenVideo,
    Size,
    StreamFacts,
    check_stream,
)

if TYPE_CHECKING:
    from av.container import InputContainer

THREADS = 2
SECONDS_PER_VIDEO = 6.0  # after these, the nearest frame that can be had at once will do
NEAR_SECONDS = Fraction(1)  # before a moment, frames that no other frame needs are left out
READ_BYTES = 1 << 18
TIME_BASE = Fraction(1, 25)
ROTATIONS = {-90: (("transpose", "clock"),), 90: (("transpose", "cclock"),), 180: (("hflip", ""), ("vflip", ""))}
# What titles say does not matter, in whatever encoding; from 19 on PyAV takes them all by itself.
TITLES: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
FAULTS = (av.FFmpegError, OSError, MemoryError, ValueError, OverflowError)


class PyAVReader:
    """Decodes and encodes in this process."""

    def read_facts(self, video: OpenVideo) -> StreamFacts:
        with opened(video) as (container, stream):
            context = stream.codec_context
            first = next(decoded(container, stream), None)
            if first is None:
                raise MediaUnusable("has no pictures")
            turned = first.rotation % 180 != 0
            width, height = (context.height, context.width) if turned else (context.width, context.height)
            sound = container.streams.best("audio")
            return StreamFacts(
                width,
                height,
                duration(container, stream),
                float(stream.average_rate or 0),
                context.name,
                sound.codec_context.name if sound else "",
            )

    def read_cells(self, video: OpenVideo, moments: Sequence[float], size: Size) -> list[VideoFrame]:
        with opened(video) as (container, stream):
            walk = Walk(container, stream)
            return [fit_frame(walk.frame_at(moment), size) for moment in moments]

    def encode_sheet(self, cells: Sequence[VideoFrame], size: Size, quantizer: int) -> bytes:
        rows = len(cells) // COLUMNS
        tile = ("tile", f"{COLUMNS}x{rows}:padding={GAP}:margin={GAP}:color=white")
        sheet = filtered(cells, (tile, ("format", "yuvj420p")))
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *size_of(sheet), "yuvj420p", TIME_BASE
        encoder.qmin = encoder.qmax = quantizer
        sheet.pts = 0
        return b"".join(bytes(packet) for packet in (*encoder.encode(sheet), *encoder.encode(None)))


def size_of(frame: VideoFrame) -> Size:
    return frame.width, frame.height


@contextmanager
def opened(video: OpenVideo) -> Generator[tuple["InputContainer", VideoStream]]:
    """Open a video as MP4 or MOV and as nothing else: other formats may name further files, or addresses.

    Raises `MediaUnusable`.
    """
    try:
        video.file.seek(0)
        with av.open(video.file, "r", "mov", buffer_size=READ_BYTES, **TITLES) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise MediaUnusable("has no pictures")
            context = stream.codec_context
            check_stream(context.name, context.width, context.height)
            context.thread_count, context.thread_type = THREADS, "AUTO"
            context.options = {"max_pixels": str(MAX_PIXELS)}
            yield container, stream
    except FAULTS as error:
        raise MediaUnusable("cannot be decoded") from error


def decoded(container: "InputContainer", stream: VideoStream) -> Iterator[VideoFrame]:
    return container.decode(stream)


def duration(container: "InputContainer", stream: VideoStream) -> float:
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0, container.duration or 0) / av.time_base


class Walk:
    """A walk through a video, forwards; it jumps only where a key frame lies between here and there."""

    def __init__(self, container: "InputContainer", stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._frames = decoded(container, stream)
        self._last: VideoFrame | None = None
        self._late = time.monotonic() + SECONDS_PER_VIDEO

    def frame_at(self, seconds: float) -> VideoFrame:
        """Give the frame at a moment, or the last before it; raise `MediaUnusable` if there is none."""
        target = (self._stream.start_time or 0) + int(Fraction(seconds) / (self._stream.time_base or TIME_BASE))
        if self._may_jump(target):
            self._container.seek(target, stream=self._stream)
            self._frames = decoded(self._container, self._stream)
        context, near = self._stream.codec_context, target - int(NEAR_SECONDS / (self._stream.time_base or TIME_BASE))
        context.skip_frame = "NONREF"
        try:
            for frame in self._frames:
                self._last = frame
                if frame.pts is None or frame.pts >= near:
                    context.skip_frame = "DEFAULT"
                if frame.pts is None or frame.pts >= target or time.monotonic() > self._late:
                    break
        except av.FFmpegError:
            if self._last is None:
                raise
        if self._last is None:
            raise MediaUnusable("has no pictures")
        return self._last

    def _may_jump(self, target: int) -> bool:
        index = self._stream.index_entries
        place = index.search_timestamp(target)
        here = self._last.pts if self._last and self._last.pts is not None else -1
        return not 0 <= place < len(index) or index[place].timestamp > here


def fit_frame(frame: VideoFrame, size: Size) -> VideoFrame:
    """Turn a frame upright and fit it into a size, with bars where its form is another."""
    width, height = size
    return filtered(
        [frame],
        (
            *ROTATIONS.get(180 if abs(frame.rotation) == 180 else frame.rotation, ()),
            ("scale", f"{width}:{height}:force_original_aspect_ratio=decrease:flags=area"),
            ("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2"),
            ("setsar", "1"),
            ("format", "yuvj420p"),
        ),
    )


def filtered(frames: Sequence[VideoFrame], filters: Sequence[tuple[str, str]]) -> VideoFrame:
    """Send frames of one form through FFmpeg's filters, which make one of them."""
    graph = av.filter.Graph()
    first = frames[0]
    source = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=TIME_BASE)
    graph.link_nodes(source, *(graph.add(*each) for each in filters), graph.add("buffersink")).configure()
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, TIME_BASE
        graph.push(frame)
    graph.push(None)
    return cast("VideoFrame", graph.pull())
