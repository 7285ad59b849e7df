"""Frames by the programs `ffmpeg` and `ffprobe`, where PyAV is not installed."""

import json
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from luma_mcp.media.contact_sheet import (
    COLUMNS,
    GAP,
    MAX_PIXELS,
    MAX_SECONDS,
    MediaUnusable,
    OpenVideo,
    Size,
    StreamFacts,
    check_stream,
)

FACTS = (
    "stream=codec_type,codec_name,width,height,duration,avg_frame_rate:stream_side_data=rotation"
    ":stream_disposition=attached_pic:format=duration"
)
QUIET = ("-v", "error")
# MP4 or MOV and nothing else: other formats may name further files, or addresses.
AS_MOV = ("-protocol_whitelist", "file", "-f", "mov")
FEW_THREADS = ("-threads", "2")
FEW_FRAMES = ("-skip_frame", "noref")  # those that no other frame needs are left out


class FFmpegReader:
    """Has FFmpeg's programs decode and encode, in processes of the same group and under the same bounds."""

    def __init__(self, ffmpeg: str, ffprobe: str) -> None:
        self._ffmpeg = ffmpeg
        self._ffprobe = ffprobe

    def read_facts(self, video: OpenVideo) -> StreamFacts:
        found = json.loads(run([self._ffprobe, *QUIET, *AS_MOV, "-show_entries", FACTS, "-of", "json"], video))
        streams: list[dict[str, Any]] = found.get("streams", [])
        pictures = next((each for each in streams if each.get("codec_type") == "video" and not is_cover(each)), None)
        if pictures is None:
            raise MediaUnusable("has no pictures")
        sound = next((str(each.get("codec_name", "")) for each in streams if each.get("codec_type") == "audio"), "")
        codec, width, height = str(pictures.get("codec_name")), pictures.get("width", 0), pictures.get("height", 0)
        check_stream(codec, width, height)
        if any(number(side.get("rotation", 0)) % 180 for side in pictures.get("side_data_list", [])):
            width, height = height, width
        seconds = number(pictures.get("duration", 0)) or number(found.get("format", {}).get("duration", 0))
        return StreamFacts(width, height, seconds, number(pictures.get("avg_frame_rate", 0)), codec, sound)

    def read_cells(self, video: OpenVideo, moments: Sequence[float], size: Size) -> list[bytes]:
        cells: list[bytes] = []
        for moment in moments:
            try:
                cells.append(self._cell(video, moment, size))
            except MediaUnusable:
                if not cells:
                    raise
                cells.append(cells[-1])  # the video ends before that moment
        return cells

    def _cell(self, video: OpenVideo, moment: float, size: Size) -> bytes:
        width, height = size
        fit = (
            f"scale={width}:{height}:force_original_aspect_ratio=decrease:flags=area,"
            f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2,setsar=1"
        )
        bounds = (*FEW_THREADS, *FEW_FRAMES, "-max_pixels", str(MAX_PIXELS), "-ss", str(moment))
        form = ("-an", "-frames:v", "1", "-vf", fit, "-f", "rawvideo", "-pix_fmt", "yuvj420p", *FEW_THREADS, "pipe:1")
        cell = run([self._ffmpeg, "-nostdin", *QUIET, *AS_MOV, *bounds], video, form)
        if len(cell) != width * height * 3 // 2:
            raise MediaUnusable("has no picture at that moment")
        return cell

    def encode_sheet(self, cells: Sequence[bytes], size: Size, quantizer: int) -> bytes:
        tile = f"tile={COLUMNS}x{len(cells) // COLUMNS}:padding={GAP}:margin={GAP}:color=white"
        raw = ("-f", "rawvideo", "-pix_fmt", "yuvj420p", "-s", f"{size[0]}x{size[1]}", "-i", "pipe:0")
        form = ("-vf", tile, "-frames:v", "1", "-q:v", str(quantizer), "-qmin", "1", "-f", "mjpeg", "pipe:1")
        return run_program([self._ffmpeg, *QUIET, *raw, *form], b"".join(cells))


def run(options: Sequence[str], video: OpenVideo, form: Sequence[str] = ()) -> bytes:
    """Run a program on an open video: by its descriptor where there are such paths, for a name may be given anew."""
    video.file.seek(0)
    descriptor = video.file.fileno()
    place = f"file:{video.file.name}" if sys.platform == "win32" else f"file:/dev/fd/{descriptor}"
    return run_program([*options, "-i", place, *form], None, descriptor)


def run_program(command: Sequence[str], given: bytes | None, *descriptors: int) -> bytes:
    """Give what a program writes; raise `MediaUnusable` if it fails."""
    kept = () if sys.platform == "win32" else descriptors
    try:
        done = subprocess.run(  # noqa: S603 - the program was found in PATH, and gets no words of others
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=kept,
            timeout=MAX_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise MediaUnusable("cannot be decoded") from error
    return done.stdout


def is_cover(stream: dict[str, Any]) -> bool:
    return bool(stream.get("disposition", {}).get("attached_pic"))


def number(value: object) -> float:
    """Read a number as ffprobe writes it, which may be a fraction; 0 for what is none."""
    try:
        return float(Fraction(str(value)))
    except (ValueError, ZeroDivisionError):
        return 0.0
