"""Connections over HTTP: sent at once, read in one way only, bounded, and opened to those who may come in."""

import socket
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.transports import sockets
from luma_mcp.transports.auth import with_local_token
from luma_mcp.transports.http import Uvicorn
from luma_mcp.transports.sockets import BoundedConnection, is_ambiguous, open_sockets, uvicorn_config
from tests.support.http_server import PAIRS, dialled, event_stream, hosted
from tests.support.raw_http import ACCEPT, MODERN_META, all_that_comes, answered, modern_headers, rpc

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
POST = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"
NEXT = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HIDDEN = b"0\r\n\r\n" + NEXT


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_each_piece_of_an_answer_is_sent_at_once(host: str) -> None:
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        (reader,) = cast("set[BoundedConnection]", web.server_state.connections)
        connection: socket.socket = reader.transport.get_extra_info("socket")
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with open_sockets(load_settings(transport="http", host=host, port=0)) as opened:
        web = Uvicorn(uvicorn_config(app))
        async with anyio.create_task_group() as group:
            group.start_soon(web.serve, opened)
            for each in opened:
                place = each.getsockname()[:2]
                await anyio.to_thread.run_sync(answered, place, NEXT)
            web.should_exit = True
    assert len(seen) == len(opened)
    assert all(seen)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"transfer-encoding: Chunked\r\ncontent-length: 0\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 5,6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: \r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length\x00: 5\r\n",
        b"Content-Length: 5\r\n\tX\r\n",
        b"X: a\r\n Content-Length: 5\r\n",
        b" X: a\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: identity, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer-Encoding: \r\n",
        b"Host: localhost\r\n",
        b"X\r\n",
        b": x\r\n",
        b"X: a\rTransfer-Encoding: chunked\r\n",
    ],
)
async def test_a_request_whose_end_is_in_doubt_is_refused_and_the_connection_closed(home: Path, head: bytes) -> None:
    async with hosted(home) as server:
        answer = await anyio.to_thread.run_sync(all_that_comes, server.port, POST + head + b"\r\n" + HIDDEN)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1, "what came behind was taken for a request"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /mcp HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health\tz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G\x00T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_of_http_1_is_refused_and_the_connection_closed(home: Path, request_: bytes) -> None:
    async with hosted(home) as server:
        answer = await anyio.to_thread.run_sync(all_that_comes, server.port, request_)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n", b"421"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"TRACE /mcp HTTP/1.1\r\nHost: localhost\r\n", b"405"),
        (b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Host: evil.example\r\n", b"200"),
    ],
)
async def test_odd_requests_are_answered_as_plain_ones(home: Path, head: bytes, status: bytes) -> None:
    async with hosted(home) as server:
        last = head + b"Connection: close\r\n\r\n"
        answer = await anyio.to_thread.run_sync(all_that_comes, server.port, last)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nlocation:" not in answer.lower()


async def test_requests_that_come_together_are_answered_in_turn(home: Path) -> None:
    whole = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    last = NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with hosted(home) as server:
        answer = await anyio.to_thread.run_sync(all_that_comes, server.port, whole + NEXT + last)
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"405", b"200", b"200"]


@pytest.mark.parametrize(
    ("head", "ambiguous"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"\r\n\r\nPOST / HTTP/1.1\nContent-Length: 1\n\nContent-Length: 2\n", False),
        (b"POST / HTTP/1.1\r\nX: content-length: 1, transfer-encoding: x\r\nContent-Length: 1\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\ntRaNsfer-encoding: chunked\r\n\r\n", False),
        (b"\r\nPOST / HTTP/1.1\nCONTENT-LENGTH: 1\ncontent-length: 1\n\n", True),
    ],
)
def test_a_head_is_read_as_the_parser_reads_it(head: bytes, ambiguous: bool) -> None:
    assert is_ambiguous(head, b"1.1") is ambiguous


def test_a_server_of_our_own_never_needs_the_parser_of_others() -> None:
    config = uvicorn_config(lambda *_: None)
    assert isinstance(config, uvicorn.Config)
    assert config.http is BoundedConnection


FEW = 3


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_connections_that_ask_for_nothing_make_room_for_those_that_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", FEW + 1)
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (address, _):
        with ExitStack() as idle:
            for _ in range(4 * FEW):
                connection = idle.enter_context(dialled(server.port))
                if begun:
                    connection.sendall(begun)
                    await anyio.to_thread.run_sync(connection.recv, 4096)
            assert (await plain.get("/healthz")).status_code == 200
            assert (await plain.post(address, json=rpc("tools/list", {}))).status_code == 202


async def test_where_all_connections_are_busy_no_other_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", FEW)
    async with hosted(home) as server, server.plain() as plain, AsyncExitStack() as streams:
        for _ in range(FEW):
            await streams.enter_async_context(event_stream(plain))
        with dialled(server.port) as connection:
            assert await anyio.to_thread.run_sync(received, connection) == b""


def received(connection: socket.socket) -> bytes:
    """Read what comes, if anything does before the other end closes the connection."""
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


