"""The sandbox on a port: for programs of this machine, which cannot make it fill the disk or call anybody else."""

import asyncio
import base64
import hashlib
import socket
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from luma_mcp.sandbox import guard, serve, state
from luma_mcp.sandbox.application import STORAGE_URL, Sandbox
from luma_mcp.sandbox.callbacks import may_be_called
from luma_mcp.sandbox.guard import Guard, is_of_this_machine
from luma_mcp.sandbox.http import LARGEST_BODY_BYTES
from luma_mcp.sandbox.state import UPLOAD_LIFETIME_SECONDS
from luma_mcp.transports.sockets import Bounded, uvicorn_config
from tests.support.raw import all_that_comes, answered
from tests.support.rig import API_URL, EPOCH, SOURCE
from tests.support.served import sandbox_process

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
KEYED = {"Authorization": "Bearer sandbox"}
TASKS = "/api/v1/luma/modify_video"


class Clock:
    """A clock that a test sets."""

    seconds = EPOCH

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def played(home: Path, clock: Clock) -> Generator[Sandbox]:
    sandbox = Sandbox(home / "s", clock, api_url=API_URL, storage_url=STORAGE_URL)
    yield sandbox
    sandbox.state.close()


@pytest.fixture
async def http(played: Sandbox) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(played), base_url=API_URL, headers=KEYED) as opened:
        yield opened


async def announced(http: httpx.AsyncClient, size: Any, content: bytes = b"") -> httpx.Response:
    """Announce a file."""
    checksum = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    body = {"filename": "a.mp4", "byte_size": size, "checksum": checksum}
    return await http.post("/api/v1/files/prepare", json=body)


async def sent(http: httpx.AsyncClient, size: int, content: bytes) -> httpx.Response:
    """Announce a file, and send other bytes perhaps."""
    given = (await announced(http, size, content)).json()
    return await httpx_put(http, given, content)


async def httpx_put(http: httpx.AsyncClient, given: dict[str, Any], content: bytes) -> httpx.Response:
    """Send bytes to where they go, piece by piece and without a key."""

    async def pieces() -> AsyncGenerator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    request = http.build_request("PUT", given["upload_url"], headers=given["headers"], content=pieces())
    del request.headers["authorization"]
    return await http.send(request)


@pytest.mark.parametrize("size", [-1, True, 1.5, "9", None, state.MOST_STORED_BYTES + 1, 1 << 80])
async def test_only_a_size_that_there_could_be_room_for_is_taken(http: httpx.AsyncClient, size: Any) -> None:
    assert (await announced(http, size)).status_code == 400


async def test_no_more_bytes_are_taken_than_were_announced(http: httpx.AsyncClient, home: Path) -> None:
    assert (await sent(http, 5000, b"x" * 10_000)).status_code == 413
    assert (await sent(http, 5000, b"x" * 4_000)).status_code == 400
    assert list((home / "s" / "files").iterdir()) == []
    assert (await sent(http, 5000, b"x" * 5_000)).status_code == 204


