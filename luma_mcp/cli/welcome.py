"""`luma-mcp` without a command: the server for a host, and for a person at a terminal what it is and what to type."""

import sys

from luma_mcp import __version__
from luma_mcp.cli.console import is_terminal, print_result, stdout_is_terminal
from luma_mcp.cli.imports import large_imports
from luma_mcp.core.settings import Settings

WELCOME = f"""\
luma-mcp {__version__} modifies videos with Luma at RunAPI: a clip and a prompt in, the
new clip on your disk. MCP hosts such as Claude Desktop start it by themselves.

  Try it, without a key or cost:  luma-mcp modify CLIP.mp4 "in snow" --sandbox
  Get a RunAPI key:               luma-mcp login
  Let a host know this server:    luma-mcp config claude-desktop --write
  See whether all is well:        luma-mcp doctor
  Everything else:                luma-mcp --help"""


def run_bare(settings: Settings) -> int:
    """Serve; but where a person is at both ends of a stdio server, say what it is and what to type."""
    if not settings.serves_http and is_terminal(sys.stdin) and stdout_is_terminal():
        print_result(WELCOME)
        return 0
    with large_imports():
        from luma_mcp.cli.servers import serve  # noqa: PLC0415 - brings the MCP SDK, which a person would wait for

    return serve(settings)