async def test_a_stream_that_is_used_outlives_the_time_for_saying_what_is_wanted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "REQUEST_SECONDS", 0.3)
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (address, _):
        with dialled(server.port) as silent:
            assert await anyio.to_thread.run_sync(received, silent) == b""
        assert (await plain.post(address, json=rpc("tools/list", {}))).status_code == 202


@pytest.mark.parametrize(("files", "most"), [(256, 56), (1024, 800), (100_000, 800), (10, 1), (-1, 800)])
def test_some_files_are_left_beside_the_connections(monkeypatch: pytest.MonkeyPatch, files: int, most: int) -> None:
    def limits(_: int) -> tuple[int, int]:
        return files, files  # -1 is no limit

    monkeypatch.setattr(pytest.importorskip("resource"), "getrlimit", limits)
    assert sockets.connection_limit() == most


SOON_SECONDS = 0.2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "[::]"])
def test_a_bind_beyond_loopback_needs_tokens(host: str) -> None:
    assert refusal_of(load_settings(host=host, port=0)).startswith("LUMA_MCP_AUTH_TOKENS: must name who may connect")


def test_any_address_beyond_loopback_needs_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(*_: object) -> list[tuple[socket.AddressFamily, str]]:
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "192.168.1.5")]

    monkeypatch.setattr(sockets, "resolve_addresses", elsewhere)
    assert refusal_of(load_settings(host="desk.example", port=0)).startswith("LUMA_MCP_AUTH_TOKENS: ")


def test_a_bind_beyond_loopback_with_tokens_is_allowed() -> None:
    with sockets.open_sockets(load_settings(host="0.0.0.0", port=0, auth_tokens=PAIRS)) as opened:
        assert opened[0].getsockname()[0] == "0.0.0.0"


def test_localhost_is_opened_in_each_family_on_the_same_port() -> None:
    with sockets.open_sockets(load_settings(host="localhost", port=0)) as opened:
        assert len({each.getsockname()[1] for each in opened}) == 1


def test_a_port_in_use_and_a_host_that_is_not_here_are_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refusal_of(load_settings(port=port)).startswith(f"LUMA_MCP_PORT: 127.0.0.1 port {port} cannot be used")
    assert refusal_of(load_settings(host="no.such.invalid")).startswith(
        "LUMA_MCP_HOST: 'no.such.invalid' is no address"
    )


@pytest.mark.parametrize(
    "begun", [b"", b"GET /he", b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_connection_that_says_nothing_whole_is_ended(
    home: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(sockets, "REQUEST_SECONDS", SOON_SECONDS)
    monkeypatch.setattr(sockets, "KEEP_ALIVE_SECONDS", 1)
    async with hosted(home) as server:
        with dialled(server.port) as connection:
            connection.sendall(begun)
            await anyio.to_thread.run_sync(until_closed, connection)


async def test_a_client_that_does_not_read_is_let_go_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "STALL_SECONDS", SOON_SECONDS)
    listing = rpc("tools/list", {"_meta": MODERN_META})
    async with hosted(home) as server, server.plain() as plain:
        asked = plain.build_request("POST", "/mcp", headers=ACCEPT | modern_headers("tools/list"), json=listing)
        head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
        request = f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + asked.content
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            connection.connect(("127.0.0.1", server.port))
            await anyio.to_thread.run_sync(send_until_closed, connection, request * 1000)
        assert (await plain.get("/healthz")).status_code == 200


def refusal_of(settings: Settings) -> str:
    """Try to listen, and give the reason why that is refused."""
    with pytest.raises(BadSetting) as refused, sockets.open_sockets(settings):
        pass
    return refused.value.message


def until_closed(connection: socket.socket) -> None:
    """Read until the other end has closed the connection; it may do so rudely."""
    with suppress(ConnectionResetError):
        while connection.recv(4096):
            pass


def send_until_closed(connection: socket.socket, requests: bytes) -> None:
    """Ask, and never read, until the other end has had enough."""
    with suppress(ConnectionResetError, BrokenPipeError):
        while True:
            connection.sendall(requests)


@pytest.mark.parametrize("beyond", [{"allowed_hosts": "a.example"}, {"public_url": "https://a.example"}])
def test_nobody_else_reaches_a_server_that_needs_no_token(home: Path, beyond: dict[str, str]) -> None:
    assert refusal_of(load_settings(auth_tokens="none", port=0, **beyond)).startswith(
        "LUMA_MCP_AUTH_TOKENS: must not be none where LUMA_MCP_ALLOWED_HOSTS or LUMA_MCP_PUBLIC_URL says"
    )
    with sockets.open_sockets(with_local_token(load_settings(port=0, **beyond))) as opened:
        assert opened


@pytest.mark.parametrize("tokens", ["none", None])
def test_only_named_callers_come_from_other_machines(tokens: str | None) -> None:
    settings = with_local_token(load_settings(host="0.0.0.0", port=0, auth_tokens=tokens))
    assert refusal_of(settings).startswith("LUMA_MCP_AUTH_TOKENS: must name who may connect")
