"""Two hundred clients at once, of both eras and over both transports, who come, go, break off and come again."""

import gc
import os
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.transports.routes import SESSION_IDLE_SECONDS
from luma_mcp.transports.sockets import raise_file_limit
from tests.support.http_server import ASK, PAIRS, TOKENS, WAYS, Hosted, a_moment, hosted
from tests.support.raw_http import calling
from tests.support.rig import structured, waiting_calls

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
CLIENTS = 200
BOUND_SECONDS = 600.0
USUAL_SECONDS = 20.0  # of a task, which sets how often it is asked for
LOOK_SECONDS = 0.1
WAIT_SECONDS = 3600
OPEN_FILES = Path("/proc/self/fd")
KINDS = ("patient", "leaving", "cutting", "patient")  # half of the clients break off at first, in one way or the other


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system does not list open files")
async def test_two_hundred_clients_each_get_their_own_video_and_leave_nothing_behind(home: Path) -> None:
    raise_file_limit()
    limits: dict[str, Any] = {"max_active": CLIENTS, "max_wait_seconds": WAIT_SECONDS}
    found: dict[int, dict[str, Any]] = {}
    told: Counter[int] = Counter()
    broken_off: Counter[str] = Counter()
    async with hosted(home, usual=USUAL_SECONDS, seconds=BOUND_SECONDS, auth_tokens=PAIRS, **limits) as server:
        await one_of_each(server)
        end_idle_sessions(server)
        files, tasks = await at_rest(server)
        made = server.task_count()
        async with anyio.create_task_group() as clients:
            for number in range(CLIENTS):
                clients.start_soon(be_a_client, server, number, found, told, broken_off)
            await all_wait(server, made + CLIENTS)
            server.finish_tasks()
        end_idle_sessions(server)
        while await at_rest(server) > (files, tasks):
            gc.collect()
            await anyio.sleep(LOOK_SECONDS)
    assert broken_off["leaving"] + broken_off["cutting"] == CLIENTS // 2
    assert all(kind == "patient" or broken_off[kind] > CLIENTS // 5 for kind in KINDS)
    assert [task for task in found.values() if "task_id" not in task] == []
    assert len({task["task_id"] for task in found.values()}) == CLIENTS
    assert {task["status"] for task in found.values()} == {"completed"}
    assert [found[number]["prompt"] for number in range(CLIENTS)] == [prompt(number) for number in range(CLIENTS)]
    assert all(told[number] for number in range(CLIENTS))


async def be_a_client(
    server: Hosted, number: int, found: dict[int, dict[str, Any]], told: Counter[int], broken_off: Counter[str]
) -> None:
    """Modify a video; some break off once they have heard of progress."""
    path, era = WAYS[number % len(WAYS)]
    caller, kind = ("ann", "bob")[number // 16 % 2], KINDS[number // len(WAYS) % len(KINDS)]
    ask = ASK | {"prompt": prompt(number), "wait_seconds": WAIT_SECONDS}
    begun = anyio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told[number] += 1
        begun.set()

    async with AsyncExitStack() as before:
        if kind == "cutting":
            plain = await before.enter_async_context(server.plain(caller))
            await before.enter_async_context(calling(plain, path, era, ask))
        elif kind == "leaving":
            client = await before.enter_async_context(server.client(path, era, caller))
            async with anyio.create_task_group() as call:
                call.start_soon(client.call_tool, "modify_video", ask, None, tell)
                await begun.wait()
                call.cancel_scope.cancel()
    broken_off[kind] += kind != "patient"
    async with server.client(path, era, caller) as client:
        done = await client.call_tool("modify_video", ask, progress_callback=tell)
        found[number] = structured(done)


async def one_of_each(server: Hosted) -> None:
    """Have everything opened that is opened once."""
    for path, era, caller in ((path, era, caller) for path, era in WAYS for caller in TOKENS):
        async with server.client(path, era, caller) as client:
            task = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
            server.finish_tasks()
            await client.call_tool("get_task", {"task_id": task["task_id"], "wait_seconds": 60})


async def all_wait(server: Hosted, tasks: int) -> None:
    """Wait until RunAPI has as many tasks, and every client waits for its own."""
    while server.task_count() < tasks or waiting_calls(server.app) < CLIENTS:
        await a_moment()


def end_idle_sessions(server: Hosted) -> None:
    """End sessions that clients broke off and will not come back to, as if their idle time were over by now."""
    for manager in server.web._sessions.managers:
        for session in manager._server_instances.values():
            assert session.idle_scope
            assert session.idle_scope.deadline <= anyio.current_time() + SESSION_IDLE_SECONDS, "a request is under way"
            session.idle_scope.deadline = anyio.current_time()


async def at_rest(server: Hosted) -> tuple[int, int]:
    """Wait until no session is left and nothing changes any more; count the open files and the tasks of the loop."""
    before = (-1, -1)
    while True:
        now = (len(os.listdir(OPEN_FILES)), len(anyio.get_running_tasks()))
        if now == before and not any(sessions._server_instances for sessions in server.web._sessions.managers):
            return now
        before = now
        await anyio.sleep(LOOK_SECONDS)


def prompt(number: int) -> str:
    """Name what one client wants."""
    return f"fog {number}"
