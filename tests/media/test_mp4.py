"""What a video file says about itself, and what broken files cannot do."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.media.mp4 import HEAD_BYTES, duration, looks_like_video, other_kind
from luma_mcp.sandbox.http import bundled_clip
from tests.support.films import FTYP, box, mvhd


def long_mvhd(scale: int, length: int) -> bytes:
    return box(b"mvhd", struct.pack(">B3x16xIQ80x", 1, scale, length))


FRAGMENTS = box(b"mvex", box(b"mehd", struct.pack(">B3xI", 0, 4500)))
LONG_FRAGMENTS = box(b"mvex", box(b"mehd", struct.pack(">B3xQ", 1, 4500)))


def lasts(content: bytes) -> float | None:
    return duration(io.BytesIO(content), len(content))


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (bundled_clip().read_bytes(), 3.0),
        (FTYP + box(b"moov", mvhd(600, 3000)), 5.0),
        (FTYP + box(b"mdat", b"x" * 5000, wide=True) + box(b"moov", box(b"udta"), mvhd(600, 3000)), 5.0),
        (FTYP + box(b"moov", long_mvhd(1000, 2500)), 2.5),
        (FTYP + box(b"moov", mvhd(1000, 0), FRAGMENTS), 4.5),
        (FTYP + box(b"moov", mvhd(1000, 0xFFFFFFFF), LONG_FRAGMENTS), 4.5),
        (FTYP + struct.pack(">I4s", 0, b"moov") + mvhd(1000, 1500), 1.5),
    ],
    ids=["real", "plain", "header last", "64 bit", "fragments", "fragments 64 bit", "to the end"],
)
def test_the_length_is_read_wherever_the_header_lies(content: bytes, seconds: float) -> None:
    assert lasts(content) == seconds


@pytest.mark.parametrize(
    "content",
    [
        b"",
        FTYP,
        FTYP + box(b"mdat", b"x" * 100),
        FTYP + box(b"moov", mvhd(0, 100)),
        FTYP + box(b"moov", mvhd(1, 0xFFFFFFF0)),
        FTYP + box(b"moov", mvhd(1000, 0)),
        FTYP + box(b"moov", mvhd(600, 3000))[:20],
        FTYP + struct.pack(">I4s", 4, b"moov"),
        FTYP + struct.pack(">I4sQ", 1, b"free", 3),
        FTYP + struct.pack(">I4sQ", 1, b"free", 1 << 63),
    ],
    ids=[
        "empty",
        "no movie",
        "cut off",
        "no scale",
        "absurd",
        "none",
        "short",
        "tiny box",
        "tiny long box",
        "huge box",
    ],
)
def test_a_header_that_does_not_say_gives_no_length(content: bytes) -> None:
    assert lasts(content) is None


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_content_whatever_breaks_the_reader(noise: bytes, at: int) -> None:
    good = FTYP + box(b"moov", mvhd(600, 3000), FRAGMENTS)
    lasts(noise)
    lasts(good[:at] + noise + good[at + len(noise) :])


def test_ten_thousand_boxes_are_not_all_looked_at() -> None:
    assert lasts(box(b"free") * 10_000 + box(b"moov", mvhd(600, 3000))) is None


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"", "an empty file"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 8, "a WebM or Matroska video"),
        (b"RIFF\0\0\0\0AVI LIST", "an AVI video"),
        (b"\0\0\0\x18ftypheic", "a picture (HEIF)"),
        (b"\0\0\0\x18ftypavif", "a picture (AVIF)"),
        (b"\0\0\0\x18ftypM4A ", "a sound file (M4A)"),
        (b"<!doctype html>", "a web page or another text"),
        (b"hello, world", ""),
    ],
)
def test_what_is_no_mp4_or_mov_is_recognised_as_what_it_is(first: bytes, kind: str) -> None:
    assert not looks_like_video(first[:HEAD_BYTES])
    assert other_kind(first) == kind


@pytest.mark.parametrize(
    "first", [b"\0\0\0\x14ftypqt  ", b"\0\0\0\x18ftypisom", b"\0\0\0\x08wide\0\0\0\0", b"\0\0\1\0moov"]
)
def test_mp4_and_mov_are_recognised(first: bytes) -> None:
    assert looks_like_video(first)


@pytest.mark.parametrize(
    "first", [b"#   free\nrm -rf /\n\n", b"#!/bin/sh\nmdat\n\n\n", b"#   mdax\necho hello\n", b"\0\0\0\x18ftypcrx rest"]
)
def test_what_only_has_a_word_of_a_video_in_it_is_none(first: bytes) -> None:
    assert not looks_like_video(first[:HEAD_BYTES])


def test_a_first_box_that_does_not_fit_into_its_file_is_no_beginning_of_a_video() -> None:
    assert looks_like_video(b"#   mdat\necho hi\n")
    assert not looks_like_video(b"#   mdat\necho hi\n", 1_000_000)
    assert not looks_like_video(struct.pack(">I4sQ", 1, b"mdat", 1 << 40), 1_000_000)