async def test_files_that_expired_make_room_and_others_do_not(
    http: httpx.AsyncClient, home: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MOST_STORED_BYTES", 10_000)
    for size, code in ((6_000, 204), (4_000, 204), (1, 413)):
        assert (await sent(http, size, b"x" * size)).status_code == code
    stored = {"source": {"type": "base64", "data": "eA=="}}
    assert (await http.post("/api/v1/files", json=stored)).status_code == 413
    clock.seconds += UPLOAD_LIFETIME_SECONDS
    assert (await http.post("/api/v1/files", json=stored)).status_code == 200
    assert sum(path.stat().st_size for path in (home / "s" / "files").iterdir()) == 4_001


@pytest.mark.parametrize("path", [TASKS, "/api/v1/files/prepare", "/api/v1/price_quotes", "/sandbox/faults"])
async def test_bodies_are_bounded_and_of_any_depth(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.post(path, content=b" " * (LARGEST_BODY_BYTES + 1))).status_code == 413
    assert (await http.post(path, content=b'{"a":' * 100_000)).status_code == 400
    assert (await http.post(path, content=b"\xff")).status_code == 400


@pytest.mark.parametrize("kind", ["999", "", [], {}, None, "abc"])
async def test_a_fault_that_there_is_not_is_refused(http: httpx.AsyncClient, kind: Any) -> None:
    assert (await http.post("/sandbox/faults", json={"kind": kind})).status_code == 400


async def test_no_address_of_the_sandbox_leads_elsewhere(http: httpx.AsyncClient) -> None:
    for path in (f"{TASKS}/", "/api/v1/files/prepare/", "/api/v1/me/", "//api/v1/me", "/sandbox/faults/"):
        answer = await http.post(path, headers={"Host": "evil.example"}, json={})
        assert (answer.status_code, "location" in answer.headers) == (404, False)


@pytest.mark.parametrize(
    ("address", "called"),
    [
        ("http://127.0.0.1:8000/callbacks/abc_-1", True),
        ("http://localhost/callbacks/abc", True),
        ("https://127.9.9.9/callbacks/abc", True),
        ("http://127.0.0.1:8000/", False),
        ("http://127.0.0.1:8000/callbacks", False),
        ("http://127.0.0.1:8000/callbacks/", False),
        ("http://127.0.0.1:8000/callbacks/a/b", False),
        ("http://127.0.0.1:8000/callbacks/../admin", False),
        ("http://127.0.0.1:8000/callbacks/%2e%2e/admin", False),
        ("http://127.0.0.1:8000/callbacks/a%2Fb", False),
        ("http://127.0.0.1:8000/callbacks/a?x=1", False),
        ("http://127.0.0.1:8000/callbacks/a#x", False),
        ("http://127.0.0.1:8000/x/callbacks/a", False),
        ("http://me:secret@127.0.0.1/callbacks/a", False),
        ("http://127.0.0.1\\@evil.example/callbacks/a", False),
        ("http://localhost.evil.example/callbacks/a", False),
        ("http://192.168.1.1/callbacks/a", False),
        ("http://0.0.0.0/callbacks/a", False),
        ("http://evil.example/callbacks/a", False),
        ("ftp://127.0.0.1/callbacks/a", False),
        ("file:///callbacks/a", False),
        ("http://[::1/callbacks/a", False),
        ("", False),
    ],
)
def test_only_servers_of_this_machine_are_called_back(address: str, called: bool) -> None:
    assert may_be_called(address) is called


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 307 Moved\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nendless"],
)
async def test_a_call_is_led_nowhere_and_reads_nothing(played: Sandbox, clock: Clock, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hook, socket.create_server(("127.0.0.1", 0)) as other:
        hook.settimeout(60)
        other.settimeout(0)
        body = {"callback_url": f"http://127.0.0.1:{hook.getsockname()[1]}/callbacks/x", "source_video_url": SOURCE}
        async with anyio.create_task_group() as calling:
            calling.start_soon(played.call_back)
            await anyio.lowlevel.checkpoint()
            played.state.accept(None, body, 0, "")
            connection, _ = await anyio.to_thread.run_sync(hook.accept)
            with connection:
                elsewhere = f"http://127.0.0.1:{other.getsockname()[1]}/callbacks/x"
                await anyio.to_thread.run_sync(connection.recv, 65536)
                connection.sendall(answer.replace(b"{other}", elsewhere.encode()))
                connection.settimeout(60)
                while await anyio.to_thread.run_sync(connection.recv, 65536):
                    pass  # the sandbox ends the connection by itself
            calling.cancel_scope.cancel()
        with pytest.raises(BlockingIOError):
            other.accept()


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("https://[::1]:1", True),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("file://localhost", False),
        ("http://localhost@evil.example", False),
        ("http://evil.example@localhost", False),
        ("http://localhost.evil.example", False),
        ("http://[::1", False),
    ],
)
def test_only_pages_of_this_machine_may_call(origin: str, fine: bool) -> None:
    assert is_of_this_machine(origin) is fine


async def test_a_body_that_does_not_come_is_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PIECE_SECONDS", 0.01)
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(await receive())

    async def never() -> Any:
        await anyio.sleep_forever()

    async def send(_: Any) -> None:
        pass

    await Guard(app, 80)({"type": "http", "headers": [(b"host", b"localhost")]}, never, send)
    assert told == [{"type": "http.disconnect"}]


def test_the_sandbox_goes_by_its_own_names_only(home: Path) -> None:
    with sandbox_process(home, seconds=0.1) as url:
        port = int(url.rpartition(":")[2])
        for host, code in (
            *((f"{name}:{port}", 401) for name in guard.HOSTS),
            (f"LOCALHOST:{port}", 401),
            *((name, 421) for name in ("localhost", "localhost:1", "evil.example", f"evil.example:{port}", "")),
        ):
            assert httpx.get(f"{url}/api/v1/me", headers={"Host": host}, timeout=60).status_code == code, host
        for origin in ("https://evil.example", "null"):
            refused = httpx.post(f"{url}/sandbox/faults", headers={"Origin": origin}, json={"kind": "500"})
            assert refused.status_code == 403
        assert httpx.post(f"{url}/sandbox/faults", headers={"Origin": url}, json={"kind": "500"}).status_code == 204
        named = f"Host: localhost:{port}\r\n".encode()
        twice = (
            b"POST /sandbox/faults HTTP/1.1\r\n" + named + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert all_that_comes(port, twice + b"0\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert answered(("127.0.0.1", port), b"GET /api/v1/me HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")


async def test_each_piece_of_the_sandboxs_answers_is_sent_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    told: list[str] = []
    opened: list[socket.socket] = []

    class Watching(Guard):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            connection = opened[-1]
            seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            await super().__call__(scope, receive, send)

    class Noting(Bounded):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            opened.append(transport.get_extra_info("socket"))

    def configure(app: ASGIApp) -> Any:
        assert isinstance(app, Guard)
        config = uvicorn_config(app)
        config.http = Noting
        return config

    monkeypatch.setattr(serve, "Guard", Watching)
    async with anyio.create_task_group() as group:
        group.start_soon(serve.serve_sandbox, home / "s", 0, 1.0, told.append, configure)
        await anyio.lowlevel.checkpoint()
        port = int(told[0].split(" at ")[1].split()[0].rpartition(":")[2])
        answer = await anyio.to_thread.run_sync(answered, ("127.0.0.1", port), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        group.cancel_scope.cancel()
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert len(seen) == 1
    assert seen[0]
