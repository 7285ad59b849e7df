"""Whether a file is a whole film: a chain of boxes from its first byte, with a movie header and what that names.

Of each box the head is read, of the movie header some numbers, of the content nothing. What lies behind a whole film,
as cameras and editors put it there, does not matter.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import StrEnum
from io import BytesIO
from itertools import islice
from typing import BinaryIO

from luma_mcp.media.boxes import Box, Boxes
from luma_mcp.media.mp4 import FIRST_BOXES, HEAD_BYTES, looks_like_video
from luma_mcp.media.samples import samples_in

MOST_OUTERMOST = 1000
MOST_TRACKS = 64
LARGEST_HEADER_BYTES = 1 << 24
CONTENT = (b"mdat", b"imda")
OUTERMOST = FIRST_BOXES | {b"moof", b"mfra", b"sidx", b"ssix", b"prft", b"emsg", b"meta", b"udta", b"imda"}


class Flaw(StrEnum):
    """What keeps a file from being a whole film, as the end of a sentence about it."""

    NONE = ""
    OTHER = "is not an MP4 or MOV video"
    CUT_OFF = "is cut off: its end is missing"
    NO_HEADER = "has no movie header (moov): it was cut off, or its recording was never ended"
    NO_PICTURES = "has no video track with pictures in it"

    @property
    def may_be_missing_its_end(self) -> bool:
        """Tell whether more bytes could mend the file."""
        return self in (Flaw.CUT_OFF, Flaw.NO_HEADER)


def flaw_in(file: BinaryIO, size: int) -> Flaw:
    """Tell what keeps a file of `size` bytes from being a whole film; raise `OSError`."""
    boxes = Boxes(file, size)
    if not looks_like_video(boxes.read(0, HEAD_BYTES)):
        return Flaw.OTHER
    try:
        return Film(boxes).flaw()
    except struct.error:
        return Flaw.CUT_OFF


def is_chained(file: BinaryIO, size: int) -> bool:
    """Tell by a few heads whether a file can be a film that was whole once: its boxes fit, one is a movie header."""
    boxes = Boxes(file, size, MOST_OUTERMOST)
    if not looks_like_video(boxes.read(0, HEAD_BYTES)):
        return False
    try:
        outermost = [box for box in boxes.between(0, size) if box.kind in OUTERMOST]
    except struct.error:
        return False
    return any(box.kind == b"moov" for box in outermost) and all(box.stop <= size for box in outermost)


class Film:
    """What the outermost boxes of a file hold, as far as they were gone through."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self._ends = 0
        self._tracks: set[int] = set()
        self._header = self._video = self._pictures = self._content = self._fragment_begun = False

    def flaw(self) -> Flaw:
        """Go through the file and tell what is wrong with it."""
        reached = 0
        for box in self._boxes.between(0, self._boxes.size):
            if box.stop > self._boxes.size:
                if box.kind in OUTERMOST:
                    return Flaw.CUT_OFF
                break
            self._take(box)
            reached = box.stop
        if not self._header:
            return Flaw.NO_HEADER if reached == self._boxes.size else Flaw.OTHER
        if self._video and (self._ends > self._boxes.size or self._fragment_begun or not self._content):
            return Flaw.CUT_OFF
        return Flaw.NONE if self._pictures else Flaw.NO_PICTURES

    def _take(self, box: Box) -> None:
        if box.kind in CONTENT:
            self._content, self._fragment_begun = True, False
        elif box.kind == b"moof":
            self._fragment_begun = True
            self._pictures = self._pictures or self._has_pictures(box)
        elif box.kind == b"moov" and not self._header:
            self._header = True
            self._take_header(box)

    def _take_header(self, movie: Box) -> None:
        for boxes, track in islice(tracks(self._boxes, movie), MOST_TRACKS):
            pictured = is_video(boxes, track)
            if pictured:
                self._video = True
                self._tracks.update(islice(track_numbers(boxes, track), 1))
            for table in islice(boxes.along(track, b"mdia", b"minf", b"stbl"), 1):
                samples = samples_in(boxes, table)
                self._pictures = self._pictures or (pictured and samples.count > 0)
                self._ends = max(self._ends, samples.end)

    def _has_pictures(self, fragment: Box) -> bool:
        """Tell whether a fragment has samples of a track of pictures."""
        for part in self._boxes.inside(fragment, b"traf"):
            for header in islice(self._boxes.inside(part, b"tfhd"), 1):
                if self._boxes.numbers(">4xI", header.inside)[0] in self._tracks:
                    runs = self._boxes.inside(part, b"trun")
                    return any(self._boxes.numbers(">4xI", run.inside)[0] for run in runs)
        return False


def tracks(boxes: Boxes, movie: Box) -> Iterator[tuple[Boxes, Box]]:
    """Yield the tracks of a movie header, and what they are read with: old QuickTime may have it compressed."""
    for track in boxes.inside(movie, b"trak"):
        yield boxes, track
    for packed in islice(boxes.along(movie, b"cmov", b"cmvd"), 1):
        header = unpacked(boxes.read(packed.inside + 4, min(packed.stop - packed.inside, LARGEST_HEADER_BYTES)))
        inner = Boxes(BytesIO(header), len(header))
        for track in inner.along(Box(b"", 0, len(header)), b"moov", b"trak"):
            yield inner, track


def unpacked(content: bytes) -> bytes:
    """Undo zlib's compression, up to a bound; nothing for what is not compressed so."""
    try:
        return zlib.decompressobj().decompress(content, LARGEST_HEADER_BYTES)
    except zlib.error:
        return b""


def is_video(boxes: Boxes, track: Box) -> bool:
    """Tell whether a track is one of pictures that move."""
    return any(boxes.read(handler.inside + 8, 4) == b"vide" for handler in boxes.along(track, b"mdia", b"hdlr"))


def track_numbers(boxes: Boxes, track: Box) -> Iterator[int]:
    """Yield the number by which fragments name a track."""
    for header in boxes.inside(track, b"tkhd"):
        wide = boxes.read(header.inside, 1) == b"\1"
        yield boxes.numbers(">20xI" if wide else ">12xI", header.inside)[0]
