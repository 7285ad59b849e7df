"""Connections over HTTP: sent at once, read in one way only, and led nowhere else."""

import socket
from pathlib import Path
from typing import cast

import anyio.to_thread
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from luma_mcp.core.settings import load_settings
from luma_mcp.transports.framing import is_ambiguous
from luma_mcp.transports.http import Uvicorn
from luma_mcp.transports.sockets import Bounded, listening, uvicorn_config
from tests.support.hosted import hosted
from tests.support.raw import all_that_comes, answered

pytestmark = pytest.mark.anyio
sockets = pytest.mark.sockets
POST = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"
NEXT = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HIDDEN = b"0\r\n\r\n" + NEXT


@sockets
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_each_piece_of_an_answer_is_sent_at_once(host: str) -> None:
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        (reader,) = cast("set[Bounded]", web.server_state.connections)
        connection: socket.socket = reader.transport.get_extra_info("socket")
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with listening(load_settings(transport="http", host=host, port=0)) as opened:
        web = Uvicorn(uvicorn_config(app))
        async with anyio.create_task_group() as group:
            group.start_soon(web.serve, opened)
            for each in opened:
                place = each.getsockname()[:2]
                await anyio.to_thread.run_sync(answered, place, NEXT)
            web.should_exit = True
    assert len(seen) == len(opened)
    assert all(seen)


@sockets
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


@sockets
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


@sockets
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


@sockets
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


PUBLIC = "https://mcp.example.com"
SECRET = "x" * 43


@sockets
@pytest.mark.parametrize("transport", ["http", "sse", "streamable-http"])
async def test_nothing_is_ever_led_elsewhere(home: Path, transport: str) -> None:
    known = ("mcp", "sse", "messages", "healthz", "readyz", "callbacks", f"callbacks/{SECRET}", "", "unknown")
    forms = (
        "/{}",
        "/{}/",
        "/{}//",
        "//{}",
        "/./{}",
        "/{}/.",
        "/{}/..",
        "/{}/../mcp",
        "/{}%2F",
        "/{}%2f%2fevil.example",
    )
    async with hosted(home, transport=transport, public_url=PUBLIC) as server, server.plain() as plain:
        for path in dict.fromkeys(form.format(name) for form in forms for name in known):
            for method in ("POST", "PUT", "HEAD", "OPTIONS", "PATCH"):
                url = plain.base_url.copy_with(raw_path=path.encode())
                answer = await plain.request(method, url, headers={"Accept": "text/html"}, follow_redirects=False)
                assert "location" not in answer.headers, (method, path)
                assert not 300 <= answer.status_code < 400, (method, path)
                assert answer.status_code < 500, (method, path)


@sockets
async def test_only_one_form_of_a_callback_is_one_and_none_tells_more(home: Path) -> None:
    async with hosted(home, public_url=PUBLIC) as server, server.plain() as plain:
        for host in ("localhost", "evil.example"):
            headers = {"Host": host}
            assert (await plain.post(f"/callbacks/{SECRET}", headers=headers)).status_code == 204
            for path in (
                f"/{SECRET}/",
                f"//{SECRET}",
                f"/{SECRET}%2F",
                f"/x/{SECRET}",
                "/",
                "",
                f"/{SECRET}/../{SECRET}/x",
            ):
                url = plain.base_url.copy_with(raw_path=b"/callbacks" + path.encode())
                answer = await plain.post(url, headers=headers, follow_redirects=False)
                assert answer.status_code in {404, 421}
                assert SECRET not in answer.text
                assert "location" not in answer.headers


def test_a_server_of_our_own_never_needs_the_parser_of_others() -> None:
    config = uvicorn_config(lambda *_: None)
    assert isinstance(config, uvicorn.Config)
    assert config.http is Bounded
