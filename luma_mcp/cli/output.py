"""Where a person wants a copy of the video: `--output` as it is typed, a file or a folder."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from luma_mcp.cli.explanations import WrongArguments
from luma_mcp.core.filenames import filename_fault, validate_filename
from luma_mcp.media.files import probe_folder

SEPARATORS = (os.sep, os.altsep or os.sep)
OUTPUT_HINT = "Give a file such as fog.mp4, or a folder: one that exists, or whose name ends with a slash."


@dataclass(frozen=True, slots=True)
class Output:
    """A folder, and the name of a file in it; empty for the name that the video has."""

    folder: Path
    name: str = ""


def read_output(typed: str) -> Output | None:
    """Read what was typed, from where the person is; None for nothing. Raises `WrongArguments`.

    A folder is what exists as one or ends with a slash.
    """
    if not typed.strip():
        return None
    path = Path(os.path.abspath(os.path.expanduser(typed)))
    if typed.endswith(SEPARATORS) or os.path.isdir(path):
        return checked(Output(path))
    if os.path.exists(path) and not os.path.isfile(path):
        raise WrongArguments(f"--output: {path} is no regular file.", hint=OUTPUT_HINT)
    if fault := filename_fault(path.name):
        raise WrongArguments(f"--output: the name of the file {fault}.", hint=OUTPUT_HINT)
    return checked(Output(path.parent, validate_filename(path.name)))


def checked(output: Output) -> Output:
    """Refuse a folder that cannot be written, before anything is paid for; one that is not there yet is not made."""
    there = next(folder for folder in (output.folder, *output.folder.parents) if folder.exists())
    try:
        if not os.path.isdir(there):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        probe_folder(there)
    except OSError as error:
        raise WrongArguments(f"--output: {there} cannot be written: {error.strerror}.", hint=OUTPUT_HINT) from error
    return output
