"""The sandbox on a port of this machine."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn

from luma_mcp.background import background_work
from luma_mcp.sandbox.application import Sandbox

HOST = "127.0.0.1"
BANNER = """\
The sandbox plays RunAPI at {url} (a task takes {seconds:g} s; any key but "invalid" will do).
Use it with RUNAPI_BASE_URL={url} RUNAPI_API_KEY=sandbox. Stop it with Ctrl-C."""


async def serve_sandbox(folder: Path, port: int, seconds: float, say: Callable[[str], None]) -> None:
    """Serve until interrupted, on any free port if `port` is 0; uploads go to another origin, as at RunAPI."""
    listener = socket.create_server((HOST, port))
    port = listener.getsockname()[1]
    url, storage_url = f"http://{HOST}:{port}", f"http://localhost:{port}"
    sandbox = Sandbox(folder, time.time, api_url=url, storage_url=storage_url, seconds=seconds)
    say(BANNER.format(url=url, seconds=seconds))
    async with background_work() as background:
        background.start_soon(sandbox.call_back)
        await uvicorn.Server(uvicorn.Config(sandbox, log_config=None)).serve(sockets=[listener])
