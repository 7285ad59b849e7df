"""MP4 and MOV files (ISO 14496-12, QuickTime): what they begin like, how long they last, whether they are whole.

Of each box the head is read, of headers and sample tables a bounded number of entries, of the content nothing: tables
can be long, and can say anything. What lies behind a whole film, as cameras and editors put it there, does not matter.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from itertools import islice
from typing import BinaryIO, NamedTuple

MAX_BOXES = 200_000  # a film of an hour in fragments of a second has 7200
SHORT_HEAD, LONG_HEAD = 8, 16
HEAD_BYTES = LONG_HEAD
MAX_DURATION_BOXES = 1000
MAX_DURATION_SECONDS = 1e7  # seconds; more is a mistake in the header
SMALL_FIRST_BOXES = frozenset(
    (b"ftyp", b"styp", b"wide", b"free", b"skip", b"uuid", b"pnot", b"junk", b"PICT", b"pict")
)
FIRST_BOXES = SMALL_FIRST_BOXES | {b"moov", b"mdat"}  # old QuickTime files begin with any of these
OTHER_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"), "a picture (HEIF)"),
    **dict.fromkeys((b"avif", b"avis"), "a picture (AVIF)"),
    b"crx ": "a picture (CR3)",
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "a sound file (M4A)"),
}
OTHER_KINDS = (
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska video"),
    (8, b"AVI ", "an AVI video"),
    (0, b"FLV", "a Flash video"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media video"),
    (0, b"\0\0\x01\xba", "an MPEG video"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"<", "a web page or another text"),
)
MAX_TABLE_ENTRIES = 1 << 16
MAX_TOP_LEVEL_BOXES = 1000
MAX_TRACKS = 64
MAX_MOVIE_BYTES = 1 << 24
CONTENT = (b"mdat", b"imda")
TOP_LEVEL_BOXES = FIRST_BOXES | {b"moof", b"mfra", b"sidx", b"ssix", b"prft", b"emsg", b"meta", b"udta", b"imda"}


class Box(NamedTuple):
    """A box of a kind."""

    kind: bytes
    inside: int  # where its contents begin
    stop: int  # where it says that it ends, which may be beyond the file


class Boxes:
    """Reads the boxes of a file of `size` bytes, at most `most` in all, however they are nested."""

    def __init__(self, file: BinaryIO, size: int, most: int = MAX_BOXES) -> None:
        self.size = size
        self._file = file
        self._left = most

    def between(self, start: int, end: int) -> Iterator[Box]:
        """Yield the boxes that follow each other from `start` on, up to what is no box."""
        while self._left and (box := self._at(start, end)):
            self._left -= 1
            yield box
            start = box.stop

    def children(self, box: Box, *kinds: bytes) -> Iterator[Box]:
        for found in self.between(box.inside, min(box.stop, self.size)):
            if found.kind in kinds:
                yield found

    def along(self, box: Box, *path: bytes) -> Iterator[Box]:
        if not path:
            yield box
            return
        for found in self.children(box, path[0]):
            yield from self.along(found, *path[1:])

    def read(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        return self._file.read(count)

    def numbers(self, layout: str, at: int) -> tuple[int, ...]:
        """Unpack whole numbers by a layout of `struct`; raise `struct.error` where the file ends too soon."""
        return struct.unpack(layout, self.read(at, struct.calcsize(layout)))

    def versioned(self, box: Box, narrow: str, wide: str) -> tuple[int, ...]:
        """Read numbers of a full box by the layout for its version; 1 is the one with wide fields."""
        return self.numbers(wide if self.read(box.inside, 1) == b"\1" else narrow, box.inside)

    def _at(self, start: int, end: int) -> Box | None:
        """Read the head of a box, None where there is none. Size 0 reaches to the end, 1 announces a long size."""
        if end - start < SHORT_HEAD:
            return None
        head = self.read(start, LONG_HEAD)
        length, kind = struct.unpack(">I4s", head[:SHORT_HEAD])
        if length == 1:
            long_length = int.from_bytes(head[SHORT_HEAD:]) if len(head) == LONG_HEAD else LONG_HEAD
            return Box(kind, start + LONG_HEAD, start + long_length) if long_length >= LONG_HEAD else None
        if length == 0:
            return Box(kind, start + SHORT_HEAD, end)
        return Box(kind, start + SHORT_HEAD, start + length) if length >= SHORT_HEAD else None


def looks_like_video(first: bytes, size: int | None = None) -> bool:
    """Tell by the first `HEAD_BYTES` whether a file could be MP4 or MOV: by kind, size and brand of its first box.

    `size` is how long the file is, where that is known: the box must end in it. Only the whole file can tell for sure.
    """
    length, kind = int.from_bytes(first[:4]), first[4:8]
    if kind not in FIRST_BOXES or (kind == b"ftyp" and first[8:12] in OTHER_BRANDS):
        return False
    if length == 1 and len(first) >= LONG_HEAD:
        length = int.from_bytes(first[8:LONG_HEAD])
    plausible = length < 1 << 24 or kind not in SMALL_FIRST_BOXES
    return plausible and (size is None or length <= size)


def other_kind(first: bytes) -> str:
    """Name what a file that is no MP4 or MOV looks like, by its first bytes; empty if unknown."""
    if not first:
        return "an empty file"
    if first[4:8] == b"ftyp":
        return OTHER_BRANDS.get(first[8:12], "")
    return next((kind for at, mark, kind in OTHER_KINDS if first[at:].startswith(mark)), "")


def read_duration(file: BinaryIO, size: int) -> float | None:
    """Read how many seconds a video of `size` bytes lasts, wherever in the file its header is.

    None if the header is missing, broken or does not say. Reads a few bytes of each box and none of the content.
    """
    try:
        return next((found for found in durations(Boxes(file, size, MAX_DURATION_BOXES)) if found is not None), None)
    except (struct.error, OSError):
        return None


def durations(boxes: Boxes) -> Iterator[float | None]:
    for movie in boxes.children(Box(b"", 0, boxes.size), b"moov"):
        scale = 0
        for header in boxes.children(movie, b"mvhd"):
            scale, length = movie_header(boxes, header)
            yield in_seconds(length, scale)
        for header in boxes.along(movie, b"mvex", b"mehd"):
            yield in_seconds(boxes.versioned(header, ">4xI", ">4xQ")[0], scale)


def movie_header(boxes: Boxes, header: Box) -> tuple[int, int]:
    """Read the time scale (units a second) and the length (units) of a movie."""
    scale, length = boxes.versioned(header, ">12xII", ">20xIQ")
    unknown = length in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    return scale, 0 if unknown else length


def in_seconds(length: int, scale: int) -> float | None:
    return length / scale if scale and 0 < length / scale < MAX_DURATION_SECONDS else None


@dataclass(frozen=True, slots=True)
class Samples:
    """What a sample table says of a track."""

    count: int
    end: int  # where in the file the last sample ends at the earliest; 0 if unknown


def samples_in(boxes: Boxes, table: Box) -> Samples:
    """Read a sample table; raise `struct.error` for one that is cut off."""
    for sizes in boxes.children(table, b"stsz", b"stz2"):
        common, count = boxes.numbers(">4xII", sizes.inside)
        chunks, last = last_chunk(boxes, table)
        if not (count and chunks):
            return Samples(count, 0)
        many = min(samples_of_last_chunk(boxes, table, chunks, count), count)
        if sizes.kind == b"stz2":
            return Samples(count, last)
        if common:
            return Samples(count, last + common * many)
        return Samples(count, last + sum_of_last(boxes, sizes, count, many))
    return Samples(0, 0)


def last_chunk(boxes: Boxes, table: Box) -> tuple[int, int]:
    """Give the number of chunks, and the offset in the file of the last one; 0, 0 if unknown."""
    for offsets in boxes.children(table, b"stco", b"co64"):
        layout, width = (">I", 4) if offsets.kind == b"stco" else (">Q", 8)
        (count,) = boxes.numbers(">4xI", offsets.inside)
        at = offsets.inside + 8 + (count - 1) * width
        if count and at + width <= offsets.stop:
            return count, boxes.numbers(layout, at)[0]
    return 0, 0


def samples_of_last_chunk(boxes: Boxes, table: Box, chunks: int, count: int) -> int:
    """Count the samples in the last chunk; 1 where the tables are too long or contradict each other."""
    if chunks == 1:
        return count
    for runs in boxes.children(table, b"stsc"):
        (many,) = boxes.numbers(">4xI", runs.inside)
        if 0 < many <= MAX_TABLE_ENTRIES and runs.inside + 8 + 12 * many <= runs.stop:
            entries = list(struct.iter_unpack(">III", boxes.read(runs.inside + 8, 12 * many)))
            ends = [first for first, _, _ in entries[1:]] + [chunks + 1]
            total = sum((end - first) * each for (first, each, _), end in zip(entries, ends, strict=True))
            return int(entries[-1][1]) if total == count else 1
    return 1


def sum_of_last(boxes: Boxes, sizes: Box, count: int, many: int) -> int:
    """Add up the sizes in bytes of the last samples, of `MAX_TABLE_ENTRIES` at most: a lower bound."""
    many = min(many, MAX_TABLE_ENTRIES)
    at = sizes.inside + 12 + (count - many) * 4
    if at + 4 * many > sizes.stop:
        return 0
    return sum(boxes.numbers(f">{many}I", at))


class Flaw(StrEnum):
    """What keeps a file from being a whole film, as the end of a sentence about it; NONE is false."""

    NONE = ""
    NOT_MP4 = "is not an MP4 or MOV video"
    TRUNCATED = "is cut off: its end is missing"
    NO_HEADER = "has no movie header (moov): it was cut off, or its recording was never ended"
    NO_VIDEO = "has no video track with pictures in it"

    @property
    def may_be_truncated(self) -> bool:
        """Tell whether more bytes could mend the file."""
        return self in (Flaw.TRUNCATED, Flaw.NO_HEADER)


def find_flaw(file: BinaryIO, size: int) -> Flaw:
    boxes = Boxes(file, size)
    if not looks_like_video(boxes.read(0, HEAD_BYTES)):
        return Flaw.NOT_MP4
    try:
        return MovieScan(boxes).flaw()
    except struct.error:
        return Flaw.TRUNCATED


def is_chained(file: BinaryIO, size: int) -> bool:
    """Tell by a few heads whether a file may once have been a whole film: its boxes fit, one is a movie header."""
    boxes = Boxes(file, size, MAX_TOP_LEVEL_BOXES)
    if not looks_like_video(boxes.read(0, HEAD_BYTES)):
        return False
    try:
        outermost = [box for box in boxes.between(0, size) if box.kind in TOP_LEVEL_BOXES]
    except struct.error:
        return False
    return any(box.kind == b"moov" for box in outermost) and all(box.stop <= size for box in outermost)


class MovieScan:
    """One pass over the outermost boxes of a file."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self._ends = 0
        self._tracks: set[int] = set()
        self._header = self._video = self._pictures = self._content = self._fragment_begun = False

    def flaw(self) -> Flaw:
        reached = 0
        for box in self._boxes.between(0, self._boxes.size):
            if box.stop > self._boxes.size:
                if box.kind in TOP_LEVEL_BOXES:
                    return Flaw.TRUNCATED
                break
            self._take(box)
            reached = box.stop
        if not self._header:
            return Flaw.NO_HEADER if reached == self._boxes.size else Flaw.NOT_MP4
        if self._video and (self._ends > self._boxes.size or self._fragment_begun or not self._content):
            return Flaw.TRUNCATED
        return Flaw.NONE if self._pictures else Flaw.NO_VIDEO

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
        for boxes, track in islice(tracks(self._boxes, movie), MAX_TRACKS):
            pictured = is_video_track(boxes, track)
            if pictured:
                self._video = True
                self._tracks.update(islice(track_numbers(boxes, track), 1))
            for table in islice(boxes.along(track, b"mdia", b"minf", b"stbl"), 1):
                samples = samples_in(boxes, table)
                self._pictures = self._pictures or (pictured and samples.count > 0)
                self._ends = max(self._ends, samples.end)

    def _has_pictures(self, fragment: Box) -> bool:
        for part in self._boxes.children(fragment, b"traf"):
            for header in islice(self._boxes.children(part, b"tfhd"), 1):
                if self._boxes.numbers(">4xI", header.inside)[0] in self._tracks:
                    runs = self._boxes.children(part, b"trun")
                    return any(self._boxes.numbers(">4xI", run.inside)[0] for run in runs)
        return False


def tracks(boxes: Boxes, movie: Box) -> Iterator[tuple[Boxes, Box]]:
    """Yield the tracks of a movie header with what they are read by: old QuickTime may have the header compressed."""
    for track in boxes.children(movie, b"trak"):
        yield boxes, track
    for packed in islice(boxes.along(movie, b"cmov", b"cmvd"), 1):
        header = unpacked(boxes.read(packed.inside + 4, min(packed.stop - packed.inside, MAX_MOVIE_BYTES)))
        inner = Boxes(BytesIO(header), len(header))
        for track in inner.along(Box(b"", 0, len(header)), b"moov", b"trak"):
            yield inner, track


def unpacked(content: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(content, MAX_MOVIE_BYTES)
    except zlib.error:
        return b""


def is_video_track(boxes: Boxes, track: Box) -> bool:
    return any(boxes.read(handler.inside + 8, 4) == b"vide" for handler in boxes.along(track, b"mdia", b"hdlr"))


def track_numbers(boxes: Boxes, track: Box) -> Iterator[int]:
    """Yield the track's ID (tkhd), by which fragments refer to it."""
    for header in boxes.children(track, b"tkhd"):
        yield boxes.versioned(header, ">12xI", ">20xI")[0]
