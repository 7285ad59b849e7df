"""Where a person wants the video: `--output` as it is typed, a file or a folder."""

import os
from pathlib import Path

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.filenames import filename_fault, validate_filename
from luma_mcp.core.settings import Settings

SEPARATORS = (os.sep, os.altsep or os.sep)
OUTPUT_HINT = "Give a file such as fog.mp4, or a folder: one that exists, or whose name ends with a slash."


def with_output(settings: Settings, output: str) -> tuple[Settings, str]:
    """Give settings that save where `output` says, and the file's name; empty is a name made of day, prompt and id.

    A folder is what exists as one or ends with a slash; relative paths begin where the person is. Files saved earlier
    are still found where the settings looked before. Raises `InvalidRequest` for what no file can be called.
    """
    if not output.strip():
        return settings, ""
    path = Path(os.path.abspath(os.path.expanduser(output)))
    is_folder = output.endswith(SEPARATORS) or os.path.isdir(path)
    folder, name = (path, "") if is_folder else (path.parent, path.name)
    if name and (fault := filename_fault(name)):
        raise InvalidRequest(f"--output: the name of the file {fault}.", hint=OUTPUT_HINT)
    looked = (*settings.readable_folders, settings.output_dir)
    there = settings.model_copy(update={"output_dir": folder, "media_roots": looked, "save": "auto"})
    return there, validate_filename(name)
