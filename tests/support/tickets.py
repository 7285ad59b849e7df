"""A server over HTTP that gives tickets for uploads and links to videos, to callers with names."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx

from luma_mcp.app.parts import RECEIVED_FOLDER
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.http_server import PAIRS, Hosted, a_moment, hosted
from tests.support.rig import structured

CLIP = bundled_clip().read_bytes()
PUBLIC = "https://luma.example.com"
DAY = 86_400.0


@dataclass
class ShiftedClock:
    """The real time, and as much later as a test says."""

    shift: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.shift


@asynccontextmanager
async def ticket_server(home: Path, **more: Any) -> AsyncGenerator[Hosted]:
    """Serve two callers under a public address; tasks end within a second or two."""
    async with hosted(home, runs=True, **{"auth_tokens": PAIRS, "public_url": PUBLIC, **more}) as server:
        yield server


@asynccontextmanager
async def nobody_at(server: Hosted) -> AsyncGenerator[httpx.AsyncClient]:
    """Open a client without a token, which calls the server by the name that the world knows."""
    async with httpx.AsyncClient(base_url=server.url, headers={"Host": "luma.example.com"}, timeout=60) as http:
        yield http


async def call(server: Hosted, caller: str, tool: str, **arguments: Any) -> dict[str, Any]:
    async with server.client("/mcp", "legacy", caller) as client:
        return structured(await client.call_tool(tool, arguments))


async def offered(server: Hosted, caller: str = "ann") -> tuple[str, str]:
    """Ask for an upload as a model does; give the address below the server's, and the source that names it."""
    told = await call(server, caller, "request_upload")
    return told["upload_url"].removeprefix(PUBLIC), told["source_video_url"]


def left_behind(server: Hosted) -> list[Path]:
    folder = server.app.settings.tasks_dir / RECEIVED_FOLDER
    return [*folder.iterdir()] if folder.exists() else []


def uploads_at_runapi(server: Hosted) -> int:
    return sum(seen.method == "PUT" for seen in server.sandbox.recorded_requests)


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not holds():
            await a_moment()


class HeldBody(AsyncIterator[bytes]):
    """A body of which the first part comes at once, and the rest only when it is let go."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self.begun, self.let_go = anyio.Event(), anyio.Event()
        self._parts = [first, rest]

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        if len(self._parts) == 1:
            self.begun.set()
            await self.let_go.wait()
        return self._parts.pop(0)
