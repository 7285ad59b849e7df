"""The process that looks into videos: what it is asked, what it answers, and how it is bounded."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import luma_mcp
from luma_mcp.core.settings_sources import find_program
from luma_mcp.media import frames
from luma_mcp.media.frames import answer, find_reader, open_checked
from luma_mcp.media.frames_ffmpeg import FFmpegReader
from tests.support.videos import decoded_picture, make_video, needs_frames

PACKAGE = str(Path(luma_mcp.__file__).parents[1])
RUN = "from luma_mcp.media import frames; {change}; frames.main()"


def job_for(*paths: Path, **changes: Any) -> dict[str, Any]:
    programs = {name: str(find_program(name) or "") for name in ("ffmpeg", "ffprobe")}
    videos = [
        {"path": str(path), "device": path.stat().st_dev, "inode": path.stat().st_ino, "share": 1.0} for path in paths
    ]
    return {"videos": videos, **programs, **changes}


def run_job(job: object, change: str = "pass") -> tuple[int, bytes]:
    """Run the process with something of it changed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN.format(change=change)],
        input=json.dumps(job).encode(),
        capture_output=True,
        env={"PYTHONPATH": PACKAGE},
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


@needs_frames
def test_the_answer_is_a_line_of_facts_and_a_picture(home: Path) -> None:
    code, said = run_job(job_for(make_video(home / "clip.mp4")))
    line, _, jpeg = said.partition(b"\n")
    found = json.loads(line)
    assert code == 0
    assert (found["result"]["width"], found["source"], found["fault"]) == (320, None, "")
    assert found["result"]["size_bytes"] == (home / "clip.mp4").stat().st_size
    assert decoded_picture(jpeg)[0] == (976, 372)


def test_a_file_that_was_changed_for_another_one_is_not_opened(home: Path) -> None:
    (home / "checked").touch()
    (home / "other").write_text("secret")
    job = job_for(home / "checked")
    os.replace(home / "other", home / "checked")
    assert answer(job) == ({"error": "unusable", "detail": "was moved while it was opened"}, b"")


def test_a_file_that_is_gone_or_a_link_is_an_answer(home: Path) -> None:
    (home / "clip").touch()
    job = job_for(home / "clip")
    (home / "clip").rename(home / "moved")
    assert answer(job)[0]["error"] == "unusable"
    if sys.platform != "win32":
        (home / "clip").symlink_to(home / "moved")
        with pytest.raises(OSError, match="symbolic"):
            open_checked(str(home / "clip"), 0, 0)


def test_without_any_reader_the_answer_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "luma_mcp.media.frames_pyav", None)
    assert answer(job_for(ffmpeg="", ffprobe="")) == ({"error": "no reader"}, b"")
    assert isinstance(find_reader("/bin/ffmpeg", "/bin/ffprobe"), FFmpegReader)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds to bounds of memory")
def test_a_process_that_wants_too_much_memory_gets_none() -> None:
    grow = "frames.answer = lambda job: bytearray(2 << 30)"
    code, said = run_job({}, grow)
    assert (code, said) == (1, b"")


@needs_frames
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of one program")
def test_ten_seconds_of_1080p_take_less_than_150_mib(home: Path) -> None:
    video = make_video(home / "clip.mp4", size=(1920, 1080), seconds=10, rate=30, key_frames=300)
    told = home / "peak"
    peak = f"import atexit; atexit.register(lambda: open({str(told)!r}, 'w').write(open('/proc/self/status').read()))"
    code, said = run_job(job_for(video), f"{peak}; frames.bound_process = lambda: None")
    assert code == 0
    assert b"\xff\xd8" in said
    (line,) = [line for line in told.read_text().splitlines() if line.startswith("VmHWM")]
    assert int(line.split()[1]) < 150 << 10


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarm")
def test_a_process_ends_by_itself_also_when_nobody_waits_for_it() -> None:
    begun = time.monotonic()
    code, said = run_job({}, "frames.MAX_SECONDS = 1; frames.answer = lambda job: __import__('time').sleep(30)")
    assert (code, said) == (-14, b"")
    assert time.monotonic() - begun < 20


def test_the_process_loads_nothing_that_is_slow_or_knows_secrets() -> None:
    listing = (
        "import sys, luma_mcp.media.frames; print([n for n in ('httpx', 'pydantic', 'anyio') if n in sys.modules])"
    )
    command = [sys.executable, "-P", "-c", listing]
    assert subprocess.run(command, capture_output=True, env={"PYTHONPATH": PACKAGE}, check=True).stdout == b"[]\n"
    assert frames.MAX_MEMORY_BYTES <= 1 << 30
