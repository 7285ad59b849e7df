"""The sandbox's clips are what the code draws: a place by day, and the same in fog."""

from pathlib import Path
from typing import Any

import pytest

from luma_mcp.sandbox.requests import bundled_clip, foggy_clip

av: Any = pytest.importorskip("av", reason="PyAV is an extra, which is not installed here")
from luma_mcp.release import drawn_clips  # noqa: E402 - needs it
from luma_mcp.release.drawn_clips import DAY, FOG, Light, Painter, plants, write_clip  # noqa: E402 - as above

CLIPS = [pytest.param(bundled_clip(), DAY, id="day"), pytest.param(foggy_clip(), FOG, id="fog")]
NEXT_TO_NONE = 4.0  # of 255, on average: what encoding loses


def pixels(picture: Any) -> bytes:
    """Give the pixels as red, green and blue in a small size."""
    small = picture.reformat(width=64, height=36, format="rgb24")
    rows, plane = bytes(small.planes[0]), small.planes[0]
    return b"".join(rows[row * plane.line_size :][: 3 * 64] for row in range(36))


def difference(one: bytes, other: bytes) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def pictures_of(path: Path) -> list[Any]:
    with av.open(str(path)) as file:
        return list(file.decode(video=0))


@pytest.mark.parametrize(("path", "light"), CLIPS)
def test_a_clip_in_the_package_is_what_is_drawn(path: Path, light: Light) -> None:
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt, len(file.streams)) == ("h264", "yuv420p", 1)
        assert (video.width, video.height, video.duration * video.time_base) == (640, 360, 4)
    content = path.read_bytes()
    assert len(content) < 200_000
    assert content.index(b"moov") < content.index(b"mdat")
    walked, grown = pictures_of(path), plants()
    for number in (0, 95):
        drawn = Painter(light, number * drawn_clips.STRIDE).paint(grown)
        assert difference(pixels(walked[number]), pixels(drawn)) < NEXT_TO_NONE


def test_the_camera_moves_and_fog_hides_what_is_far() -> None:
    day, fog = pictures_of(bundled_clip()), pictures_of(foggy_clip())
    assert difference(pixels(day[0]), pixels(day[48])) > 10
    horizon = [3 * 64 * 15 + place for place in range(3 * 64)]
    contrast = [
        max(pixels(clip[0])[place] for place in horizon) - min(pixels(clip[0])[place] for place in horizon)
        for clip in (day, fog)
    ]
    assert contrast[1] < contrast[0] / 1.5


def test_a_clip_is_written_so_that_players_can_begin_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_clips, "FRAMES", 3)
    monkeypatch.setattr(drawn_clips, "ENCODER", {"preset": "ultrafast"})
    write_clip(home / "clip.mp4", FOG)
    content = (home / "clip.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert len(pictures_of(home / "clip.mp4")) == 3
