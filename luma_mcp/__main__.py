"""The entry of every command: what was asked for, and how its end becomes an exit code."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # `python -m` puts the working directory there, whose httpx.py must not pass for the library

import os
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from typing import cast

from luma_mcp.cli.console import EXIT_CODES, explain, say
from luma_mcp.cli.main import parser
from luma_mcp.core.errors import LumaError
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.transports.stderr import spare_stderr


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    spare_stderr()
    for stream in (sys.stdout, sys.stderr):  # noqa: TID251 - only its encoding is set
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    arguments = vars(parser().parse_args(argv))
    run = cast("Callable[..., int]", arguments.pop("run"))
    own = {name: arguments.pop(name) for name in list(arguments) if name not in Settings.model_fields}
    try:
        return run(arguments, **own)
    except BadSetting as error:
        say(error.message)
        return EXIT_CODES["missing_api_key"]
    except LumaError as error:
        explain(error.failure())
        return EXIT_CODES[error.code]
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing is flushed into the closed pipe at exit
        return 141
    except KeyboardInterrupt:
        say("Interrupted. A submitted task goes on; the same command joins it again.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
