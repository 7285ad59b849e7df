"""The server on a real port of this process, with a sandbox behind it whose clock the test moves, and its clients."""

import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from luma_mcp.app.app import open_app
from luma_mcp.core.models import LOCAL_CALLER, Clock
from luma_mcp.core.observer import Observers
from luma_mcp.server.server import build_server
from luma_mcp.transports.auth import with_local_token
from luma_mcp.transports.http import make_metrics, serve_web
from luma_mcp.transports.routes import HttpTransports
from luma_mcp.transports.sockets import open_sockets
from luma_mcp.transports.tracing import open_tracing
from tests.support.rig import EPOCH, ERAS, SOURCE, AppWithSandbox, sandbox_for, settings_for, waiting_calls

TOKENS = {"ann": "token-of-ann-0123456789", "bob": "token-of-bob-0123456789"}
METRICS_TOKEN = "token-of-prometheus-0123456789"  # noqa: S105 - of the tests
PAIRS = ",".join(f"{name}:{token}" for name, token in TOKENS.items())
PATHS = ("/mcp", "/sse")
WAYS = [(path, era) for path in PATHS for era in ERAS]
BOUND_SECONDS = 60.0
USUAL_SECONDS = 1.0
MOMENT_SECONDS = 0.01
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}


@dataclass
class SandboxClock:
    """The sandbox's own clock, which stands still until the test moves it, or runs: tasks end when it says so."""

    runs: bool = False
    passed: float = 0.0

    def __call__(self) -> float:
        return EPOCH + self.passed + (time.monotonic() if self.runs else 0.0)


@dataclass
class Hosted(AppWithSandbox):
    web: HttpTransports
    url: str
    port: int
    ended: anyio.Event
    closed: anyio.Event
    clock: SandboxClock

    @property
    def own_token(self) -> dict[str, str]:
        """The header with the token that was made for this user's own clients, empty if there is none."""
        own = dict(self.app.settings.tokens).get(LOCAL_CALLER)
        return {"Authorization": f"Bearer {own.get_secret_value()}"} if own else {}

    @asynccontextmanager
    async def client(self, path: str, era: str, caller: str = "", **more: Any) -> AsyncGenerator[Client]:
        shown = bearer(caller) if caller else self.own_token
        async with connected(self.url + path, era, headers=shown, **more) as client:
            yield client

    @asynccontextmanager
    async def plain(self, caller: str = "") -> AsyncGenerator[httpx.AsyncClient]:
        shown = bearer(caller) if caller else self.own_token
        async with httpx.AsyncClient(base_url=self.url, headers=shown, timeout=BOUND_SECONDS, trust_env=False) as http:
            yield http

    def finish_tasks(self) -> None:
        """Move RunAPI's clock until all its tasks have ended."""
        self.clock.passed += 3600

    def asked(self) -> int:
        """Count the polls that RunAPI saw."""
        return sum(seen.method == "GET" and "/modify_video/" in seen.path for seen in self.sandbox.recorded_requests)


@asynccontextmanager
async def connected(
    url: str, era: str, caller: str = "", *, headers: dict[str, str] | None = None, **more: Any
) -> AsyncGenerator[Client]:
    """Connect a published client to the address of one of the transports."""
    headers = bearer(caller) if caller else headers or {}
    if url.endswith("/sse"):
        stream = sse_client(url, headers=headers, timeout=BOUND_SECONDS, httpx_client_factory=http_client)
        async with Client(stream, mode=era, **more) as client:
            yield client
        return
    async with (
        http_client(headers, httpx2.Timeout(BOUND_SECONDS)) as http,
        Client(streamable_http_client(url, http_client=http), mode=era, **more) as client,
    ):
        yield client


@asynccontextmanager
async def hosted(
    home: Path,
    *,
    runs: bool = False,
    usual: float = USUAL_SECONDS,
    seconds: float = BOUND_SECONDS,
    **changes: Any,
) -> AsyncGenerator[Hosted]:
    """Serve on a free port of loopback, until left or until the test ends it.

    A task takes `usual` seconds of the sandbox's clock, and is asked for accordingly, even while that clock stands
    still. After some seconds a test is given up. Who may come in is said by `auth_tokens`; without, everybody, or,
    where others reach the server, whoever has the token that is made then. The server's own clock is `now`.
    """
    now: Clock = changes.pop("now", time.time)
    clock = SandboxClock(runs)
    sandbox = sandbox_for(home, clock=clock, seconds=usual)
    open_to_all = {} if {"public_url", "allowed_hosts"} & changes.keys() else {"auth_tokens": "none"}
    settings = with_local_token(settings_for(home, **{"transport": "http", "port": 0, **open_to_all, **changes}))
    metrics = make_metrics(settings)
    try:
        with open_sockets(settings) as sockets:
            async with (
                open_tracing() as tracing,
                open_app(
                    settings,
                    now=now,
                    transport=httpx.ASGITransport(sandbox),
                    observer=Observers((*tracing, *metrics)),
                ) as app,
            ):
                app.start_tracker()
                more = [route for each in metrics for route in each.routes(app)]
                web, ended, closed = HttpTransports(app, build_server(app), more), anyio.Event(), anyio.Event()
                port = sockets[0].getsockname()[1]

                async def serve() -> None:
                    await serve_web(web, sockets, ended)
                    closed.set()

                async with anyio.create_task_group() as group:
                    group.start_soon(serve)
                    with anyio.fail_after(seconds):
                        yield Hosted(app, sandbox, web, f"http://127.0.0.1:{port}", port, ended, closed, clock)
                    ended.set()
    finally:
        sandbox.state.close()


async def a_moment() -> None:
    """Let real time pass between two looks at what goes on in it."""
    await anyio.sleep(MOMENT_SECONDS)


async def waited_for(server: Hosted, calls: int) -> None:
    """Wait until as many calls wait for the one task, which RunAPI has by then."""
    while (waiting_calls(server.app), server.task_count()) != (calls, 1):
        await a_moment()


@contextmanager
def dialled(port: int) -> Generator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=BOUND_SECONDS) as connection:
        yield connection


@asynccontextmanager
async def event_stream(
    plain: httpx.AsyncClient, headers: dict[str, str] | None = None
) -> AsyncGenerator[tuple[str, AsyncIterator[str]]]:
    """Open a stream of events, and give the address for messages and the lines that follow."""
    async with plain.stream("GET", "/sse", headers=headers) as events:
        lines = events.aiter_lines()
        yield [await anext(lines), await anext(lines)][1].removeprefix("data: "), lines


def bearer(caller: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[caller]}"}


def http_client(
    headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
) -> httpx2.AsyncClient:
    """Make an HTTP client with the trusted certificates of all others: they take long to load."""
    return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, verify=trusted(), trust_env=False)


@cache
def trusted() -> ssl.SSLContext:
    return ssl.create_default_context()
