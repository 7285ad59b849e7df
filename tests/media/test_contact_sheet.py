"""A sheet is small for whoever looks at it, whatever the form of the video, and shows what can be shown."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from luma_mcp.media.contact_sheet import (
    COLUMNS,
    GAP,
    MAX_PICTURE_BYTES,
    QUANTIZERS,
    ROWS,
    MediaUnusable,
    OpenVideo,
    Size,
    StreamFacts,
    cell_size,
    check_stream,
    sheet_moments,
)
from tests.support.videos import sheet_of

FORMS = [(1920, 1080), (1080, 1920), (640, 640), (4096, 256), (16, 7680), (1, 1), (1280, 536)]


def facts_of(width: int, height: int) -> StreamFacts:
    return StreamFacts(width, height, 6.0, 24.0, "h264", "")


class PlayedReader:
    """Plays a reader: names of files that begin with "bad" cannot be decoded, and a picture's size falls with `q`."""

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight
        self.read: list[tuple[str, tuple[float, ...]]] = []

    def read_facts(self, video: OpenVideo) -> StreamFacts:
        if "headless" in video.file.name:
            raise MediaUnusable("cannot be decoded")
        return facts_of(1280, 720)

    def read_cells(self, video: OpenVideo, moments: Sequence[float], size: Size) -> list[str]:
        if "broken" in video.file.name:
            raise MediaUnusable("has no pictures")
        self.read.append((Path(video.file.name).name, tuple(moments)))
        return [f"{Path(video.file.name).name}@{moment}" for moment in moments]

    def encode_sheet(self, cells: Sequence[str], size: Size, quantizer: int) -> bytes:
        return json.dumps(cells).encode() + b" " * (self.weight // quantizer)


def written(home: Path, name: str) -> Path:
    (home / name).write_bytes(b"0123456789")
    return home / name


@pytest.mark.parametrize("form", FORMS)
def test_a_sheet_is_at_most_600_tokens_and_976_pixels_wide(form: Size) -> None:
    width, height = cell_size(facts_of(*form))
    whole = (COLUMNS * width + (COLUMNS + 1) * GAP, ROWS * height + (ROWS + 1) * GAP)
    assert whole[0] <= 976
    assert whole[0] * whole[1] / 750 <= 600
    assert width % 2 == height % 2 == 0
    assert min(width, height) >= 80


def test_moments_are_spread_evenly_and_never_at_the_ends() -> None:
    assert sheet_moments(6.0, 3) == [1.0, 3.0, 5.0]
    assert sheet_moments(0.0, 3) == [0.0, 0.0, 0.0]


def test_the_source_is_above_the_result_at_the_same_moments(home: Path) -> None:
    found, picture = sheet_of(PlayedReader(), written(home, "result"), written(home, "source"))
    moments = ["1.0", "3.0", "5.0"]
    assert json.loads(picture) == [f"{name}@{moment}" for name in ("source", "result") for moment in moments]
    assert (found["source"]["size_bytes"], found["fault"], found["moments"]) == (10, "", [1.0, 3.0, 5.0])


@pytest.mark.parametrize(("name", "fault"), [("headless", "cannot be decoded"), ("broken", "has no pictures")])
def test_a_source_that_cannot_be_shown_leaves_six_frames_of_the_result(home: Path, name: str, fault: str) -> None:
    reader = PlayedReader()
    found, _ = sheet_of(reader, written(home, "result"), written(home, name))
    assert (found["source"], found["fault"]) == (None, fault)
    assert reader.read == [("result", (0.5, 1.5, 2.5, 3.5, 4.5, 5.5))]


def test_a_result_that_cannot_be_shown_is_an_error(home: Path) -> None:
    with pytest.raises(MediaUnusable, match="has no pictures"):
        sheet_of(PlayedReader(), written(home, "broken"))


def test_of_a_part_only_what_is_there_is_shown_and_the_whole_size_is_told(home: Path) -> None:
    found, _ = sheet_of(PlayedReader(), written(home, "result"), share=0.5)
    assert max(found["moments"]) < 3.0
    assert (found["result"]["size_bytes"], found["result"]["share"]) == (20, 0.5)


def test_the_first_quality_that_is_small_enough_is_taken(home: Path) -> None:
    _, picture = sheet_of(PlayedReader(MAX_PICTURE_BYTES * 9), written(home, "result"))
    assert MAX_PICTURE_BYTES * 9 // 12 < len(picture) <= MAX_PICTURE_BYTES
    _, largest = sheet_of(PlayedReader(MAX_PICTURE_BYTES * 100), written(home, "result"))
    assert len(largest) > MAX_PICTURE_BYTES * 100 // QUANTIZERS[-1]


@pytest.mark.parametrize(
    ("codec", "width", "height"), [("h264", 16384, 16384), ("h264", 0, 10), ("h264", 10, -1), ("exotic", 320, 180)]
)
def test_frames_of_no_size_or_a_huge_one_and_rare_formats_are_not_decoded(codec: str, width: int, height: int) -> None:
    with pytest.raises(MediaUnusable):
        check_stream(codec, width, height)
    check_stream("h264", 7680, 4320)
