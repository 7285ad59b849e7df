"""RunAPI's callbacks: a reason to ask now, and nothing else. On the virtual clock, except where sockets are needed."""

import json
import logging
import socket
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.core.models import Status, Task
from luma_mcp.sandbox.requests import ContractVariant
from luma_mcp.worker.callbacks import CALLED_POLL_SECONDS, Callbacks, new_callback_url
from luma_mcp.worker.polling import MAX_INTERVAL_SECONDS
from tests.support.http_server import ASK, hosted
from tests.support.rig import ERAS, Rig, VirtualClock, open_rig, sandbox_for, structured

pytestmark = pytest.mark.anyio
sockets = pytest.mark.sockets
PUBLIC = "https://mcp.example.com"
HTTP: dict[str, Any] = {"transport": "http", "public_url": PUBLIC}
LONG_SECONDS = 1000.0


def called_at(rig: Rig) -> list[str]:
    """List where RunAPI was told to call, oldest task first."""
    return [str(task.body.get("callback_url", "")) for task in rig.sandbox.state.generations()]


def polls(rig: Rig) -> int:
    """Count the questions about tasks that RunAPI saw."""
    return sum(seen.method == "GET" and "/modify_video/" in seen.path for seen in rig.sandbox.recorded_requests)


def call(rig: Rig, address: str) -> None:
    """Call back as RunAPI does."""
    rig.parts.callbacks.handle_call(address.rpartition("/")[2])


async def done(rig: Rig, task: Task) -> Task:
    """Wait for the end of a task, however long that takes."""
    return await rig.settle(task, 7200)


async def test_each_task_has_an_address_of_its_own_that_nobody_can_guess(home: Path, inline_threads: None) -> None:
    async with open_rig(home, **HTTP) as rig:
        await rig.submit("fog", wait=0)
        await rig.submit("snow", wait=0)
        first, second = called_at(rig)
        assert first != second
        for address in (first, second):
            assert address.startswith(f"{PUBLIC}/callbacks/")
            assert len(address.rpartition("/")[2]) >= 43


async def test_the_users_own_address_stays(home: Path, inline_threads: None) -> None:
    async with open_rig(home, **HTTP) as rig:
        await rig.submit(wait=0, callback_url="https://example.com/hook")
        assert called_at(rig) == ["https://example.com/hook"]


@pytest.mark.parametrize("settings", [{"transport": "http"}, {"public_url": PUBLIC}])
async def test_without_a_public_address_or_on_stdio_nobody_is_asked_to_call(
    home: Path, inline_threads: None, settings: dict[str, Any]
) -> None:
    async with open_rig(home) as rig:
        await rig.submit(wait=0)
        assert called_at(rig) == [""]
    async with open_rig(home, **settings) as rig:
        await rig.submit("snow", wait=0)
        assert called_at(rig) == ["", ""]


async def test_a_call_makes_the_server_ask_at_once(home: Path, inline_threads: None) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=LONG_SECONDS)
    async with open_rig(home, clock=clock, sandbox=sandbox, **HTTP) as rig:
        task = await rig.submit(wait=0)
        await anyio.sleep(LONG_SECONDS + 0.1)
        before, begun = polls(rig), anyio.current_time()
        call(rig, called_at(rig)[0])
        assert (await done(rig, task)).status is Status.COMPLETED
        assert anyio.current_time() - begun <= 1
        assert polls(rig) == before + 1


async def test_nothing_is_left_of_a_call_that_nobody_waits_for_any_more(home: Path, inline_threads: None) -> None:
    async with open_rig(home, **HTTP) as rig:
        await done(rig, await rig.submit(wait=0))
        assert not rig.parts.callbacks._expected
        assert not rig.parts.callbacks._called


