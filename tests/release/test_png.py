"""Pictures become PNG in few colours, and show whether something is black in them."""

from fractions import Fraction
from typing import Any

import pytest

av: Any = pytest.importorskip("av", reason="PyAV is an extra, which is not installed here")
from luma_mcp.release.png import black_share, frame_of, png_of  # noqa: E402 - needs it


def jpeg(black_rows: int) -> bytes:
    """Give a picture of 160x100 pixels, black at the top and white below."""
    frame = av.VideoFrame(160, 100, "gray")
    stride = frame.planes[0].line_size
    frame.planes[0].update(bytes(black_rows * stride) + b"\xff" * ((100 - black_rows) * stride))
    encoder = av.VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 160, 100, "yuvj420p", Fraction(1)
    given = frame.reformat(format="yuvj420p")
    given.pts = 0
    return b"".join(bytes(packet) for one in (given, None) for packet in encoder.encode(one))


def test_a_jpeg_becomes_a_png_of_the_same_size_in_few_colours() -> None:
    made = png_of(jpeg(50))
    assert made.startswith(b"\x89PNG\r\n\x1a\n")
    frame = frame_of(made)
    assert (frame.width, frame.height, frame.format.name) == (160, 100, "pal8")


@pytest.mark.parametrize("rows", [0, 25, 100])
def test_what_is_black_is_measured(rows: int) -> None:
    assert black_share(jpeg(rows)) == pytest.approx(rows / 100, abs=0.03)
    assert black_share(png_of(jpeg(rows))) == pytest.approx(rows / 100, abs=0.03)
