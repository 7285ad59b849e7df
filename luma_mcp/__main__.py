"""The entry of every command: what was asked for, and how its end becomes an exit code."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # `python -m` puts the working directory there, whose httpx.py must not pass for the library

import os
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any

from luma_mcp.cli.commands import run_command
from luma_mcp.cli.console import EXIT_CODES, ExitCode
from luma_mcp.cli.main import parse_command_line
from luma_mcp.core.errors import LumaError
from luma_mcp.transports.stderr import install_nonblocking_stderr


def main(argv: Sequence[str] | None = None) -> int:
    install_nonblocking_stderr()
    for stream in (sys.stdout, sys.stderr):  # noqa: TID251 - only its encoding is set
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    given = parse_command_line(sys.argv[1:] if argv is None else argv)
    try:
        return run_and_explain(given)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing is flushed into the closed pipe at exit
        return ExitCode.BROKEN_PIPE
    except KeyboardInterrupt:  # what goes on was told by whoever was interrupted
        return ExitCode.INTERRUPTED


def run_and_explain(given: dict[str, Any]) -> int:
    """Run a command; tell what went wrong, as JSON too where that was asked for."""
    try:
        return run_command(given)
    except LumaError as error:
        from luma_mcp.cli.explanations import print_error  # noqa: PLC0415 - --version must not wait for what it needs

        print_error(error, as_json=bool(given.get("as_json")))
        return EXIT_CODES[error.code]


if __name__ == "__main__":
    sys.exit(main())