async def test_a_task_with_an_address_of_the_users_own_is_asked_for_as_often_as_ever(
    home: Path, inline_threads: None
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=LONG_SECONDS)
    async with open_rig(home, clock=clock, sandbox=sandbox, **HTTP) as rig:
        counts: list[int] = []
        for reliable in (False, True):
            rig.parts.callbacks.is_reliable = reliable
            before = polls(rig)
            await done(rig, await rig.submit(f"fog {reliable}", wait=0, callback_url="https://example.com/hook"))
            counts.append(polls(rig) - before)
        assert counts[0] == pytest.approx(counts[1], abs=2)


async def test_a_call_is_not_believed(home: Path, inline_threads: None) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=LONG_SECONDS)
    async with open_rig(home, clock=clock, sandbox=sandbox, **HTTP) as rig:
        task = await rig.submit(wait=0)
        call(rig, called_at(rig)[0])
        await anyio.sleep(1)
        assert (await rig.parts.ledger.get(task.key)).status in {Status.PENDING, Status.PROCESSING}
        assert (await done(rig, task)).status is Status.COMPLETED


@pytest.mark.parametrize("secret", ["", "x", "A" * 43, "../healthz"])
async def test_a_forged_call_changes_nothing(home: Path, inline_threads: None, secret: str) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=LONG_SECONDS)
    async with open_rig(home, clock=clock, sandbox=sandbox, **HTTP) as rig:
        task = await rig.submit(wait=0)
        await anyio.sleep(0.1)
        before = polls(rig)
        rig.parts.callbacks.handle_call(secret)
        await anyio.sleep(1)
        assert polls(rig) == before
        assert not rig.parts.callbacks.is_reliable
        assert (await rig.parts.ledger.get(task.key)).updated_at == task.updated_at


async def test_calls_about_a_task_put_it_behind_no_others(home: Path, inline_threads: None) -> None:
    """As when more tasks are due than RunAPI may be asked about in a second."""
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60, shape=ContractVariant(tells_seconds=False))
    async with open_rig(home, clock=clock, sandbox=sandbox, polls_per_second=1, max_active=50, **HTTP) as rig:
        for number in range(50):
            await rig.submit(f"fog {number}", wait=0)
        await anyio.sleep(61)
        waiting = rig.parts.tracker._schedule._due
        next_one = await rig.parts.ledger.get(min(waiting, key=lambda key: waiting[key]))
        for _ in range(5):
            call(rig, next_one.callback)
            await anyio.sleep(1)
        assert (await rig.parts.ledger.get(next_one.key)).status is Status.COMPLETED


async def test_many_calls_in_a_row_make_few_questions(home: Path, inline_threads: None) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=LONG_SECONDS)
    async with open_rig(home, clock=clock, sandbox=sandbox, **HTTP) as rig:
        await rig.submit(wait=0)
        before = polls(rig)
        for _ in range(1000):
            call(rig, called_at(rig)[0])
            await anyio.sleep(0.02)
        assert polls(rig) - before <= 20 / CALLED_POLL_SECONDS + 2


async def test_where_calls_arrive_questions_get_rarer_but_never_end(home: Path, inline_threads: None) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=LONG_SECONDS, shape=ContractVariant(tells_seconds=False))
    async with open_rig(home, clock=clock, sandbox=sandbox, **HTTP) as rig:
        first = await rig.submit("fog", wait=0)
        await done(rig, first)
        without = polls(rig)
        second = await rig.submit("snow", wait=0)
        await anyio.sleep(LONG_SECONDS + 0.1)
        call(rig, called_at(rig)[1])
        await done(rig, second)

        before, begun = polls(rig), anyio.current_time()
        third = await rig.submit("rain", wait=0)
        assert (await done(rig, third)).status is Status.COMPLETED  # although the call for this one never comes
        assert polls(rig) - before < without / 2
        assert anyio.current_time() - begun <= LONG_SECONDS + 1.1 * MAX_INTERVAL_SECONDS
        assert not rig.parts.callbacks.is_reliable


