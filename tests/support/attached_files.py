"""Where ChatGPT keeps what its users attach: short-lived links, in this process."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
from mcp_types import Implementation

from luma_mcp.app.parts import ATTACHED_FOLDER, Parts
from luma_mcp.runapi.connection import HttpClients
from luma_mcp.sandbox.requests import bundled_clip

CHATGPT = Implementation(name="openai-mcp (ChatGPT)", version="1.0.0")
LINK = "https://files.oaiusercontent.example/file-1?sig=secret"
CLIP = bundled_clip().read_bytes()
Handler = Callable[[httpx.Request], httpx.Response]


def body(content: bytes, status: int = 200) -> httpx.Response:
    """Answer with bytes that come as they do over a network."""
    length = {"Content-Length": str(len(content))}
    return httpx.Response(status, headers=length, stream=httpx.ByteStream(content))


def whole_clip(_: httpx.Request) -> httpx.Response:
    return body(CLIP)


@dataclass
class AttachedFiles:
    """What was asked of the links, and the answer to that."""

    answer: Handler = whole_clip
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        return self.answer(request)


@asynccontextmanager
async def linked_files(parts: Parts) -> AsyncGenerator[AttachedFiles]:
    """Let an application fetch attached videos from here."""
    files = AttachedFiles()
    clients = HttpClients(httpx.MockTransport(files))
    parts.attachments._connection = clients
    yield files
    await clients.aclose()


def left_behind(parts: Parts) -> list[Path]:
    folder = parts.settings.tasks_dir / ATTACHED_FOLDER
    return [*folder.iterdir()] if folder.exists() else []


def attached(link: str = LINK, **more: Any) -> dict[str, Any]:
    """Make the object that ChatGPT fills in."""
    return {"download_url": link, "file_id": "file_1", "mime_type": "video/mp4", "file_name": "walk.mp4", **more}


class EndlessBody(httpx.AsyncByteStream):
    """The beginning of a video, and then nothing for an hour."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CLIP[:1000]
        await anyio.sleep(3600)


class LargeBody(httpx.AsyncByteStream):
    """A video with a million bytes behind it, as often as is said; nobody announces its length."""

    def __init__(self, count: int) -> None:
        self._pieces = [CLIP, *[b"\0" * 1_000_000] * count]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop(0)
