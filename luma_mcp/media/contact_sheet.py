"""What is found in videos, and how their frames are laid out on one sheet, whatever decodes them."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO, Protocol, TypeVar

Cell = TypeVar("Cell")
Size = tuple[int, int]
COLUMNS, ROWS, GAP = 3, 2, 4
MAX_CELL_WIDTH = 320
MAX_CELL_PIXELS = 71_000  # six of them are at most 600 tokens, at 750 pixels each
MAX_ASPECT = 4.0
MAX_PICTURE_BYTES = 60_000
QUANTIZERS = (4, 7, 12, 20, 31)  # of JPEG: the first whose picture is small enough
MAX_PIXELS = 7680 * 4320  # of a frame
MAX_SECONDS = 15  # for one sheet
NO_READER, UNUSABLE = "no reader", "unusable"  # why there is none
OLD_CODECS = ("cfhd", "dnxhd", "h263", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "prores", "qtrle", "rawvideo")
CODECS = frozenset(("av1", "h264", "hevc", "vp8", "vp9", *OLD_CODECS))


class MediaUnusable(Exception):
    """What a file holds cannot be shown, for the reason that is the end of a sentence."""


@dataclass(frozen=True, slots=True)
class OpenVideo:
    """A video that is open for reading; of one that was fetched in part, `share` is how much, 0..1."""

    file: BinaryIO
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a video is; names are FFmpeg's, and 0 or empty is what it does not say."""

    width: int
    height: int
    seconds: float
    frames_per_second: float
    codec: str
    sound: str
    size_bytes: int = 0  # of the whole file
    share: float = 1.0  # of it that there was to look into


class FrameReader(Protocol[Cell]):
    """What decodes videos and encodes the sheet; `Cell` is its form of a small frame."""

    def read_facts(self, video: OpenVideo) -> StreamFacts:
        """Read the headers; raise `MediaUnusable`."""
        ...

    def read_cells(self, video: OpenVideo, moments: Sequence[float], size: Size) -> list[Cell]:
        """Give the frames at some moments (seconds, ascending), fit into `size`; raise `MediaUnusable` for none."""
        ...

    def encode_sheet(self, cells: Sequence[Cell], size: Size, quantizer: int) -> bytes:
        """Lay cells of a size out in rows, and give the JPEG."""
        ...


def cell_size(facts: StreamFacts) -> Size:
    """Give even width and height of a frame on the sheet, so that the whole is small for whoever looks at it."""
    aspect = min(max(facts.width / facts.height, 1 / MAX_ASPECT), MAX_ASPECT)
    width = min(MAX_CELL_WIDTH, math.sqrt(MAX_CELL_PIXELS * aspect))
    return int(width) // 2 * 2, int(width / aspect) // 2 * 2


def sheet_moments(seconds: float, count: int) -> list[float]:
    """Spread moments evenly: each is the middle of its part of the video."""
    return [round(seconds * (number + 0.5) / count, 2) for number in range(count)]


def draw_sheet(reader: FrameReader[Cell], videos: Sequence[OpenVideo]) -> tuple[dict[str, Any], bytes]:
    """Make the sheet of a result (the first video), its source in the row above where that can be shown.

    Raises `MediaUnusable` for a result that cannot be.
    """
    result, *others = videos
    facts = read_stream(reader, result)
    size = cell_size(facts)
    shown = facts.seconds * result.share
    source, above, fault = None, list[Cell](), ""
    moments = sheet_moments(shown, COLUMNS)
    for video in others:
        try:
            source = read_stream(reader, video)
            above = reader.read_cells(video, moments, size)
        except MediaUnusable as error:
            source, fault = None, str(error)
    if source is None:
        moments = sheet_moments(shown, COLUMNS * ROWS)
    cells = [*above, *reader.read_cells(result, moments, size)] if source else reader.read_cells(result, moments, size)
    found = {"result": asdict(facts), "source": asdict(source) if source else None, "moments": moments, "fault": fault}
    return found, smallest_enough(reader, cells, size)


def read_stream(reader: FrameReader[Cell], video: OpenVideo) -> StreamFacts:
    size = os.fstat(video.file.fileno()).st_size
    return replace(reader.read_facts(video), size_bytes=int(size / video.share), share=video.share)


def smallest_enough(reader: FrameReader[Cell], cells: Sequence[Cell], size: Size) -> bytes:
    picture = b""
    for quantizer in QUANTIZERS:
        picture = reader.encode_sheet(cells, size, quantizer)
        if len(picture) <= MAX_PICTURE_BYTES:
            break
    return picture


def check_stream(codec: str, width: int, height: int) -> None:
    """Raise `MediaUnusable` for what is not decoded at all: rare formats, and frames larger than 8K."""
    if codec not in CODECS:
        raise MediaUnusable("is in a format whose frames are not shown here")
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise MediaUnusable(f"has frames of {width}x{height} pixels, which are not shown")
