"""The sandbox in this process answers as over a network: piece by piece, with breaks, to clients that may go."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from luma_mcp.sandbox.transport import open_asgi_transport

pytestmark = pytest.mark.anyio
START = {"type": "http.response.start", "status": 200, "headers": [(b"x-from", b"app")]}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send each piece back as it comes."""
    await send(START)
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def test_neither_way_is_a_body_ever_held_whole() -> None:
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(100):
            made += 1
            yield b"x" * 1000

    taken = 0
    async with (
        open_asgi_transport(echo) as web,
        httpx.AsyncClient(transport=web) as http,
        http.stream("POST", "https://sandbox.invalid/?a=b", content=pieces()) as response,
    ):
        assert response.headers["x-from"] == "app"
        async for piece in response.aiter_raw():
            taken += len(piece) // 1000
            assert made <= taken + 2
    assert (made, taken) == (100, 100)


async def test_an_application_learns_what_was_asked() -> None:
    asked: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope)
        await send(START)

    async with open_asgi_transport(app) as web, httpx.AsyncClient(transport=web) as http:
        response = await http.get("https://sandbox.invalid/a%20b?c=%20d", headers={"X-One": "1"})
    assert (response.status_code, response.content) == (200, b"")
    assert (asked[0]["path"], asked[0]["raw_path"], asked[0]["query_string"]) == ("/a b", b"/a%20b", b"c=%20d")
    assert (b"x-one", b"1") in asked[0]["headers"]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_connection_that_the_application_breaks_is_broken_for_the_client(begun: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(START)
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
        raise httpx.RemoteProtocolError("broken")

    async with open_asgi_transport(app) as web, httpx.AsyncClient(transport=web) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("https://sandbox.invalid/")


async def test_a_bug_of_the_application_is_an_answer_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a bug")

    async with open_asgi_transport(app) as web, httpx.AsyncClient(transport=web) as http:
        assert [(await http.get("https://sandbox.invalid/")).status_code for _ in range(2)] == [500, 500]
    assert "a bug" in caplog.text


async def test_a_client_that_goes_before_the_answer_stops_the_application() -> None:
    stopped = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with open_asgi_transport(app) as web, httpx.AsyncClient(transport=web, timeout=None) as http:  # noqa: S113 - the test's own bound
        with anyio.move_on_after(5):
            await http.get("https://sandbox.invalid/")
        assert stopped.is_set()
