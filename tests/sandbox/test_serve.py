"""The sandbox on a port."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from luma_mcp.sandbox import serve
from luma_mcp.sandbox.guard import LoopbackGuard
from luma_mcp.transports.sockets import BoundedConnection, uvicorn_config
from tests.support.raw_http import answered


@pytest.mark.anyio
@pytest.mark.sockets
async def test_each_piece_of_the_sandboxs_answers_is_sent_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    told: list[str] = []
    opened: list[socket.socket] = []

    class Watching(LoopbackGuard):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            connection = opened[-1]
            seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            await super().__call__(scope, receive, send)

    class Noting(BoundedConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            opened.append(transport.get_extra_info("socket"))

    def configure(app: ASGIApp) -> Any:
        assert isinstance(app, LoopbackGuard)
        config = uvicorn_config(app)
        config.http = Noting
        return config

    monkeypatch.setattr(serve, "LoopbackGuard", Watching)
    async with anyio.create_task_group() as group:
        group.start_soon(serve.serve_sandbox, home / "s", 0, 1.0, told.append, configure)
        await anyio.lowlevel.checkpoint()
        port = int(told[0].split(" at ")[1].split()[0].rpartition(":")[2])
        answer = await anyio.to_thread.run_sync(answered, ("127.0.0.1", port), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        group.cancel_scope.cancel()
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert len(seen) == 1
    assert seen[0]
