"""Looking into videos, in a process of its own: `python -P -m luma_mcp.media.frames` makes one contact sheet.

A video may be anything, and what decodes it has bugs. So this process bounds its own memory and time, knows no secret,
and may die of what it reads.

stdin: a job as JSON. stdout: one line of JSON, what was found, and then the picture, a JPEG.
"""

import json
import os
import signal
import sys
from typing import Any, BinaryIO

from luma_mcp.media.contact_sheet import (
    MAX_SECONDS,
    NO_READER,
    UNUSABLE,
    FrameReader,
    MediaUnusable,
    OpenVideo,
    draw_sheet,
)
from luma_mcp.media.frames_ffmpeg import FFmpegReader

MAX_MEMORY_BYTES = 1 << 30  # of addresses, of which a 1080p clip uses a tenth


def bound_process() -> None:
    """Bound memory, time and files of this process and of those that it starts, where the system can."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has none

        limits = {
            resource.RLIMIT_AS: MAX_MEMORY_BYTES,
            resource.RLIMIT_CPU: MAX_SECONDS * 2,  # on two cores
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_FSIZE: 0,
        }
        for limit, most in limits.items():
            try:
                resource.setrlimit(limit, (most, most))
            except (OSError, ValueError):
                continue  # macOS knows the first, and does not hold to it
        signal.alarm(MAX_SECONDS)  # also when nobody waits for this process any more


def open_checked(path: str, device: int, inode: int) -> BinaryIO:
    """Open a file if it is still the one that was checked; raise `MediaUnusable`."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb", buffering=0)
    found = os.fstat(file.fileno())
    if (found.st_dev, found.st_ino) != (device, inode):
        file.close()
        raise MediaUnusable("was moved while it was opened")
    return file


def find_reader(ffmpeg: str, ffprobe: str) -> FrameReader[Any] | None:
    """Give PyAV if it is installed, else FFmpeg's programs if there are any."""
    try:
        from luma_mcp.media.frames_pyav import PyAVReader  # noqa: PLC0415 - it may not be installed
    except ImportError:
        return FFmpegReader(ffmpeg, ffprobe) if ffmpeg and ffprobe else None
    return PyAVReader()


def answer(job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Do a job; what cannot be done is an answer too."""
    reader = find_reader(job["ffmpeg"], job["ffprobe"])
    if reader is None:
        return {"error": NO_READER}, b""
    try:
        videos = [
            OpenVideo(open_checked(one["path"], one["device"], one["inode"]), one["share"]) for one in job["videos"]
        ]
        return draw_sheet(reader, videos)
    except (MediaUnusable, OSError) as error:
        said = str(error) if isinstance(error, MediaUnusable) else "cannot be read"
        return {"error": UNUSABLE, "detail": said}, b""


def main() -> None:
    """Read a job, answer it."""
    bound_process()
    found, picture = answer(json.load(sys.stdin))
    with os.fdopen(1, "wb") as out:
        out.write(json.dumps(found).encode() + b"\n" + picture)


if __name__ == "__main__":
    main()
