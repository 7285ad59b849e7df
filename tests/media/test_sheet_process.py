"""Whatever a video does to the process that looks into it, this one goes on, soon and unharmed."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from luma_mcp.media import sheet_process
from luma_mcp.media.sheet_process import SheetVideo, find_frame_reader, run_frames
from tests.support.videos import make_video, needs_frames

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
SLEEP = "import subprocess, sys, time; {more}; time.sleep(60)"


def plays(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have another program run in the place of the one that looks into videos."""
    monkeypatch.setattr(sheet_process, "COMMAND", (sys.executable, "-c", code))


def text(path: Path) -> Path:
    path.write_text("I am no video, whatever my name is.\n" * 100)
    return path


def nothing(path: Path) -> Path:
    path.touch()
    return path


def truncated(path: Path) -> Path:
    whole = make_video(path.with_name("whole.mp4"), seconds=3).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def sixteen_thousand_pixels(path: Path) -> Path:
    """Claim a size in every header that is far larger than the frames are."""
    content = make_video(path).read_bytes()
    path.write_bytes(content.replace((320).to_bytes(2) + (180).to_bytes(2), (16384).to_bytes(2) + (16384).to_bytes(2)))
    return path


def ten_hours(path: Path) -> Path:
    return make_video(path, size=(16, 16), seconds=36_000, rate=1, key_frames=100_000)


def bomb(path: Path) -> Path:
    """Make a few kilobytes that are a hundred megabytes a frame."""
    return make_video(path, size=(7680, 4320), seconds=0.5)


def boxes_without_end(path: Path) -> Path:
    path.write_bytes(b"\0\0\0\x08ftyp" + b"\0\0\0\x08moov" * 100_000)
    return path


HOSTILE = [text, nothing, truncated, sixteen_thousand_pixels, ten_hours, bomb, boxes_without_end]


@needs_frames
@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: str(make.__name__))
async def test_hostile_media_end_the_process_or_are_answered_and_never_end_this_one(
    home: Path, make: Callable[[Path], Path]
) -> None:
    begun = time.monotonic()
    said = await run_frames([SheetVideo(make(home / "clip.mp4"))])
    assert len(said) <= sheet_process.MAX_ANSWER_BYTES
    assert time.monotonic() - begun < 60
    assert (b"\xff\xd8" in said) <= (make in (ten_hours, bomb, sixteen_thousand_pixels))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no groups of processes")
@pytest.mark.parametrize("by", ["time", "caller"])
async def test_a_process_that_hangs_is_killed_with_all_that_it_started(
    home: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    started = home / "started"
    more = f"open({str(started)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid) + '.')"
    plays(monkeypatch, SLEEP.format(more=more))
    monkeypatch.setattr(sheet_process, "WAIT_SECONDS", 2.0 if by == "time" else 60.0)
    (home / "clip.mp4").touch()
    with anyio.move_on_after(2.0 if by == "caller" else 50.0) as scope:
        assert await run_frames([SheetVideo(home / "clip.mp4")]) == b""
    assert scope.cancelled_caught == (by == "caller")
    child = int(started.read_text().removesuffix("."))
    with anyio.fail_after(10):
        while is_running(child):
            await anyio.lowlevel.checkpoint()


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and is not fetched does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if sys.platform == "linux" else True
    except OSError:
        return False


async def test_a_process_that_writes_without_end_is_not_listened_to(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plays(monkeypatch, "import os\nwhile True: os.write(1, b'x' * 65536)")
    (home / "clip.mp4").touch()
    assert await run_frames([SheetVideo(home / "clip.mp4")]) == b""


async def test_a_process_that_dies_at_once_is_no_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plays(monkeypatch, "import os; os.abort()")
    (home / "clip.mp4").touch()
    assert await run_frames([SheetVideo(home / "clip.mp4")] * 2000) == b""


async def test_the_process_knows_nothing_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", "runapi_live_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    plays(monkeypatch, "import os; print(sorted(os.environ), os.environ['PYTHONPATH'], os.getcwd())")
    (home / "clip.mp4").touch()
    said = (await run_frames([SheetVideo(home / "clip.mp4")])).decode()
    assert "secret" not in said
    assert "AWS" not in said
    assert "RUNAPI" not in said
    assert str(home) not in said


async def test_a_link_in_place_of_a_video_is_not_followed(home: Path) -> None:
    (home / "secret").touch()
    try:
        (home / "clip.mp4").symlink_to(home / "secret")
    except OSError:
        pytest.skip("this user may make no links")
    with pytest.raises(OSError, match=r"clip\.mp4"):
        await run_frames([SheetVideo(home / "clip.mp4")])


@needs_frames
async def test_ten_seconds_of_1080p_take_seconds_and_leave_this_process_as_it_was(home: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows counts memory otherwise")
    video = make_video(home / "clip.mp4", size=(1920, 1080), seconds=10, rate=30, key_frames=300)
    await run_frames([SheetVideo(video)])
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert b"\xff\xd8" in await run_frames([SheetVideo(video)])
    assert time.monotonic() - begun < 15, "3 s on a machine that does nothing else"
    unit = 1024 if sys.platform == "linux" else 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 2 << 20


def test_the_reader_is_pyav_or_ffmpeg_with_ffprobe(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_process, "find_spec", lambda _: None)
    monkeypatch.setattr(sheet_process, "find_program", lambda _: None)
    assert find_frame_reader() == ""
    monkeypatch.setattr(sheet_process, "find_program", lambda name: home / name)
    assert find_frame_reader() == str(home / "ffmpeg")
    monkeypatch.setattr(sheet_process, "find_program", lambda name: home / name if name == "ffmpeg" else None)
    assert find_frame_reader() == ""
    monkeypatch.setattr(sheet_process, "find_spec", lambda _: object())
    assert find_frame_reader() == "PyAV"
