"""Fog is laid over clips of every sane kind, and over nothing else."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.sandbox import fog
from luma_mcp.sandbox.fog import MAX_PIXELS, UnsuitableClip, fog_pixels, lay_fog
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.mp4_files import film

av: Any = pytest.importorskip("av", reason="PyAV is an extra, which is not installed here")
# In the header of the video's track: as it is, and turned clockwise by 90 degrees.
PLAIN = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
TURNED = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 01680000 00000000 40000000")


def write_clip(path: Path, width: int, height: int, frames: int, *, sound: bool = False) -> Path:
    """Make a clip of white pictures, with a second of silence or none."""
    with av.open(str(path), "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        silence: Any = file.add_stream("aac", rate=44100, layout="mono") if sound else None
        for number in range(frames):
            picture = av.VideoFrame(width, height, "rgb24")
            picture.planes[0].update(b"\xff" * picture.planes[0].buffer_size)
            picture.pts = number
            file.mux(video.encode(picture))
        file.mux(video.encode())
        for number in range(43 if silence else 0):
            samples = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            samples.sample_rate, samples.pts = 44100, 1024 * number
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            file.mux(silence.encode(samples))
        if silence:
            file.mux(silence.encode())
    return path


def facts(path: Path) -> tuple[int, int, int, float, list[str]]:
    """Give a clip's width, height, number of frames, length in seconds, and kinds of sound."""
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        frames = list(file.decode(video))
        kinds = [stream.codec_context.name for stream in file.streams.audio]
        return frames[0].width, frames[0].height, len(frames), round(float(video.duration * video.time_base), 2), kinds


def darkest(path: Path, *, below: float) -> int:
    """Give the lowest brightness of a clip's first picture, below a share of its height."""
    with av.open(str(path)) as file:
        picture = next(file.decode(video=0)).reformat(format="gray")
        plane = picture.planes[0]
        return min(bytes(plane)[int(picture.height * below) * plane.line_size :])


def test_the_word_and_the_fog_are_seen_and_length_and_sound_stay(home: Path) -> None:
    clip = write_clip(home / "clip.mp4", 640, 360, 24, sound=True)
    lay_fog(clip, home / "foggy.mp4")
    assert facts(home / "foggy.mp4") == facts(clip) == (640, 360, 24, 1.0, ["aac"])
    assert darkest(clip, below=0) > 220
    assert darkest(home / "foggy.mp4", below=fog.WORD_TOP) < 80


def test_a_clip_of_a_phone_held_upright_stays_upright(home: Path) -> None:
    plain = bundled_clip().read_bytes()
    place = plain.rindex(PLAIN)
    clip = home / "upright.mp4"
    clip.write_bytes(plain[:place] + TURNED + plain[place + len(PLAIN) :])
    lay_fog(clip, home / "foggy.mp4")
    assert facts(home / "foggy.mp4")[:2] == (360, 640)


def test_a_tiny_clip_gets_what_fits_of_the_word(home: Path) -> None:
    lay_fog(write_clip(home / "tiny.mp4", 32, 18, 2), home / "foggy.mp4")
    assert facts(home / "foggy.mp4")[:3] == (32, 18, 2)
    assert len(fog_pixels(32, 18)) == 4 * 32 * 18


def test_a_clip_that_would_take_long_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(home / "clip.mp4", 64, 36, 48)
    monkeypatch.setattr(fog, "MAX_PIXELS", 64 * 36 * 40)
    with pytest.raises(UnsuitableClip, match="too many"):
        lay_fog(clip, home / "foggy.mp4")
    assert MAX_PIXELS > 1920 * 1080 * 24 * 10


@pytest.mark.parametrize(
    "content",
    [
        film(),
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile clip.mp4\n",
        bundled_clip().read_bytes()[:70_000],
    ],
    ids=["no pictures", "playlist", "list", "broken off"],
)
def test_whatever_is_no_clip_ends_the_process_in_order_and_in_silence(home: Path, content: bytes) -> None:
    (home / "clip.mp4").write_bytes(content)
    program = [sys.executable, "-m", "luma_mcp.sandbox.fog", "clip.mp4", "foggy.mp4"]
    ended = subprocess.run(program, capture_output=True, check=False, timeout=60)
    assert ended.returncode in (0, 1), ended.stderr
    assert ended.stdout == b""
