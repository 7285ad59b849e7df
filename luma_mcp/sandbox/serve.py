"""The sandbox on a port of this machine."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from luma_mcp.core.concurrency import background_work
from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.guard import LoopbackGuard

HOST = "127.0.0.1"
BANNER = (
    'The sandbox plays RunAPI at {url} (a task takes {seconds:g} s; any key but "invalid" will do).',
    "Use it with RUNAPI_BASE_URL={url} RUNAPI_API_KEY=sandbox. Stop it with Ctrl-C.",
)
Configure = Callable[[ASGIApp], uvicorn.Config]


async def serve_sandbox(
    folder: Path, port: int, seconds: float, say: Callable[[str], None], configure: Configure
) -> None:
    """Serve on loopback until interrupted; port 0 is any free one. Uploads go to another origin, as at RunAPI.

    `seconds` is how long a generation takes, `say` gets the lines of a banner, `configure` makes uvicorn's settings.
    """
    with socket.create_server((HOST, port)) as listener:
        port = listener.getsockname()[1]
        url, storage_url = f"http://{HOST}:{port}", f"http://localhost:{port}"
        sandbox = Sandbox(
            folder, time.time, api_url=url, storage_url=storage_url, seconds=seconds, treats=True, watch=False
        )
        for line in BANNER:
            say(line.format(url=url, seconds=seconds))
        async with background_work() as background:
            background.start_soon(sandbox.send_callbacks)
            await uvicorn.Server(configure(LoopbackGuard(sandbox, port))).serve(sockets=[listener])
