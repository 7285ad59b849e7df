"""The icon, drawn here so that no binary lies in the repository: a sun half behind a hill, in a frame of film."""

import struct
import zlib

SIZE = 512
HOLE, EDGE = 32, 64
SKY, SUN, HILL, FILM, WHITE = (36, 45, 80), (255, 190, 92), (88, 128, 112), (18, 20, 32), (240, 240, 240)
Color = tuple[int, int, int]


def icon() -> bytes:
    """Give the icon as PNG, 512 by 512."""
    rows = b"".join(b"\0" + b"".join(bytes(color(x, y)) for x in range(SIZE)) for y in range(SIZE))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    parts = (part(b"IHDR", header), part(b"IDAT", zlib.compress(rows, 9)), part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def color(x: int, y: int) -> Color:
    """Give the color of a pixel."""
    if not EDGE <= y < SIZE - EDGE:
        middle = abs(y % (SIZE - EDGE) - EDGE // 2) < HOLE // 2
        return WHITE if middle and x % EDGE < HOLE else FILM
    if y > 300 + (x - 160) ** 2 // 600:
        return HILL
    return SUN if (x - 330) ** 2 + (y - 230) ** 2 < 90**2 else SKY


def part(name: bytes, content: bytes) -> bytes:
    """Wrap a part of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
