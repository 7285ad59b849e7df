"""What MP4 and MOV files say about themselves: what they begin like, and how long they last."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from luma_mcp.media.boxes import LONG_HEAD, Box, Boxes

HEAD_BYTES = LONG_HEAD
MOST_BOXES = 1000
LARGEST_DURATION = 1e7  # seconds; more is a mistake in the header
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
    """Say what a file that is no MP4 or MOV looks like, by its first bytes; empty if that is not known."""
    if not first:
        return "an empty file"
    if first[4:8] == b"ftyp":
        return OTHER_BRANDS.get(first[8:12], "")
    return next((kind for at, mark, kind in OTHER_KINDS if first[at:].startswith(mark)), "")


def duration(file: BinaryIO, size: int) -> float | None:
    """Read how many seconds a video of `size` bytes lasts from its header, wherever in the file that lies.

    None if the header is not there, is broken or does not say. Reads a few bytes a box and none of the content.
    """
    try:
        return next((found for found in durations(Boxes(file, size, MOST_BOXES)) if found is not None), None)
    except (struct.error, OSError):
        return None


def durations(boxes: Boxes) -> Iterator[float | None]:
    """Yield what the movie header says, and for a fragmented file what its fragments' header says."""
    for movie in boxes.inside(Box(b"", 0, boxes.size), b"moov"):
        scale = 0
        for header in boxes.inside(movie, b"mvhd"):
            scale, length = movie_header(boxes, header)
            yield in_seconds(length, scale)
        for header in boxes.along(movie, b"mvex", b"mehd"):
            yield in_seconds(fragments_length(boxes, header), scale)


def movie_header(boxes: Boxes, header: Box) -> tuple[int, int]:
    """Read the time scale (units a second) and the length (units) of a movie."""
    wide = boxes.read(header.inside, 1) == b"\1"
    scale, length = boxes.numbers(">20xIQ" if wide else ">12xII", header.inside)
    unknown = length in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    return scale, 0 if unknown else length


def fragments_length(boxes: Boxes, header: Box) -> int:
    """Read the length (units) of all fragments together."""
    wide = boxes.read(header.inside, 1) == b"\1"
    return boxes.numbers(">4xQ" if wide else ">4xI", header.inside)[0]


def in_seconds(length: int, scale: int) -> float | None:
    """Convert a length in units; None for what is not known."""
    return length / scale if scale and 0 < length / scale < LARGEST_DURATION else None
