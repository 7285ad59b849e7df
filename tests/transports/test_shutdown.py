"""The end of a server over HTTP: whoever waits is answered, streams end as streams end, work goes on with the next."""

import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.app.parts import LAST_ANSWERS_SECONDS
from luma_mcp.core.uris import TASKS_URI
from luma_mcp.transports import http, stdio
from luma_mcp.transports.sockets import GRACE_SECONDS
from luma_mcp.transports.stderr import DRAIN_TRY_SECONDS, MAX_DRAIN_TRIES
from tests.support.http_server import ASK, PAIRS, WAYS, connected, dialled, event_stream, hosted, waited_for
from tests.support.raw_http import ACCEPT, MODERN_META, initialize, rpc, unread
from tests.support.rig import ERAS, structured
from tests.support.sandbox_process import SERVER, sandbox_process, server_environment

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
LEGACY, MODERN = ERAS
ENDING_SECONDS = 5.0  # what the server promises
HOST_PATIENCE_SECONDS = 2.0  # then hosts kill a server on stdio
PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_whoever_waits_is_told_how_the_task_stands(home: Path, path: str, era: str) -> None:
    async with hosted(home, usual=1000.0) as server, server.client(path, era) as client:

        async def told(progress: float, total: float | None, message: str | None) -> None:
            if message and message.startswith("processing"):
                server.ended.set()

        found = structured(await client.call_tool("modify_video", ASK, progress_callback=told))
    assert found["status"] == "processing"
    assert found["task_id"]
    assert "error" not in found
    assert found["next_step"].startswith("Call get_task")


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_a_listening_client_is_told_that_it_is_over(home: Path, path: str) -> None:
    async with (
        hosted(home) as server,
        server.client(path, MODERN) as client,
        client.listen(resources_list_changed=True, resource_subscriptions=[TASKS_URI]) as stream,
    ):
        server.ended.set()
        assert [event async for event in stream] == []  # a stream that breaks raises instead


async def test_a_standing_stream_of_streamable_http_ends_in_order(home: Path) -> None:
    async with hosted(home) as server, server.plain() as plain:
        session = await initialize(plain, "/mcp", ACCEPT)
        async with plain.stream("GET", "/mcp", headers=ACCEPT | session) as events:
            server.ended.set()
            assert [line async for line in events.aiter_lines()] == []  # a stream that breaks raises instead


async def test_an_event_stream_ends_in_order_and_in_time(home: Path) -> None:
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (address, lines):
        await initialize(plain, address, {})
        with anyio.fail_after(ENDING_SECONDS):
            server.ended.set()
            async for _ in lines:  # a stream that breaks raises instead
                pass
            await server.closed.wait()


@pytest.mark.parametrize(
    "half", [b"", b"GET /he", b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_whoever_says_things_by_half_does_not_hold_up_the_end(home: Path, half: bytes) -> None:
    async with hosted(home) as server:
        with dialled(server.port) as connection:
            connection.sendall(half)
            with anyio.fail_after(ENDING_SECONDS - 1):
                server.ended.set()
                await server.closed.wait()


async def test_whoever_does_not_read_does_not_hold_up_the_end(home: Path) -> None:
    ask = ASK | {"prompt": "fog" * 6000}
    call = rpc("tools/call", {"name": "modify_video", "arguments": ask, "_meta": MODERN_META})
    async with hosted(home) as server, unread(server, call):
        await waited_for(server, 1)
        with anyio.fail_after(ENDING_SECONDS - 1):
            server.ended.set()
            await server.closed.wait()


async def test_what_comes_after_the_end_is_refused(home: Path) -> None:
    async with hosted(home) as server, server.plain() as plain, server.client("/mcp", MODERN) as client:
        await client.list_tools()
        server.web._over = True
        answer = await plain.post("/mcp", headers=ACCEPT, json=rpc("tools/list", {}))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_that_was_asked_to_end_at_once_closes_its_ledger(home: Path, ending: signal.Signals) -> None:
    with server_process(home, "http://127.0.0.1:9") as (process, address):
        half = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
            connection.sendall(half)
            process.send_signal(ending)
            assert await anyio.to_thread.run_sync(process.wait, ENDING_SECONDS) == 0
    assert not list((home / ".local/share/luma-mcp").glob("*-journal"))


@contextmanager
def server_process(home: Path, url: str, **more: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run a server on a free port of loopback, and give its process and address."""
    usual = {"LUMA_MCP_PORT": "0", "LUMA_MCP_AUTH_TOKENS": "none", "LUMA_MCP_LOG_LEVEL": "WARNING"}
    wanted = {"LUMA_MCP_TRANSPORT": "http", **usual, **more}
    environment = server_environment(home, url, **wanted)
    with subprocess.Popen(SERVER, env=environment, text=True, **PIPES) as process:
        assert process.stderr
        try:
            yield process, process.stderr.readline().split("/mcp")[0].split()[-1]
        finally:
            process.kill()


@pytest.mark.parametrize(("path", "era", "ending"), [("/mcp", MODERN, signal.SIGTERM), ("/sse", LEGACY, signal.SIGINT)])
async def test_a_process_ends_within_its_time_and_the_next_one_goes_on(
    home: Path, path: str, era: str, ending: signal.Signals
) -> None:
    with sandbox_process(home, seconds=3) as url:
        with server_process(home, url, LUMA_MCP_AUTH_TOKENS=PAIRS) as (process, address):

            async def told(progress: float, total: float | None, message: str | None) -> None:
                if message and message.startswith("processing"):
                    process.send_signal(ending)

            async with connected(address + path, era, "ann") as client:
                stood = structured(await client.call_tool("modify_video", ASK, progress_callback=told))
            assert await anyio.to_thread.run_sync(process.wait, ENDING_SECONDS) == 0
            assert process.stdout
            assert process.stdout.read() == ""
        with server_process(home, url, LUMA_MCP_AUTH_TOKENS=PAIRS) as (_, address):
            async with connected(address + path, era, "ann") as client:
                awaited = {"task_id": stood["task_id"], "wait_seconds": 20}
                done = structured(await client.call_tool("get_task", awaited))
    assert (stood["status"], done["status"]) == ("processing", "completed")


def test_what_is_waited_for_at_the_end_fits_into_what_hosts_wait() -> None:
    assert LAST_ANSWERS_SECONDS < stdio.FORCED_EXIT_SECONDS < HOST_PATIENCE_SECONDS
    assert stdio.FINAL_CALLS_SECONDS + stdio.WRITING_SECONDS + LAST_ANSWERS_SECONDS < stdio.FORCED_EXIT_SECONDS
    assert DRAIN_TRY_SECONDS * MAX_DRAIN_TRIES <= HOST_PATIENCE_SECONDS
    ending = http.DRAIN_SECONDS + GRACE_SECONDS + LAST_ANSWERS_SECONDS
    assert ending < http.FORCED_EXIT_SECONDS < ENDING_SECONDS
