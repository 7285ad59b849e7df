"""A sandbox on a real socket with RunAPI's published client before it, and one within this process."""

import socket
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import httpx
import pytest
import uvicorn
from runapi.luma import LumaClient
from starlette.types import Receive, Scope, Send

from luma_mcp.sandbox.application import STORAGE_URL, Sandbox
from luma_mcp.sandbox.requests import ContractVariant
from luma_mcp.sandbox.serve import HOST
from tests.support.http_server import SandboxClock
from tests.support.rig import API_URL
from tests.support.sandbox_clients import KEYED, official_client


class Stage:
    """An ASGI application in front of whichever sandbox a test plays with."""

    def __init__(self, url: str, storage_url: str) -> None:
        self.url = url
        self.storage_url = storage_url
        self.sandbox: Sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.sandbox(scope, receive, send)


@pytest.fixture
def clock() -> SandboxClock:
    return SandboxClock()


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    """Serve on a real socket, in a thread of its own."""
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    stage = Stage(f"http://{HOST}:{port}", f"http://localhost:{port}")
    server = uvicorn.Server(uvicorn.Config(stage, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield stage
    server.should_exit = True
    thread.join()


@pytest.fixture
def served(stage: Stage, home: Path, clock: SandboxClock) -> Generator[tuple[Sandbox, str]]:
    shape = ContractVariant(poll_retry_after=0.01)
    stage.sandbox = Sandbox(home / "s", clock, api_url=stage.url, storage_url=stage.storage_url, seconds=0, shape=shape)
    yield stage.sandbox, stage.url
    stage.sandbox.state.close()


@pytest.fixture
def luma(served: tuple[Sandbox, str]) -> Generator[LumaClient]:
    with official_client(served[1]) as client:
        yield client


@pytest.fixture
def played(home: Path, clock: SandboxClock) -> Generator[Sandbox]:
    sandbox = Sandbox(home / "s", clock, api_url=API_URL, storage_url=STORAGE_URL)
    yield sandbox
    sandbox.state.close()


@pytest.fixture
async def http(played: Sandbox) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(played), base_url=API_URL, headers=KEYED) as opened:
        yield opened
