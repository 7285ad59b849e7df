"""The boxes that MP4 and MOV files are made of (ISO 14496-12, QuickTime): only heads are read, and only so many."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MOST_BOXES = 200_000  # a film of an hour in fragments of a second has 7200
SHORT_HEAD, LONG_HEAD = 8, 16


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a kind: where its contents begin, and where it says that it ends, which may be beyond the file."""

    kind: bytes
    inside: int
    stop: int


class Boxes:
    """Gives the boxes of a file of `size` bytes, at most `most` in all, however they are nested."""

    def __init__(self, file: BinaryIO, size: int, most: int = MOST_BOXES) -> None:
        self.size = size
        self._file = file
        self._left = most

    def between(self, start: int, end: int) -> Iterator[Box]:
        """Yield the boxes that follow each other from one place on, as far as they are any."""
        while self._left and (box := self._at(start, end)):
            self._left -= 1
            yield box
            start = box.stop

    def inside(self, box: Box, *kinds: bytes) -> Iterator[Box]:
        """Yield the boxes of some kinds inside a box."""
        for found in self.between(box.inside, min(box.stop, self.size)):
            if found.kind in kinds:
                yield found

    def along(self, box: Box, *path: bytes) -> Iterator[Box]:
        """Yield the boxes at the end of a path of kinds inside a box."""
        if not path:
            yield box
            return
        for found in self.inside(box, path[0]):
            yield from self.along(found, *path[1:])

    def read(self, at: int, count: int) -> bytes:
        """Read some bytes of the file, fewer where it ends."""
        self._file.seek(at)
        return self._file.read(count)

    def numbers(self, layout: str, at: int) -> tuple[int, ...]:
        """Read whole numbers in a layout of `struct`; raise `struct.error` where the file ends too soon."""
        return struct.unpack(layout, self.read(at, struct.calcsize(layout)))

    def _at(self, start: int, end: int) -> Box | None:
        """Read the head of a box; None where no box can be. A size of 0 reaches to the end, 1 stands for a long one."""
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
