"""Contact sheets of finished videos: made by another process, checked, and kept beside the ledger for the next look."""

import logging
import os
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from luma_mcp.core.errors import DataNotWritable, PreviewFailed, PreviewToolMissing
from luma_mcp.core.paths import real_path
from luma_mcp.media.contact_sheet import (
    COLUMNS,
    GAP,
    MAX_PICTURE_BYTES,
    ROWS,
    UNUSABLE,
    Size,
    StreamFacts,
    cell_size,
)
from luma_mcp.media.files import open_regular_file, temporary_file
from luma_mcp.media.sheet_process import MAX_ANSWER_BYTES, SheetVideo, find_frame_reader, run_frames

MAX_PARALLEL_SHEETS = 2
MAX_SHEETS = 200  # in the folder, of 60 KB at most
SHEET_DAYS = 30
LEFTOVER_SECONDS = 600.0
SHEET_SUFFIX, PART_SUFFIX = ".sheet", ".part"
JPEG_BEGIN, JPEG_END, JPEG_FRAME = b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xc0"
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Pixels = Annotated[int, Field(gt=0, le=1 << 16)]
CodecName = Annotated[str, Field(pattern=r"^[a-z0-9_]{0,32}$")]
Reason = Annotated[str, Field(pattern=r"^[a-zA-Z0-9, -]{0,120}$")]
logger = logging.getLogger(__name__)
ANSWER_CONFIG = ConfigDict(frozen=True, defer_build=True)  # few servers ever look into a video


class VideoStream(BaseModel):
    """What a video is, as the process says that looked into it."""

    model_config = ANSWER_CONFIG
    width: Pixels
    height: Pixels
    seconds: Seconds
    frames_per_second: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
    codec: CodecName
    sound: CodecName
    size_bytes: Annotated[int, Field(ge=0, le=1 << 50)]
    share: Annotated[float, Field(ge=0, le=1)]


class SheetFacts(BaseModel):
    """What is on a sheet: six frames of the result, or three of the source above three of the result."""

    model_config = ANSWER_CONFIG
    result: VideoStream
    source: VideoStream | None
    moments: Annotated[tuple[Seconds, ...], Field(min_length=COLUMNS, max_length=COLUMNS * ROWS)]
    fault: Reason  # what keeps a source that was found from being shown, as the end of a sentence


class SheetFailure(BaseModel):
    """Why there is no sheet."""

    model_config = ANSWER_CONFIG
    error: str
    detail: Reason = ""


class ContactSheet(BaseModel):
    """A picture of frames, and what is on it."""

    model_config = ANSWER_CONFIG
    facts: SheetFacts
    jpeg: bytes


ANSWER = TypeAdapter[SheetFacts | SheetFailure](SheetFacts | SheetFailure, config=ConfigDict(defer_build=True))


