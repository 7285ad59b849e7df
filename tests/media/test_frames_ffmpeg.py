"""Frames by ffmpeg are those that PyAV gives."""

from pathlib import Path

import pytest

from luma_mcp.core.settings_sources import find_program
from luma_mcp.media.contact_sheet import MediaUnusable
from luma_mcp.media.frames_ffmpeg import FFmpegReader, number, run_program
from tests.support.videos import GREEN, PINK, decoded_picture, is_near, make_video, needs_ffmpeg, sheet_of

pytestmark = needs_ffmpeg
READER = FFmpegReader(str(find_program("ffmpeg")), str(find_program("ffprobe")))


def test_a_sheet_has_the_source_above_the_result(home: Path) -> None:
    result = make_video(home / "result.mp4", colour=PINK)
    source = make_video(home / "source.mov", size=(640, 360), rate=25, seconds=1)
    found, picture = sheet_of(READER, result, source)
    size, cells = decoded_picture(picture)
    assert size == (976, 372)
    assert all(is_near(cell, GREEN) for cell in cells[:3]), "also at moments after its end"
    assert all(is_near(cell, PINK) for cell in cells[3:])
    assert found["result"]["codec"] == "h264"
    assert (found["source"]["width"], found["source"]["frames_per_second"]) == (640, 25.0)


def test_frames_are_those_of_their_moments(home: Path) -> None:
    _, picture = sheet_of(READER, make_video(home / "clip.mp4", seconds=12, key_frames=1000))
    lights = [light for light, _, _ in decoded_picture(picture)[1]]
    assert lights == pytest.approx([GREEN[0] + 60 * (number + 0.5) / 6 for number in range(6)], abs=14)


def test_a_turned_video_is_shown_upright(home: Path) -> None:
    found, picture = sheet_of(READER, make_video(home / "clip.mp4", rotation=90))
    size, cells = decoded_picture(picture)
    assert found["result"]["width"] < found["result"]["height"]
    assert size[0] < size[1]
    assert all(is_near(cell, GREEN) for cell in cells)


@pytest.mark.parametrize("content", [b"", b"no video", b"ffconcat version 1.0\nfile secret.mp4\n"])
def test_what_is_no_mp4_or_mov_is_not_opened(home: Path, content: bytes) -> None:
    make_video(home / "secret.mp4")
    (home / "clip.mp4").write_bytes(content)
    with pytest.raises(MediaUnusable):
        sheet_of(READER, home / "clip.mp4")


def test_frames_larger_than_8k_are_not_decoded(home: Path) -> None:
    video = make_video(home / "huge.mov", size=(8192, 4352), seconds=0.1, codec="mjpeg")
    with pytest.raises(MediaUnusable, match="8192x4352"):
        sheet_of(READER, video)


def test_a_program_that_is_gone_is_no_crash(home: Path) -> None:
    with pytest.raises(MediaUnusable):
        run_program([str(home / "gone")], None)


def test_numbers_are_read_as_ffprobe_writes_them() -> None:
    assert [number(value) for value in ("30000/1001", "2.5", "N/A", "1/0", None, -90)] == [
        *(pytest.approx(29.97, abs=0.001), 2.5, 0.0, 0.0, 0.0, -90.0)
    ]
