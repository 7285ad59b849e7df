"""The process that looks into videos, from outside: started with nothing secret, bounded, and killed with its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import anyio
import anyio.to_thread

import luma_mcp
from luma_mcp.core.settings_sources import environment, find_program
from luma_mcp.media.contact_sheet import MAX_PICTURE_BYTES, MAX_SECONDS
from luma_mcp.media.files import open_without_links

COMMAND = (sys.executable, "-P", "-m", "luma_mcp.media.frames")
KEPT_VARIABLES = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without which programs do not start
WAIT_SECONDS = MAX_SECONDS + 3.0
REAP_SECONDS = 1.0
MAX_ANSWER_BYTES = MAX_PICTURE_BYTES * 2
PYAV, FFMPEG, FFPROBE = "av", "ffmpeg", "ffprobe"


@dataclass(frozen=True, slots=True)
class SheetVideo:
    """A file to be looked into; of one that was fetched in part, `share` is how much, 0..1."""

    path: Path
    share: float = 1.0


def find_frame_reader() -> str:
    """Say what frames are read with, PyAV or the path of ffmpeg; empty if there is neither."""
    if find_spec(PYAV):
        return "PyAV"
    ffmpeg = find_program(FFMPEG)
    return str(ffmpeg) if ffmpeg and find_program(FFPROBE) else ""


async def run_frames(videos: Sequence[SheetVideo]) -> bytes:
    """Give what the process answers about a result and its source; empty if it died, or took too long.

    Raises `OSError` for a file that cannot be opened.
    """
    job = await anyio.to_thread.run_sync(make_job, videos, abandon_on_cancel=True)
    process = start_process()
    answer = b""
    try:
        with anyio.move_on_after(WAIT_SECONDS):
            answer = await anyio.to_thread.run_sync(partial(exchange, process, job), abandon_on_cancel=True)
    finally:
        end_process(process)
    return answer


def make_job(videos: Sequence[SheetVideo]) -> bytes:
    programs = {name: str(find_program(name) or "") for name in (FFMPEG, FFPROBE)}
    return json.dumps({"videos": [describe_file(video) for video in videos], **programs}).encode()


def describe_file(video: SheetVideo) -> dict[str, object]:
    """Name a file so that no other one can take its place."""
    with open_without_links(video.path) as file:
        found = os.fstat(file.fileno())
    return {"path": str(video.path), "device": found.st_dev, "inode": found.st_ino, "share": video.share}


def start_process() -> "subprocess.Popen[bytes]":
    package = Path(luma_mcp.__file__).parents[1]
    kept = {name: value for name, value in environment().items() if name in KEPT_VARIABLES}
    return subprocess.Popen(  # noqa: S603 - our own program
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=package,
        env={**kept, "PYTHONPATH": str(package)},
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def exchange(process: "subprocess.Popen[bytes]", job: bytes) -> bytes:
    """Hand a job over, and read the answer; it is empty if the process ended before, or wrote too much."""
    if process.stdin is None or process.stdout is None:
        return b""
    try:
        with process.stdout as said:  # closed here: who waits must not wait for whatever still holds the other end
            with process.stdin as given:
                given.write(job)
            answer = said.read(MAX_ANSWER_BYTES + 1)
    except OSError:  # it died
        return b""
    return answer if len(answer) <= MAX_ANSWER_BYTES else b""


def end_process(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with all that it started; whatever it had to say has been read."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):  # what macOS says of a group of the dead
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(REAP_SECONDS)
