"""Bringing a request to RunAPI: what is known of its cost at each moment, and how long the network is waited for."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from luma_mcp.app.app import App, open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.commands import UNREACHED_SECONDS
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.http import bundled_clip
from luma_mcp.sandbox.transport import in_process
from tests.support.rig import SOURCE, Rig, VirtualClock, open_rig, sandbox_for, settings_for, silent

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
TOLD_SECONDS = 10.0


class Unreachable(httpx.AsyncBaseTransport):
    """A network in which nothing answers: an attempt to connect takes as long as it may, or fails at once."""

    def __init__(self, *, at_once: bool) -> None:
        self._at_once = at_once

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._at_once:
            raise httpx.ConnectError("Name or service not known")
        await anyio.sleep(request.extensions["timeout"]["connect"])
        raise httpx.ConnectTimeout("")


@asynccontextmanager
async def at_a_terminal(home: Path, network: httpx.AsyncBaseTransport) -> AsyncGenerator[App]:
    """Open the application as the command line does."""
    settings = settings_for(home, media_roots=str(home))
    async with open_app(settings, now=VirtualClock(), transport=network, unreached_seconds=UNREACHED_SECONDS) as app:
        yield app


async def modified(app: App, source: str = SOURCE) -> Task:
    """Ask for a clip, and wait for the end."""
    request = VideoRequest(prompt="fog", source=source)
    return (await app.modify_video(request, "local", wait_seconds=300, progress=Progress(silent))).task


@pytest.mark.parametrize("local", [False, True], ids=["address", "file"])
@pytest.mark.parametrize("at_once", [False, True], ids=["no answer", "no way"])
async def test_at_a_terminal_a_network_that_cannot_be_reached_is_told_within_ten_seconds(
    home: Path, local: bool, at_once: bool
) -> None:
    clip = home / "clip.mp4"
    shutil.copy(bundled_clip(), clip)
    source = str(clip) if local else SOURCE
    async with at_a_terminal(home, Unreachable(at_once=at_once)) as app:
        begun = anyio.current_time()
        task = await modified(app, source)
        assert anyio.current_time() - begun < TOLD_SECONDS
    assert (task.status, task.charged, task.error and task.error.code) == (Status.FAILED, "no", "network")
    async with in_process(sandbox_for(home)) as web, at_a_terminal(home, web) as app:
        assert (await modified(app, source)).status is Status.COMPLETED, "it was not started anew"
    async with at_a_terminal(home, Unreachable(at_once=at_once)) as app:
        assert (await modified(app, source)).status is Status.COMPLETED, "a result needs no network"


async def test_a_server_waits_for_the_network_for_minutes(home: Path) -> None:
    async with open_rig(home, network=Unreachable(at_once=True)) as rig:
        begun = anyio.current_time()
        task = await rig.settle(await rig.submit(wait=0))
        assert 60 < anyio.current_time() - begun < 300
        assert (task.status, task.charged) == (Status.FAILED, "no")


async def test_what_stood_in_the_row_before_a_sending_does_not_speak_for_what_comes_after_it(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("429", seconds=10), Fault("slow", seconds=25))
    task = await rig.submit(wait=5)
    assert task.error
    assert (task.error.code, task.charged, task.error.charged) == ("rate_limited", "no", "no")
    await anyio.sleep(15)  # the second try is on its way
    task = await rig.app.ledger.get(task.key)
    assert task.error
    assert (task.status, task.charged, task.error.charged) == (Status.SUBMITTING, "unknown", "unknown")
    done = await rig.settle(task)
    assert (done.status, done.charged, rig.charges()) == (Status.COMPLETED, "yes", 1)


@pytest.mark.parametrize(
    ("faults", "charged"),
    [
        ([Fault("429", seconds=1), Fault("402")], "no"),
        ([Fault("drop_before"), Fault("402")], "unknown"),
        ([Fault("503"), Fault("422")], "unknown"),
        ([Fault("429", seconds=1), Fault("drop_after"), Fault("401")], "unknown"),
    ],
)
async def test_a_refusal_is_free_only_if_no_answer_was_lost_before(rig: Rig, faults: list[Fault], charged: str) -> None:
    rig.sandbox.faults.order(*faults)
    task = await rig.settle(await rig.submit())
    assert task.charged == charged
    assert task.status is (Status.FAILED if charged == "no" else Status.UNCONFIRMED)
    again = await rig.ask()
    assert (again.joined, again.task.status) == (charged == "unknown", Status.COMPLETED)
    assert rig.charges() == 1


async def test_a_process_that_ends_waits_a_moment_for_what_is_on_its_way(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        sandbox.faults.order(Fault("slow", seconds=1.1))
        with anyio.move_on_after(0.1):
            await first.submit(wait=0)
        ended = anyio.current_time()
    assert anyio.current_time() - ended == pytest.approx(1.0, abs=0.1)
    async with open_rig(home, clock=clock, sandbox=sandbox) as second:
        (task,), _ = await second.app.list_tasks("local", "", 10, "")
        assert task.task_id
        assert second.creates() == 1


async def test_a_process_that_ends_does_not_wait_for_long(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        sandbox.faults.order(Fault("slow", seconds=100))
        with anyio.move_on_after(0.1):
            await first.submit(wait=0)
        ended = anyio.current_time()
    assert anyio.current_time() - ended == pytest.approx(1.2, abs=0.1)


def answering(posted: httpx.Response) -> httpx.MockTransport:
    """Make a RunAPI that gives the same answer to each submission, and runs every task for ever."""

    def answer(request: httpx.Request) -> httpx.Response:
        return posted if request.method == "POST" else httpx.Response(200, json={"id": "x", "status": "processing"})

    return httpx.MockTransport(answer)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "conflict", "id": "err_1"},
        {"id": 409},
        {"data": {"id": "req-77"}},
        {"status": 409, "id": "x"},
        ["x"],
        "conflict",
        None,
    ],
)
async def test_an_id_in_a_conflict_that_is_not_the_tasks_is_not_believed(home: Path, body: object) -> None:
    async with open_rig(home, network=answering(httpx.Response(409, json=body))) as rig:
        task = await rig.settle(await rig.submit())
    assert (task.task_id, task.status, task.charged) == ("", Status.UNCONFIRMED, "unknown")


@pytest.mark.parametrize("status", [200, 409])
async def test_an_answer_that_names_another_task_is_none(home: Path, status: int) -> None:
    taken = httpx.Response(status, json={"id": "t-1", "status": "processing"})
    async with open_rig(home, network=answering(taken)) as rig:
        first = await rig.submit("one", wait=0)
        second = await rig.settle(await rig.submit("other", wait=0))
    assert (first.task_id, second.task_id, second.status) == ("t-1", "", Status.UNCONFIRMED)


async def test_the_network_is_waited_for_from_when_it_was_gone(home: Path) -> None:
    async with in_process(sandbox := sandbox_for(home)) as web, at_a_terminal(home, GoneOnce(web)) as app:
        sandbox.faults.order(Fault("429", seconds=8))
        assert (await modified(app)).status is Status.COMPLETED


class GoneOnce(httpx.AsyncBaseTransport):
    """A network that is gone for the second request."""

    def __init__(self, network: httpx.AsyncBaseTransport) -> None:
        self._network = network
        self._asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._asked += 1
        if self._asked == 2:
            raise httpx.ConnectError("gone")
        return await self._network.handle_async_request(request)


async def test_a_lost_answer_and_then_a_refused_key_says_to_mend_the_key(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("drop_after"), Fault("401"))
    task = await rig.settle(await rig.submit())
    assert task.error
    assert "RUNAPI_API_KEY" in task.error.hint
    assert "repeat the same modify_video call" in task.error.hint
