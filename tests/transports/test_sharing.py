"""What one client takes, knowingly or not, it does not take from the others."""

import logging
import socket
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from mcp import Client, MCPError
from mcp_types import ResourceTemplateReference

from luma_mcp.core.uris import TASK_TEMPLATE, TASKS_URI
from luma_mcp.server import subscriptions
from luma_mcp.server.completions import LONGEST_TYPED
from luma_mcp.transports import routes, sockets, sse
from tests.support.hosted import ASK, PAIRS, bearer, dialled, event_stream, hosted
from tests.support.raw import ACCEPT, rpc, shake_hands
from tests.support.rig import ERAS, facts, waiting_calls

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
LEGACY, MODERN = ERAS
FEW = 3
INFO = {"name": "test", "version": "1"}


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_connections_that_ask_for_nothing_make_room_for_those_that_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(sockets, "MOST_CONNECTIONS", FEW + 1)
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
    monkeypatch.setattr(sockets, "MOST_CONNECTIONS", FEW)
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


async def test_one_of_several_callers_leaves_room_for_the_others(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MOST_CONNECTIONS", 4)
    async with hosted(home, auth_tokens=PAIRS) as server, AsyncExitStack() as streams:
        ann = await streams.enter_async_context(server.plain("ann"))
        bob = await streams.enter_async_context(server.plain("bob"))
        for _ in range(3):
            await streams.enter_async_context(event_stream(ann))
        assert (await ann.get("/sse")).status_code == 429
        async with event_stream(bob) as (address, _):
            assert address


async def test_a_stream_that_is_used_outlives_the_time_for_saying_what_is_wanted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "REQUEST_SECONDS", 0.3)
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (address, _):
        with dialled(server.port) as silent:
            assert await anyio.to_thread.run_sync(received, silent) == b""
        assert (await plain.post(address, json=rpc("tools/list", {}))).status_code == 202


async def test_an_event_stream_on_which_nothing_is_said_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "FIRST_SECONDS", 0.2)
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (_, lines):
        assert not [line async for line in lines if line]


async def test_who_forwards_a_request_is_not_believed(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "luma_mcp.access")
    async with hosted(home) as server, server.plain() as plain:
        await plain.get("/mcp", headers={"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"})
    assert "203.0.113.9" not in caplog.text


async def test_behind_a_proxy_with_a_path_clients_are_led_below_it(home: Path) -> None:
    public = "https://example.com/luma"
    async with hosted(home, auth_tokens=PAIRS, public_url=public) as server, server.plain("ann") as plain:
        async with event_stream(plain, {"Host": "example.com"}) as (address, _):
            assert address.startswith("/luma/messages/")
            beside = address.removeprefix("/luma")
            listing = rpc("tools/list", {})
            assert (await plain.post(beside, headers={"Host": "example.com"}, json=listing)).status_code == 202
        async with event_stream(plain) as (address, _):
            assert (await plain.post(address, json=listing)).status_code == 202
        assert (await plain.post("/callbacks/x", headers={"Host": "example.com"})).status_code == 204


@pytest.mark.parametrize(("files", "most"), [(256, 56), (1024, 800), (100_000, 800), (10, 1), (-1, 800)])
def test_some_files_are_left_beside_the_connections(monkeypatch: pytest.MonkeyPatch, files: int, most: int) -> None:
    def limits(_: int) -> tuple[int, int]:
        return files, files  # -1 is no limit

    monkeypatch.setattr(pytest.importorskip("resource"), "getrlimit", limits)
    assert sockets.most_connections() == most


async def test_sessions_are_counted_for_each_caller(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MOST_SESSIONS", FEW)
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        for _ in range(FEW):
            await shake_hands(plain, "/mcp", ACCEPT | bearer("ann"))
        begin = rpc("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO})
        assert (await plain.post("/mcp", headers=ACCEPT | bearer("ann"), json=begin)).status_code == 503
        assert (await plain.post("/mcp", headers=ACCEPT | bearer("bob"), json=begin)).status_code == 200


async def test_listening_streams_are_counted_for_each_caller(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MOST_STREAMS", 1)
    async with (
        hosted(home, auth_tokens=PAIRS) as server,
        server.client("/mcp", MODERN, "ann") as ann,
        server.client("/mcp", MODERN, "bob") as bob,
        ann.listen(resource_subscriptions=[TASKS_URI]),
    ):
        with pytest.raises(MCPError):
            await listen_once(ann)
        await listen_once(bob)


async def listen_once(client: Client) -> None:
    """Begin to listen, and leave."""
    async with client.listen(resource_subscriptions=[TASKS_URI]):
        pass


async def test_on_one_event_stream_only_so_much_goes_on_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST_AT_ONCE", FEW)
    async with hosted(home) as server, server.client("/sse", LEGACY) as client:
        task = facts(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        wait = {"task_id": task["task_id"], "wait_seconds": 300}
        async with anyio.create_task_group() as calls:
            for _ in range(FEW):
                calls.start_soon(client.call_tool, "get_task", wait)
            while waiting_calls(server.app) < FEW:
                await server.app.tracker.changed()
            with pytest.raises(MCPError, match="At most 3 requests"):
                await client.call_tool("get_task", wait)
            server.finish_tasks()
        assert facts(await client.call_tool("get_task", wait))["status"] == "completed"


async def test_messages_that_get_no_further_are_not_piled_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MOST_MESSAGES", 0)
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (address, _):
        assert (await plain.post(address, json=rpc("tools/list", {}))).status_code == 429


@pytest.mark.parametrize("typed", ["fog " * 100_000, "fog".ljust(LONGEST_TYPED) + "snow"])
async def test_what_is_typed_is_looked_for_only_so_far(home: Path, typed: str) -> None:
    async with hosted(home) as server, server.client("/mcp", MODERN) as client:
        await client.call_tool("modify_video", ASK | {"wait_seconds": 0})
        template = ResourceTemplateReference(type="ref/resource", uri=TASK_TEMPLATE)
        found = await client.complete(template, {"name": "task_id", "value": typed})
        assert len(found.completion.values) == 1