async def test_a_restarted_server_is_called_at_the_same_address(home: Path, inline_threads: None) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=LONG_SECONDS)
    async with open_rig(home, clock=clock, sandbox=sandbox, **HTTP) as rig:
        task = await rig.submit(wait=0)
        address = called_at(rig)[0]
    moved: dict[str, Any] = HTTP | {"public_url": "https://new.example"}
    async with open_rig(home, clock=clock, sandbox=sandbox, **moved) as rig:
        rig.app.start_tracker()
        await anyio.sleep(LONG_SECONDS + 10)
        call(rig, address)
        assert (await done(rig, task)).status is Status.COMPLETED
        assert rig.parts.callbacks.is_reliable


async def test_an_address_that_runapi_repeats_is_told_to_nobody(home: Path, inline_threads: None) -> None:
    repeated: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        repeated.append(json.loads(request.content)["callback_url"])
        return httpx.Response(422, json={"error": f"cannot call {repeated[0]} back"})

    async with open_rig(home, network=httpx.MockTransport(refuse), **HTTP) as rig:
        task = await rig.submit(wait=5)
    assert task.error
    assert "/callbacks/[secret] back" in task.error.message
    assert repeated[0].rpartition("/")[2] not in f"{task!r}"


def test_without_a_public_address_there_is_none_to_call() -> None:
    assert new_callback_url("") == ""


async def test_a_call_that_comes_after_the_answer_shows_that_calls_come() -> None:
    callbacks, address = Callbacks(), new_callback_url(PUBLIC)
    callbacks.expect(address, lambda: None)
    callbacks.note_task_end(address)
    callbacks.forget(address)
    assert not callbacks.is_reliable
    callbacks.handle_call("another")
    assert not callbacks.is_reliable
    callbacks.handle_call(address.rpartition("/")[2])
    assert callbacks.is_reliable


@sockets
async def test_all_calls_are_answered_alike(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        hosted(home, public_url=PUBLIC) as server,
        server.client("/mcp", ERAS[1]) as client,
        server.plain() as plain,
    ):
        task = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        address = str(server.sandbox.state.generations()[0].body["callback_url"])
        path = address.removeprefix(PUBLIC)
        answers = [
            await plain.post(
                to, headers={"Host": "mcp.example.com"}, json={"id": task["task_id"], "status": "completed"}
            )
            for to in (path, path, f"{path}x", "/callbacks/unknown")
        ]
        assert {(answer.status_code, answer.content) for answer in answers} == {(204, b"")}
        assert {frozenset(answer.headers) for answer in answers} == {frozenset(answers[0].headers)}
        assert structured(await client.call_tool("get_task", {"task_id": task["task_id"]}))["done"] is False
        server.finish_tasks()
        done = await client.call_tool("get_task", {"task_id": task["task_id"], "wait_seconds": 10})
        assert structured(done)["status"] == "completed"
        seen = str([done, await client.call_tool("list_tasks", {}), await client.list_resources()])
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    assert path.rpartition("/")[2] not in f"{seen}{ours}"


@sockets
async def test_without_a_public_address_calls_have_no_path(home: Path) -> None:
    async with hosted(home) as server, server.plain() as plain:
        assert (await plain.post("/callbacks/x")).status_code == 404


@sockets
@pytest.mark.parametrize("era", ERAS)
async def test_a_task_whose_end_is_called_is_known_to_have_ended_long_before_it_would_be_asked_for(
    home: Path, era: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    public: dict[str, Any] = {"port": port, "public_url": f"http://127.0.0.1:{port}"}
    async with (
        hosted(home, usual=LONG_SECONDS, **public) as server,
        server.client("/mcp", era) as client,
        anyio.create_task_group() as runapi,
    ):
        runapi.start_soon(server.sandbox.send_callbacks)
        task = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        server.finish_tasks()
        done = await client.call_tool("get_task", {"task_id": task["task_id"], "wait_seconds": 40})
        assert structured(done)["status"] == "completed"
        assert server.asked() == 1
        runapi.cancel_scope.cancel()
