"""`luma-mcp preview`: frames of what a task made, as a picture in a file."""

import errno
import os
from functools import partial
from pathlib import Path

import anyio

from luma_mcp.app.app import open_app
from luma_mcp.cli.console import ExitCode, print_message, print_path
from luma_mcp.cli.output import SEPARATORS
from luma_mcp.core.errors import OutputNotWritable
from luma_mcp.core.filenames import make_filename
from luma_mcp.core.models import LOCAL_CALLER, Task
from luma_mcp.core.settings import Settings
from luma_mcp.core.small_files import read_small

MAX_NAMES = 100
PICTURE_SUFFIX = ".jpg"


def run_preview(settings: Settings, task_id: str, *, output: str) -> int:
    """Write a picture of a finished task's result, tell where it is, and what it shows."""
    path, lines = anyio.run(partial(preview_to_file, settings, task_id, output))
    for line in lines:
        print_message(line)
    print_path(str(path))
    return ExitCode.DONE


async def preview_to_file(settings: Settings, task_id: str, output: str) -> tuple[Path, tuple[str, ...]]:
    """Give the picture's path and what to say of it; raise a `LumaError`."""
    async with open_app(settings) as app:
        task = await app.find(task_id, LOCAL_CALLER)
        preview = await app.preview(task_id, LOCAL_CALLER)
    target = picture_path(output, settings.output_dir, task)
    try:
        return write_picture(target, preview.jpeg), preview.lines
    except OSError as error:
        raise OutputNotWritable(f"{target} cannot be written: {error.strerror}.") from error


def picture_path(output: str, folder: Path, task: Task) -> Path:
    """Give the path that a person typed: a folder is what exists as one or ends with a slash; empty is `folder`."""
    named = Path(os.path.abspath(os.path.expanduser(output))) if output.strip() else folder
    if output.strip() and not (output.endswith(SEPARATORS) or named.is_dir()):
        return named
    return named / Path(make_filename(task, named)).with_suffix(PICTURE_SUFFIX)


def write_picture(target: Path, jpeg: bytes) -> Path:
    """Write a new file, and give its path: a number is added where another one is; the same picture stays.

    Raises `OSError`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, MAX_NAMES):
        path = target.with_stem(f"{target.stem}-{number}") if number > 1 else target
        try:
            with path.open("xb") as file:
                file.write(jpeg)
                return path
        except FileExistsError:
            if path.is_file() and path.stat().st_size == len(jpeg) and read_small(path) == jpeg:
                return path
    raise FileExistsError(errno.EEXIST, "a hundred files of that name exist", str(target))
