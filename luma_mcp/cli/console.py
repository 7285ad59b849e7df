"""What the command line writes where, fit for a terminal, and its exit codes."""

import errno
import sys
from datetime import UTC, datetime
from enum import IntEnum
from io import TextIOWrapper
from typing import TextIO

from luma_mcp.cli.printable import LAYOUT_CHARACTERS, printable, printable_json
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Task
from luma_mcp.transports.stderr import drain_stderr

BAD_SETTING = "bad_setting"  # no error code of a task, but of the command line


class ResultNotWritten(LumaError):
    """Standard output does not take the result."""

    code = "output_not_writable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The result cannot be written to standard output: {reason}.")


class ExitCode(IntEnum):
    """How a command ends, as `EXIT_HELP` tells people; 1 is an error that nobody foresaw."""

    DONE = 0
    UNEXPECTED = 1
    SETTING_OR_KEY = 2
    CREDITS = 3
    REFUSED = 4
    OUTCOME_UNKNOWN = 5
    SERVICE_OR_NETWORK = 6
    GENERATION_FAILED = 7
    NOT_SAVED = 8
    INTERRUPTED = 130  # as shells say it of SIGINT
    BROKEN_PIPE = 141  # as shells say it of SIGPIPE


EXIT_CODES = {
    BAD_SETTING: ExitCode.SETTING_OR_KEY,
    "missing_api_key": ExitCode.SETTING_OR_KEY,
    "invalid_api_key": ExitCode.SETTING_OR_KEY,
    "insufficient_credits": ExitCode.CREDITS,
    "invalid_request": ExitCode.REFUSED,
    "source_not_allowed": ExitCode.REFUSED,
    "source_not_found": ExitCode.REFUSED,
    "limit_reached": ExitCode.REFUSED,
    "confirmation_declined": ExitCode.REFUSED,
    "confirmation_unavailable": ExitCode.REFUSED,
    "conflict": ExitCode.REFUSED,
    "task_not_found": ExitCode.REFUSED,
    "output_not_writable": ExitCode.REFUSED,
    "submission_unconfirmed": ExitCode.OUTCOME_UNKNOWN,
    "rate_limited": ExitCode.SERVICE_OR_NETWORK,
    "service_unavailable": ExitCode.SERVICE_OR_NETWORK,
    "network": ExitCode.SERVICE_OR_NETWORK,
    "bad_answer": ExitCode.SERVICE_OR_NETWORK,
    "generation_failed": ExitCode.GENERATION_FAILED,
    "download_failed": ExitCode.NOT_SAVED,
}
EXIT_HELP = """\
exit codes: 0 done, 1 unexpected error, 2 setting or key, 3 credits, 4 request
refused, 5 outcome unknown, 6 service or network, 7 generation failed, 8 video
made but not saved, 130 interrupted (the task goes on)"""


def exit_code(task: Task) -> ExitCode:
    return EXIT_CODES.get(task.error.code, ExitCode.UNEXPECTED) if task.error else ExitCode.DONE


def local_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person is at the other end; programs started without a console have no streams at all."""
    return stream is not None and stream.isatty()


def stdout_is_terminal() -> bool:
    """Tell whether a person reads the results."""
    return is_terminal(sys.stdout)  # noqa: TID251 - nothing is written


def print_result(result: str) -> None:
    """Put a command's result on stdout, fit for a terminal; raise `BrokenPipeError` if nobody reads it."""
    write_stdout(printable(result, kept=LAYOUT_CHARACTERS))


def print_json(document: str) -> None:
    """Put a JSON document on stdout, with the values that it has and fit for a terminal."""
    write_stdout(printable_json(document))


def print_path(path: str) -> None:
    """Put a path on stdout: fit for a terminal where that is one, else as it is, byte for byte, for a script to use."""
    stdout = sys.stdout  # noqa: TID251 - as `write_stdout`
    if is_terminal(stdout) or not isinstance(stdout, TextIOWrapper):
        print_result(path)
    else:
        write_stdout(path, errors="surrogateescape")


def write_stdout(result: str, errors: str = "backslashreplace") -> None:
    """Write a result; raise `BrokenPipeError` if nobody reads it, on Windows too, and `ResultNotWritten`."""
    drain_stderr()  # on a terminal, both are one
    stdout = sys.stdout  # noqa: TID251 - the result of a command line call; no protocol is served then
    if stdout is None:  # closed by whoever started this program
        raise ResultNotWritten("it is closed")
    try:
        if isinstance(stdout, TextIOWrapper):
            stdout.reconfigure(errors=errors)
        stdout.write(f"{result}\n")
        stdout.flush()
    except OSError as error:
        if error.errno == errno.EINVAL:  # what Windows says of a pipe that is closed
            raise BrokenPipeError from error
        if isinstance(error, BrokenPipeError):
            raise
        raise ResultNotWritten(error.strerror or "") from error


def print_message(line: str) -> None:
    print(printable(line), file=sys.stderr)  # noqa: T201 - stderr, for people
