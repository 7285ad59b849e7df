"""How many samples a track has, and up to where in the file they reach, by its sample table (ISO 14496-12, 8.6 to 8.7).

Only the last chunk is looked at, and a bounded number of entries: tables can be long, and can say anything.
"""

import struct
from dataclasses import dataclass

from luma_mcp.media.boxes import Box, Boxes

MOST_ENTRIES = 1 << 16


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of a track: how many, and where in the file the last of them ends at the earliest; 0 if unknown."""

    count: int
    end: int


def samples_in(boxes: Boxes, table: Box) -> Samples:
    """Read what a sample table says; raise `struct.error` for one that is cut off."""
    for sizes in boxes.inside(table, b"stsz", b"stz2"):
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
    """Tell how many chunks there are, and where in the file the last one begins."""
    for offsets in boxes.inside(table, b"stco", b"co64"):
        layout, width = (">I", 4) if offsets.kind == b"stco" else (">Q", 8)
        (count,) = boxes.numbers(">4xI", offsets.inside)
        at = offsets.inside + 8 + (count - 1) * width
        if count and at + width <= offsets.stop:
            return count, boxes.numbers(layout, at)[0]
    return 0, 0


def samples_of_last_chunk(boxes: Boxes, table: Box, chunks: int, count: int) -> int:
    """Tell how many samples the last chunk has: 1 where the tables are too long or do not agree."""
    if chunks == 1:
        return count
    for runs in boxes.inside(table, b"stsc"):
        (many,) = boxes.numbers(">4xI", runs.inside)
        if 0 < many <= MOST_ENTRIES and runs.inside + 8 + 12 * many <= runs.stop:
            entries = list(struct.iter_unpack(">III", boxes.read(runs.inside + 8, 12 * many)))
            ends = [first for first, _, _ in entries[1:]] + [chunks + 1]
            total = sum((end - first) * each for (first, each, _), end in zip(entries, ends, strict=True))
            return int(entries[-1][1]) if total == count else 1
    return 1


def sum_of_last(boxes: Boxes, sizes: Box, count: int, many: int) -> int:
    """Add up the sizes of the last samples, as far as that is bounded work."""
    many = min(many, MOST_ENTRIES)
    at = sizes.inside + 12 + (count - many) * 4
    if at + 4 * many > sizes.stop:
        return 0
    return sum(boxes.numbers(f">{many}I", at))
