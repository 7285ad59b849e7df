"""What the command line shows a person: a progress bar, a table, exit codes."""

import errno
import os
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import TextIO

from luma_mcp.cli.printable import LINES, printable, printable_json
from luma_mcp.core.errors import Failure
from luma_mcp.core.models import Task
from luma_mcp.transports.stderr import drain_stderr

EXIT_CODES = {
    "missing_api_key": 2,
    "invalid_api_key": 2,
    "insufficient_credits": 3,
    "invalid_request": 4,
    "source_not_allowed": 4,
    "source_not_found": 4,
    "limit_reached": 4,
    "conflict": 4,
    "task_not_found": 4,
    "output_not_writable": 4,
    "submission_unconfirmed": 5,
    "rate_limited": 6,
    "service_unavailable": 6,
    "network": 6,
    "bad_answer": 6,
    "generation_failed": 7,
    "download_failed": 8,
}
EXIT_HELP = """\
exit codes: 0 done, 1 unexpected error, 2 setting or key, 3 credits, 4 request refused,
5 outcome unknown, 6 service or network, 7 generation failed, 8 video made but not saved,
130 interrupted (the task goes on)"""
USUAL_COLUMNS = 80
BAR_WIDTH = 24
LEAST_BAR_WIDTH = 6
BESIDE_BAR = len("[] 100 %  ") + 1
PROMPT_WIDTH = 40


class ProgressBar:
    """One line on a terminal that is drawn over itself; silent elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._alive = stream.isatty()
        self._drawn = 0

    async def report(self, progress: float, total: float, message: str) -> None:
        """Draw progress out of total, and what is going on."""
        if self._alive:
            message = printable(message)
            columns = self._columns()
            width = max(LEAST_BAR_WIDTH, min(BAR_WIDTH, columns - len(message) - BESIDE_BAR))
            done = round(width * progress / total)
            line = f"[{'#' * done}{'-' * (width - done)}] {progress:3.0f} %  {message}"
            self._write(line[: columns - 1])

    def _columns(self) -> int:
        """Tell how wide the terminal is that is drawn on; stdout may be something else."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or USUAL_COLUMNS
        except (OSError, ValueError):
            return USUAL_COLUMNS

    def clear(self) -> None:
        """Leave an empty line for what follows."""
        if self._alive:
            self._write("")

    def _write(self, line: str) -> None:
        blanks = " " * max(0, self._drawn - len(line))  # old consoles of Windows know no command that clears a line
        self._stream.write(f"\r{line}{blanks}{'' if line else chr(13)}")
        self._stream.flush()
        self._drawn = len(line)


def exit_code(task: Task) -> int:
    """Give the exit code for how a task ended."""
    if task.error is None:
        return 0
    return EXIT_CODES.get(task.error.code, 1)


def table(tasks: Sequence[Task]) -> str:
    """Lay tasks out for reading, one a line."""
    if not tasks:
        return "No tasks."
    return "\n".join(table_line(task) for task in tasks)


def table_line(task: Task) -> str:
    """Show one task: when, state, id, prompt, and where the result is."""
    where = task.video_path or (task.video_urls[0] if task.video_urls else task.error.message if task.error else "")
    known = f"{local_time(task.created_at)}  {task.status.value:<11}  {task.task_id or '-':<36}"
    take = f"(take {task.request.take}) " if task.request.take > 1 else ""
    return printable(f"{known}  {clipped(take + task.request.prompt)}  {where}".rstrip())


def local_time(seconds: float) -> str:
    """Write POSIX seconds as a person here reads them."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def clipped(prompt: str) -> str:
    """Fit a prompt into its column, counting wide characters as two."""
    kept, width = "", 0
    for character in printable(" ".join(prompt.split())):
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width > PROMPT_WIDTH:
            return f"{kept}…"
        kept += character
    return kept + " " * (PROMPT_WIDTH + 1 - width)


def explain(failure: Failure) -> None:
    """Say on stderr what went wrong, whether it cost money, and what to do."""
    say(f"{failure.code}: {failure.message}")
    say(f"charged: {failure.charged}. {failure.hint}".rstrip())


def show(result: str) -> None:
    """Put a command's result on stdout, fit for a terminal; raise `BrokenPipeError` if nobody reads it."""
    put(printable(result, kept=LINES))


def show_json(document: str) -> None:
    """Put a JSON document on stdout, with the values that it has and fit for a terminal."""
    put(printable_json(document))


def show_path(path: str) -> None:
    """Put a path on stdout: fit for a terminal where that is one, else as it is, byte for byte, for a script to use."""
    stdout = sys.stdout  # noqa: TID251 - as `put`
    if stdout.isatty() or not isinstance(stdout, TextIOWrapper):
        show(path)
    else:
        put(path, errors="surrogateescape")


def put(result: str, errors: str = "backslashreplace") -> None:
    """Write a result; raise `BrokenPipeError` if nobody reads it, on Windows too."""
    drain_stderr()  # on a terminal, both are one
    stdout = sys.stdout  # noqa: TID251 - the result of a command line call; no protocol is served then
    try:
        if isinstance(stdout, TextIOWrapper):
            stdout.reconfigure(errors=errors)
        stdout.write(f"{result}\n")
        stdout.flush()
    except OSError as error:
        if error.errno == errno.EINVAL:  # what Windows says of a pipe that is closed
            raise BrokenPipeError from error
        raise


def say(line: str) -> None:
    """Tell a person something on stderr, in one line."""
    print(printable(line), file=sys.stderr)  # noqa: T201 - stderr, for people
