"""Two hundred clients at once, of both eras and over both transports, who come, go, break off and come again."""

import gc
import os
import random
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hosted import ASK, PAIRS, WAYS, Hosted, hosted
from tests.rig import facts
from tests.test_http import calling

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
CLIENTS = 200
BOUND_SECONDS = 150.0
POLL_SECONDS = 2.0
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def many_files() -> None:
    """Allow this process the files of both ends of all connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system does not list open files")
async def test_two_hundred_clients_each_get_their_own_video_and_leave_nothing_behind(
    home: Path, many_files: None
) -> None:
    found: dict[int, dict[str, Any]] = {}
    told: Counter[int] = Counter()
    async with hosted(home, poll=POLL_SECONDS, seconds=BOUND_SECONDS, auth_tokens=PAIRS, max_active=CLIENTS) as server:
        await one_of_each(server)
        files, tasks = open_files(), running()
        async with anyio.create_task_group() as clients:
            for number in range(CLIENTS):
                clients.start_soon(be_a_client, server, number, found, told)
            await asked_for(server, server.charges() + CLIENTS)
            server.finish_tasks()
        await settled(server, files, tasks)
    assert len({task["task_id"] for task in found.values()}) == CLIENTS
    assert {task["status"] for task in found.values()} == {"completed"}
    assert [found[number]["prompt"] for number in range(CLIENTS)] == [prompt(number) for number in range(CLIENTS)]
    assert all(told[number] for number in range(CLIENTS))


async def be_a_client(server: Hosted, number: int, found: dict[int, dict[str, Any]], told: Counter[int]) -> None:
    """Modify a video; half of the clients break off at first, each in one of the ways there are."""
    path, era = WAYS[number % len(WAYS)]
    caller = ("ann", "bob")[number // 2 % 2]
    ask = ASK | {"prompt": prompt(number), "wait_seconds": 300}

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told[number] += 1

    if number % 8 < 4:
        await break_off(server, path, era, caller, ask, roughly=number % 16 < 8)
    async with server.client(path, era, caller) as client:
        done = await client.call_tool("modify_video", ask, progress_callback=tell, read_timeout_seconds=BOUND_SECONDS)
        found[number] = facts(done)


async def break_off(server: Hosted, path: str, era: str, caller: str, ask: dict[str, Any], *, roughly: bool) -> None:
    """Call, and leave before there is an answer."""
    patience = random.uniform(0.05, 0.5)  # noqa: S311 - guards nothing
    with anyio.move_on_after(patience):
        if roughly:
            async with server.plain(caller) as plain, calling(plain, path, era, ask):
                await anyio.sleep_forever()
        else:
            async with server.client(path, era, caller) as client:
                await client.call_tool("modify_video", ask)


async def one_of_each(server: Hosted) -> None:
    """Have everything opened that is opened once."""
    for path, era in WAYS:
        async with server.client(path, era, "ann") as client:
            task = facts(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
            server.finish_tasks()
            await client.call_tool("get_task", {"task_id": task["task_id"], "wait_seconds": 60})


async def asked_for(server: Hosted, tasks: int) -> None:
    """Wait until RunAPI has as many tasks, and nobody breaks off any more."""
    while server.charges() < tasks or server.app.deliveries.waiting < CLIENTS:
        await server.app.tracker.changed()


async def settled(server: Hosted, files: int, tasks: int) -> None:
    """Wait until no more files are open and no more tasks run than before."""
    while open_files() > files or running() > tasks:
        gc.collect()
        await anyio.sleep(0.1)


def open_files() -> int:
    """Count the open files of this process, both ends of its connections among them."""
    return len(os.listdir(OPEN_FILES))


def running() -> int:
    """Count the tasks of the event loop."""
    return len(anyio.get_running_tasks())


def prompt(number: int) -> str:
    """Name what one client wants."""
    return f"fog {number}"
