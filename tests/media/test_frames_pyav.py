"""Frames by PyAV: upright, at their moments, of MP4 and MOV alone."""

from pathlib import Path

import pytest

from luma_mcp.media.contact_sheet import MediaUnusable
from tests.support.videos import GREEN, PINK, decoded_picture, is_near, make_video, sheet_of

frames_pyav = pytest.importorskip("luma_mcp.media.frames_pyav", reason="PyAV is not installed")
READER = frames_pyav.PyAVReader()


def test_a_sheet_has_the_source_above_the_result(home: Path) -> None:
    result = make_video(home / "result.mp4", colour=PINK)
    source = make_video(home / "source.mov", size=(640, 360), rate=25)
    found, picture = sheet_of(READER, result, source)
    size, cells = decoded_picture(picture)
    assert size == (976, 372)
    assert all(is_near(cell, GREEN) for cell in cells[:3])
    assert all(is_near(cell, PINK) for cell in cells[3:])
    assert (found["result"]["codec"], found["result"]["sound"]) == ("h264", "")
    assert (found["source"]["width"], found["source"]["frames_per_second"]) == (640, 25.0)
    assert found["result"]["seconds"] == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("key_frames", [1, 5, 1000])
def test_frames_are_those_of_their_moments_wherever_key_frames_are(home: Path, key_frames: int) -> None:
    video = make_video(home / "clip.mp4", seconds=12, key_frames=key_frames)
    _, picture = sheet_of(READER, video)
    lights = [light for light, _, _ in decoded_picture(picture)[1]]
    wanted = [GREEN[0] + 60 * (number + 0.5) / 6 for number in range(6)]
    assert lights == pytest.approx(wanted, abs=14)
    assert lights == sorted(lights)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_turned_video_is_shown_upright(home: Path, rotation: int) -> None:
    video = make_video(home / "clip.mp4", rotation=rotation)
    found, picture = sheet_of(READER, video)
    size, cells = decoded_picture(picture)
    upright = rotation != 180
    assert (found["result"]["width"] < found["result"]["height"]) == upright
    assert (size[0] < size[1]) == upright
    assert all(is_near(cell, GREEN) for cell in cells), "no bars"


def test_a_source_of_another_form_gets_bars_and_a_shorter_one_its_last_frame(home: Path) -> None:
    result = make_video(home / "result.mp4", seconds=4)
    source = make_video(home / "source.mp4", size=(180, 320), seconds=0.5, colour=PINK)
    _, picture = sheet_of(READER, result, source)
    _, cells = decoded_picture(picture)
    assert all(is_near(cell, PINK) for cell in cells[:3])


@pytest.mark.parametrize(
    "content", [b"", b"no video at all", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"\0" * 4096]
)
def test_what_is_no_video_is_told_as_that_whatever_it_is_called(home: Path, content: bytes) -> None:
    (home / "clip.mp4").write_bytes(content)
    with pytest.raises(MediaUnusable):
        sheet_of(READER, home / "clip.mp4")


def test_other_formats_are_not_opened_for_they_may_name_further_files(home: Path) -> None:
    make_video(home / "secret.mp4")
    (home / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(MediaUnusable):
        sheet_of(READER, home / "list.mp4")


def test_a_truncated_video_ends_as_an_error_or_with_the_frames_that_are_there(home: Path) -> None:
    whole = make_video(home / "whole.mp4", seconds=4).read_bytes()
    for share in (0.2, 0.5, 0.9):
        (home / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(MediaUnusable):
            sheet_of(READER, home / "cut.mp4")


def test_frames_larger_than_8k_are_not_decoded(home: Path) -> None:
    video = make_video(home / "huge.mov", size=(8192, 4352), seconds=0.1, codec="mjpeg")
    with pytest.raises(MediaUnusable, match="8192x4352"):
        sheet_of(READER, video)


def test_a_video_without_pictures_is_told_as_that(home: Path) -> None:
    av = frames_pyav.av
    with av.open(str(home / "sound.mov"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=1024)
        frame.sample_rate = 44100
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(MediaUnusable, match="no pictures"):
        sheet_of(READER, home / "sound.mov")


def test_where_time_is_short_the_frames_that_can_be_had_at_once_will_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames_pyav, "SECONDS_PER_VIDEO", -1.0)
    video = make_video(home / "clip.mp4", seconds=12, key_frames=1000)
    _, picture = sheet_of(READER, video)
    assert len({light for light, _, _ in decoded_picture(picture)[1]}) < 6


def test_a_title_in_an_old_encoding_does_not_matter(home: Path) -> None:
    video = make_video(home / "clip.mp4", title="summer")
    video.write_bytes(video.read_bytes().replace(b"summer", b"\xe9t\xe9 98"))
    assert sheet_of(READER, video)[1]
