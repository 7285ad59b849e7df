"""Pictures as PNG: in 256 colours, which is small and looks the same, and whether all is drawn. Needs PyAV."""

from fractions import Fraction
from io import BytesIO

import av
from av import VideoCodecContext, VideoFrame
from av.filter import Graph

SAMPLE = (640, 256)  # pixels
DARK = 24  # of 255


def png_of(picture: bytes) -> bytes:
    """Give a JPEG as PNG."""
    frame = in_few_colours(frame_of(picture))
    encoder = VideoCodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "pal8"
    encoder.time_base = Fraction(1)
    encoder.options = {"pred": "mixed"}
    return b"".join(bytes(packet) for given in (frame, None) for packet in encoder.encode(given))


def black_share(picture: bytes) -> float:
    """Say how much of a picture is black, 0..1."""
    grey = bytes(frame_of(picture).reformat(*SAMPLE, format="gray").planes[0])
    return sum(level < DARK for level in grey) / len(grey)


def frame_of(picture: bytes) -> VideoFrame:
    with av.open(BytesIO(picture), "r") as file:
        return next(file.decode(video=0))


def in_few_colours(frame: VideoFrame) -> VideoFrame:
    """Give a picture in the 256 colours that suit it best."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    both, palette, end = graph.add("split"), graph.add("palettegen"), graph.add("buffersink")
    painted = graph.add("paletteuse", "dither=bayer:bayer_scale=5")
    source.link_to(both)
    both.link_to(painted, 0, 0)
    both.link_to(palette, 1)
    palette.link_to(painted, 0, 1)
    painted.link_to(end)
    graph.configure()
    for given in (frame, None):
        graph.vpush(given)
    return graph.vpull()
