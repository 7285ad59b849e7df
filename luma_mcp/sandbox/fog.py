"""Lay fog and the word SANDBOX over a clip: `python -m luma_mcp.sandbox.fog CLIP TARGET`, a process of its own.

Needs PyAV. Whatever is no MP4 of a sane size ends it with an exit code above 0.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.filter.context import FilterContext
    from av.video.stream import VideoStream

MAX_PIXELS = 600_000_000  # of all frames together: 12 s of Full HD at 24 a second
MAX_MEMORY_BYTES = 1 << 30
MAX_TARGET_BYTES = 100 << 20
ENCODER = {"crf": "28", "preset": "superfast", "threads": "2"}
UPRIGHT = {90: "transpose=cclock", -90: "transpose=clock", 180: "hflip,vflip", -180: "hflip,vflip"}  # by rotation
FOG = (214, 218, 220)
INK = (38, 50, 62)
WORD = (
    " ####  ###  #   # ####  ####   ###  #   #",
    "#     #   # ##  # #   # #   # #   # #   #",
    "#     #   # # # # #   # #   # #   #  # # ",
    " ###  ##### #  ## #   # ####  #   #   #  ",
    "    # #   # #   # #   # #   # #   #  # # ",
    "    # #   # #   # #   # #   # #   # #   #",
    "####  #   # #   # ####  ####   ###  #   #",
)
WORD_SHARE = 0.6  # of the width
WORD_TOP = 0.62  # of the height


class UnsuitableClip(Exception):
    """A clip without a picture, or that would take too long."""


def fog_pixels(width: int, height: int) -> bytes:
    """Draw the fog as RGBA: thickest in the middle, and the word below that."""
    dot = max(1, round(width * WORD_SHARE / len(WORD[0])))
    left, top = max(0, width - dot * len(WORD[0])) // 2, round(height * WORD_TOP)
    rows: list[bytes] = []
    for row in range(height):
        pixels = bytearray(bytes((*FOG, round(70 + 130 * math.sin(math.pi * row / height) ** 2))) * width)
        line = (row - top) // dot
        for column, dotted in enumerate(WORD[line] if 0 <= line < len(WORD) else ""):
            if dotted != " ":
                begin = left + column * dot
                pixels[4 * begin : 4 * (begin + dot)] = bytes((*INK, 235)) * dot
        rows.append(bytes(pixels[: 4 * width]))
    return b"".join(rows)


def lay_fog(clip: Path, target: Path) -> None:
    """Write a clip with fog over it, and its sound, to `target`; raise `UnsuitableClip` or an error of PyAV's."""
    import av  # noqa: PLC0415 - an extra, which no other process needs

    # As nothing but MP4 and MOV: some formats are lists of other files to open.
    with av.open(str(clip), format="mov", options={"protocol_whitelist": "file"}) as source:
        check_clip(source)
        with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as result:
            encode(source, result)


def check_clip(source: "InputContainer") -> None:
    if not source.streams.video:
        raise UnsuitableClip("It has no picture.")
    video = source.streams.video[0]
    seconds = float((video.duration or 0) * (video.time_base or 0))
    pixels = video.width * video.height * seconds * float(video.average_rate or 0)
    if not 0 < pixels <= MAX_PIXELS:
        raise UnsuitableClip("It has no frames, or too many.")


def encode(source: "InputContainer", result: "OutputContainer") -> None:
    """Encode the pictures anew, and copy the sound as it is."""
    video, sound = source.streams.video[0], source.streams.audio[:1]
    rotation = next(source.decode(video)).rotation
    source.seek(0)
    size = (video.height, video.width) if abs(rotation) == 90 else (video.width, video.height)
    made = result.add_stream("libx264", rate=video.average_rate, options=ENCODER)
    made.width, made.height = size
    made.pix_fmt, made.time_base = "yuv420p", video.time_base
    copied = [result.add_stream_from_template(stream) for stream in sound]
    fog = FogFilter(video, size, UPRIGHT.get(rotation, "null"))
    for packet in source.demux([video, *sound]):
        if packet.stream is video:
            for frame in packet.decode():
                write(fog.apply(cast("VideoFrame", frame)), made, result)
        elif packet.dts is not None:  # the last, empty one has none
            packet.stream = copied[0]
            result.mux(packet)
    write(fog.apply(None), made, result)
    result.mux(made.encode(None))


def write(pictures: "Iterator[VideoFrame]", made: "VideoStream", result: "OutputContainer") -> None:
    for picture in pictures:
        result.mux(made.encode(picture))


class FogFilter:
    """Turns pictures upright and lays the fog over them."""

    def __init__(self, video: "VideoStream", size: tuple[int, int], upright: str) -> None:
        from av.filter import Graph  # noqa: PLC0415 - as above

        self._graph = Graph()  # its filters do not keep it alive
        self._pictures = self._graph.add_buffer(template=video)
        fog = fog_picture(size)
        over = self._graph.add_buffer(width=size[0], height=size[1], format=fog.format, time_base=fog.time_base)
        turned = self._pictures
        for name, _, values in (words.partition("=") for words in upright.split(",")):
            turned = linked(turned, self._graph.add(name, values or None))
        laid = self._graph.add("overlay", "eof_action=repeat")
        over.link_to(laid, 0, 1)
        made = linked(linked(turned, laid), self._graph.add("format", "yuv420p"))
        self._foggy = linked(made, self._graph.add("buffersink"))
        self._graph.configure()
        over.push(fog)
        over.push(None)

    def apply(self, picture: "VideoFrame | None") -> "Iterator[VideoFrame]":
        """Take a picture, or None after the last one, and yield those that are ready."""
        self._pictures.push(picture)
        with suppress(BlockingIOError, EOFError):
            while True:
                yield cast("VideoFrame", self._foggy.pull())


def fog_picture(size: tuple[int, int]) -> "VideoFrame":
    """Give the fog as a picture that is there from the beginning on."""
    from av import VideoFrame  # noqa: PLC0415 - as above

    picture, pixels, length = VideoFrame(*size, "rgba"), fog_pixels(*size), 4 * size[0]
    padding = bytes(picture.planes[0].line_size - length)
    rows = (pixels[begin : begin + length] + padding for begin in range(0, len(pixels), length))
    picture.planes[0].update(b"".join(rows))
    picture.pts, picture.time_base = 0, Fraction(1, 1000)
    return picture


def linked(one: "FilterContext", other: "FilterContext") -> "FilterContext":
    one.link_to(other)
    return other


def limit_process() -> None:
    """Bound what this process may take, where the system can do so."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has none

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_TARGET_BYTES, MAX_TARGET_BYTES))


def main(clip: str, target: str) -> None:
    """Lay fog over one clip, within bounds."""
    limit_process()
    lay_fog(Path(clip), Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
