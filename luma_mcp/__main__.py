"""The entry of every command: what was asked for, and how its end becomes an exit code."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # `python -m` puts the working directory there, whose httpx.py must not pass for the library

import os
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from typing import cast

from luma_mcp.cli.console import EXIT_CODES, ExitCode, print_message
from luma_mcp.cli.explanations import print_error
from luma_mcp.cli.main import build_parser
from luma_mcp.core.errors import LumaError
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.transports.stderr import install_nonblocking_stderr


def main(argv: Sequence[str] | None = None) -> int:
    install_nonblocking_stderr()
    for stream in (sys.stdout, sys.stderr):  # noqa: TID251 - only its encoding is set
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    arguments = vars(build_parser().parse_args(argv))
    run = cast("Callable[..., int]", arguments.pop("run"))
    own = {name: arguments.pop(name) for name in list(arguments) if name not in Settings.model_fields}
    try:
        return run(arguments, **own)
    except BadSetting as error:
        print_message(error.message)  # one line, which is read in hosts' logs too
        return ExitCode.SETTING_OR_KEY
    except LumaError as error:
        print_error(error)
        return EXIT_CODES[error.code]
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing is flushed into the closed pipe at exit
        return ExitCode.BROKEN_PIPE
    except KeyboardInterrupt:  # what goes on was told by whoever was interrupted
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