class ContactSheets:
    """Makes contact sheets, and keeps the newest in a folder of its own. Whoever makes one takes its `turn`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.turn = anyio.Semaphore(MAX_PARALLEL_SHEETS)

    def check_available(self) -> None:
        """Raise `PreviewToolMissing` if nothing is installed that reads frames."""
        if not find_frame_reader():
            raise PreviewToolMissing

    async def find_sheet(self, name: str) -> ContactSheet | None:
        """Give a sheet that was kept under a name; None if there is none, or no good one."""
        return await anyio.to_thread.run_sync(read_sheet, self._folder / f"{name}{SHEET_SUFFIX}")

    async def draw(self, result: SheetVideo, source: SheetVideo | None) -> ContactSheet:
        """Make a sheet; a source that cannot be shown is left out of it.

        Raises `PreviewFailed` or `PreviewToolMissing`.
        """
        try:
            if source and (sheet := parse_answer(await run_frames([result, source]))):
                return sheet
            sheet = parse_answer(await run_frames([result]))
        except OSError as error:
            raise PreviewFailed("The finished video cannot be opened.") from error
        if sheet is None:
            raise PreviewFailed("Looking into the finished video took too much time or memory.")
        return sheet

    async def keep(self, name: str, sheet: ContactSheet) -> None:
        """Keep a sheet for the next time; a disk that takes none is no failure."""
        try:
            await anyio.to_thread.run_sync(write_sheet, self._folder, name, sheet)
        except OSError as error:
            logger.debug("A contact sheet was not kept: %s", error.strerror)

    @contextmanager
    def part(self) -> Generator[Path]:
        """Give the path of a new file for a part of a video, which is removed afterwards.

        Raises `DataNotWritable`.
        """
        try:
            make_folder(self._folder)
        except OSError as error:
            raise DataNotWritable(f"The folder {self._folder} cannot be written: {error.strerror}.") from error
        part = real_path(self._folder) / f"{uuid.uuid4().hex}{PART_SUFFIX}"
        with temporary_file(part):
            yield part


def parse_answer(content: bytes) -> ContactSheet | None:
    """Read what the process said, or what was kept of it: both are input. None for what cannot be a sheet.

    Raises `PreviewFailed` or `PreviewToolMissing` where it says why there is none.
    """
    line, _, jpeg = content.partition(b"\n")
    try:
        found = ANSWER.validate_json(line)
    except ValidationError:
        return None
    if isinstance(found, SheetFailure):
        if found.error == UNUSABLE:
            raise PreviewFailed(f"The finished video {found.detail}.")
        raise PreviewToolMissing
    return ContactSheet(facts=found, jpeg=jpeg) if jpeg_size(jpeg) == sheet_size(found.result) else None


def sheet_size(stream: VideoStream) -> Size:
    """Give width and height of the sheet of a result."""
    width, height = cell_size(StreamFacts(**stream.model_dump()))
    return COLUMNS * width + (COLUMNS + 1) * GAP, ROWS * height + (ROWS + 1) * GAP


def jpeg_size(picture: bytes) -> Size | None:
    """Read width and height of a JPEG of bearable size; None for anything else."""
    if len(picture) > MAX_PICTURE_BYTES or not (picture.startswith(JPEG_BEGIN) and picture.endswith(JPEG_END)):
        return None
    at = 2
    while picture[at : at + 1] == b"\xff" and at + 9 <= len(picture):
        if picture[at : at + 2] == JPEG_FRAME:
            return int.from_bytes(picture[at + 7 : at + 9]), int.from_bytes(picture[at + 5 : at + 7])
        at += 2 + int.from_bytes(picture[at + 2 : at + 4])
    return None


def read_sheet(path: Path) -> ContactSheet | None:
    try:
        with open_regular_file(path) as file:
            return parse_answer(file.read(MAX_ANSWER_BYTES))
    except (OSError, PreviewFailed, PreviewToolMissing):
        return None


def write_sheet(folder: Path, name: str, sheet: ContactSheet) -> None:
    make_folder(folder)
    part = folder / f"{uuid.uuid4().hex}{PART_SUFFIX}"
    with temporary_file(part):
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(sheet.facts.model_dump_json().encode() + b"\n" + sheet.jpeg)
        part.replace(folder / f"{name}{SHEET_SUFFIX}")
    remove_old_sheets(folder, time.time())


def make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def remove_old_sheets(folder: Path, now: float) -> None:
    """Keep the newest sheets, for a month at most, and nothing that was left of parts."""
    written: list[tuple[float, Path]] = []
    for path in folder.iterdir():
        with suppress(OSError):
            written.append((path.lstat().st_mtime, path))
    sheets = sorted((each for each in written if each[1].suffix == SHEET_SUFFIX), reverse=True)
    parts = [path for at, path in written if path.suffix == PART_SUFFIX and at < now - LEFTOVER_SECONDS]
    old = [path for place, (at, path) in enumerate(sheets) if place >= MAX_SHEETS or at < now - SHEET_DAYS * 86_400]
    for path in (*parts, *old):
        with suppress(OSError):
            path.unlink()
