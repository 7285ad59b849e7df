"""HTTP request by request and byte by byte, for what no well-behaved client would do."""

import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support import rig
from tests.support.http_server import ASK, BOUND_SECONDS, Hosted, dialled, event_stream
from tests.support.rig import ERAS
from tests.support.stdio_client import INITIALIZE

ACCEPT = {"Accept": "application/json, text/event-stream"}
MODERN = ERAS[1]
MODERN_META = rig.MODERN_META | {"progressToken": "p"}


@asynccontextmanager
async def calling(plain: httpx.AsyncClient, path: str, era: str, ask: dict[str, Any] = ASK) -> AsyncGenerator[None]:
    """Call modify_video with raw HTTP; inside there was progress, and the connection is dropped when left."""
    call = rpc("tools/call", {"name": "modify_video", "arguments": ask, "_meta": {"progressToken": "p"}})
    headers = ACCEPT
    if era == MODERN:
        call["params"]["_meta"] = MODERN_META
        headers = ACCEPT | modern_headers("tools/call", "modify_video")
    if path == "/sse":
        async with event_stream(plain) as (address, lines):
            if era != MODERN:
                await initialize(plain, address, {})
            await plain.post(address, json=call)
            await progress(lines)
            yield
        return
    if era != MODERN:
        headers = ACCEPT | await initialize(plain, path, headers)
    async with plain.stream("POST", path, headers=headers, json=call) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        await progress(lines)
        yield


async def progress(lines: AsyncIterator[str]) -> None:
    while "notifications/progress" not in await anext(lines):
        pass


async def initialize(plain: httpx.AsyncClient, path: str, headers: dict[str, str]) -> dict[str, str]:
    """Begin a session as clients of the handshake era do, and give the header that names it."""
    begun = await plain.post(path, headers=headers, json=rpc("initialize", INITIALIZE))
    session = {name: value for name, value in begun.headers.items() if name == "mcp-session-id"}
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await plain.post(path, headers=headers | session, json=notification)).status_code == 202
    return session


def rpc(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1 if method == "initialize" else 2, "method": method, "params": params}


def modern_headers(method: str, name: str = "") -> dict[str, str]:
    """Give the headers that say what a request of the modern era is about."""
    return {"MCP-Protocol-Version": MODERN, "Mcp-Method": method} | ({"Mcp-Name": name} if name else {})


def answered(place: tuple[str, int], request: bytes) -> bytes:
    """Send some bytes, and give the first that come back."""
    with socket.create_connection(place, timeout=BOUND_SECONDS) as connection:
        connection.sendall(request)
        return connection.recv(4096)


def all_that_comes(port: int, request: bytes) -> bytes:
    """Send some bytes, and give all that comes back until the other end has closed the connection."""
    with dialled(port) as connection:
        connection.sendall(request)
        pieces: list[bytes] = []
        try:
            while piece := connection.recv(4096):
                pieces.append(piece)
        except ConnectionResetError:
            pass
        return b"".join(pieces)


@asynccontextmanager
async def unread(server: Hosted, answer_to: dict[str, Any]) -> AsyncGenerator[None]:
    """Ask, and do not read the answer, which is larger than what fits in between."""
    asked = httpx.Request(
        "POST", server.url + "/mcp", headers=ACCEPT | modern_headers("tools/call", "modify_video"), json=answer_to
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + asked.content)
        yield
