"""What the first boxes of a video file say about it (ISO 14496-12, which MP4 and MOV share)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 12
MOST_BOXES = 1000
LARGEST_DURATION = 1e7  # seconds; more is a mistake in the header
FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
OUTERMOST = FIRST_BOXES | {b"moof", b"mfra", b"sidx", b"uuid", b"meta", b"styp"}
OTHER_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"), "a picture (HEIF)"),
    **dict.fromkeys((b"avif", b"avis"), "a picture (AVIF)"),
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


def looks_like_video(first: bytes) -> bool:
    """Recognise MP4 or MOV by the first `HEAD_BYTES` of a file: type and size of its first box, and the brand in it."""
    kind, plausible = first[4:8], first[:1] == b"\0" or first[4:8] == b"mdat"
    return kind in FIRST_BOXES and plausible and not (kind == b"ftyp" and first[8:12] in OTHER_BRANDS)


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
        return next((found for found in durations(file, size) if found is not None), None)
    except (struct.error, OSError):
        return None


def durations(file: BinaryIO, size: int) -> Iterator[float | None]:
    """Yield what the movie header says, and for a fragmented file what its fragments' header says."""
    for movie, end in children(file, 0, size, b"moov"):
        scale = 0
        for at, _ in children(file, movie, end, b"mvhd"):
            scale, length = movie_header(file, at)
            yield in_seconds(length, scale)
        for fragments, fragments_end in children(file, movie, end, b"mvex"):
            for at, _ in children(file, fragments, fragments_end, b"mehd"):
                yield in_seconds(fragments_length(file, at), scale)


def is_cut_off(path: Path) -> bool:
    """Tell whether a file ends in the middle of one of its outermost boxes."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            ends = [(kind, stop) for kind, _, stop in boxes(file, 0, size)]
    except struct.error:
        return True
    return any(stop > size and kind in OUTERMOST for kind, stop in ends)


def children(file: BinaryIO, start: int, end: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the contents of the boxes of a type begin and end, between two places in a file."""
    for kind, inside, stop in boxes(file, start, end):
        if kind == wanted:
            yield inside, min(stop, end)


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the types of the boxes between two places in a file, and where their contents begin and should end."""
    for _ in range(MOST_BOXES):
        if end - start < 8:
            return
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,), head = struct.unpack(">Q", file.read(8)), 16
        stop = end if size == 0 else start + size
        if size and size < head:
            return
        yield kind, start + head, stop
        start = stop


def movie_header(file: BinaryIO, at: int) -> tuple[int, int]:
    """Read the time scale (units a second) and the length (units) of a movie."""
    file.seek(at)
    wide = file.read(1) == b"\1"
    scale, length = struct.unpack(">19xIQ", file.read(31)) if wide else struct.unpack(">11xII", file.read(19))
    unknown = length in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    return scale, 0 if unknown else length


def fragments_length(file: BinaryIO, at: int) -> int:
    """Read the length (units) of all fragments together."""
    file.seek(at)
    wide = file.read(1) == b"\1"
    (length,) = struct.unpack(">3xQ", file.read(11)) if wide else struct.unpack(">3xI", file.read(7))
    return int(length)


def in_seconds(length: int, scale: int) -> float | None:
    """Convert a length in units; None for what is not known."""
    return length / scale if scale and 0 < length / scale < LARGEST_DURATION else None
