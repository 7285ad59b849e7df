"""Small real videos, made by PyAV, and what hostile ones look like."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.core.settings_sources import find_program
from luma_mcp.media.contact_sheet import FrameReader, OpenVideo, draw_sheet
from luma_mcp.media.sheet_process import find_frame_reader

needs_frames = pytest.mark.skipif(not find_frame_reader(), reason="neither PyAV nor ffmpeg is installed")
needs_ffmpeg = pytest.mark.skipif(
    not (find_program("ffmpeg") and find_program("ffprobe")), reason="ffmpeg is not installed"
)
GREEN, PINK = (90, 60, 60), (160, 140, 200)  # as brightness and colours (YUV)
Colour = tuple[int, int, int]


def make_video(
    path: Path,
    *,
    size: tuple[int, int] = (320, 180),
    seconds: float = 2.0,
    rate: int = 10,
    colour: Colour = GREEN,
    codec: str = "libx264",
    rotation: int = 0,
    key_frames: int = 10,
    title: str = "",
) -> Path:
    """Write a video that begins dark, and gets lighter by the second."""
    av = pytest.importorskip("av", reason="PyAV, which makes the videos, is not installed")
    with av.open(str(path), "w", format="mov" if path.suffix == ".mov" else "mp4") as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate, options={"preset": "ultrafast"} if codec == "libx264" else {})
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = key_frames
        if rotation:
            stream.set_display_rotation(rotation)
        count = max(1, round(seconds * rate))
        for number in range(count):
            frame = av.VideoFrame(*size, stream.pix_fmt)
            light = colour[0] + 60 * number // count
            for plane, value in zip(frame.planes, (light, *colour[1:]), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sheet_of(reader: FrameReader[Any], *paths: Path, share: float = 1.0) -> tuple[dict[str, Any], bytes]:
    """Have a reader make a sheet of a result and perhaps its source."""
    with ExitStack() as files:
        videos = [OpenVideo(files.enter_context(path.open("rb", buffering=0)), share) for path in paths]
        return draw_sheet(reader, videos)


def decoded_picture(jpeg: bytes) -> tuple[tuple[int, int], list[Colour]]:
    """Give a JPEG's size, and the colours (YUV) in the middles of its six cells, row by row."""
    av = pytest.importorskip("av")
    decoder = av.CodecContext.create("mjpeg", "r")
    frame = [*decoder.decode(av.Packet(jpeg)), *decoder.decode(None)][0]
    places = [
        (int(frame.width * (column + 0.5) / 3), int(frame.height * (row + 0.5) / 2))
        for row in range(2)
        for column in range(3)
    ]
    return (frame.width, frame.height), [pixel_at(frame, *place) for place in places]


def pixel_at(frame: Any, x: int, y: int) -> Colour:
    planes = frame.planes
    luma, blue, red = (bytes(plane) for plane in planes)
    at = (y // 2) * planes[1].line_size + x // 2
    return luma[y * planes[0].line_size + x], blue[at], red[at]


def is_near(one: Colour, other: Colour, most: int = 12) -> bool:
    """Tell whether two colours are alike but for brightness, which rises in these videos."""
    return abs(one[1] - other[1]) <= most and abs(one[2] - other[2]) <= most
