"""Two servers on one ledger: whoever holds the lease works, and what the other still believes counts no more."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.core.models import Status, Task, TaskSnapshot
from luma_mcp.ledger.files import LEDGER_NAME
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.faults import Fault, Kind
from luma_mcp.sandbox.requests import ContractVariant, bundled_clip
from luma_mcp.sandbox.state import SandboxState
from tests.support.rig import KEY, Rig, VirtualClock, open_rig, sandbox_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
HOUR = 3600.0


async def only_task(rig: Rig) -> Task:
    """Give the one task of the ledger."""
    (task,), _ = await rig.app.list_tasks("local", "", 10, "")
    return task


def asked(sandbox: Sandbox, method: str, part: str) -> int:
    """Count requests."""
    return sum(seen.method == method and part in seen.path for seen in sandbox.recorded_requests)


@pytest.mark.parametrize("refusal", ["402", "401", "409", "503"])
async def test_a_submission_that_slept_does_not_speak_over_the_one_that_took_it_over(home: Path, refusal: Kind) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    sandbox.faults.inject(Fault("429", seconds=40))
    async with (
        open_rig(home, clock=clock, sandbox=sandbox) as sleeper,
        open_rig(home, clock=clock, sandbox=sandbox) as other,
    ):
        await sleeper.submit(wait=6)  # between two rounds of its own
        clock.jumped += 600  # the sleeper's lease has run out
        other.app.start_tracker()
        await anyio.sleep(2)
        assert (await only_task(other)).task_id
        sandbox.faults.inject(Fault(refusal))
        await anyio.sleep(120)
        task = await only_task(other)
    assert (task.status, task.error) == (Status.COMPLETED, None)
    assert other.task_count() == 1
    assert Path(task.video_path).is_file()


@pytest.mark.parametrize("settings", [{"api_key": "runapi_live_of_another_account"}, {}])
async def test_an_answer_that_comes_after_a_long_sleep_is_written_down_whoever_took_the_lease(
    home: Path, settings: dict[str, Any]
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    sandbox.faults.inject(Fault("slow", seconds=30))
    async with (
        open_rig(home, clock=clock, sandbox=sandbox) as sleeper,
        open_rig(home, clock=clock, sandbox=sandbox, **settings) as other,
    ):
        await sleeper.submit(wait=6)
        clock.jumped += HOUR
        other.app.start_tracker()
        await anyio.sleep(300)
        task = await only_task(other)
    assert (task.status, task.error) == (Status.COMPLETED, None)
    assert sleeper.creates() == 1


@pytest.mark.parametrize(("kind", "status"), [("drop_after", Status.UNCONFIRMED), ("429", Status.FAILED)])
async def test_no_submission_goes_out_after_a_long_sleep(home: Path, kind: Kind, status: Status) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock)) as rig:
        rig.sandbox.faults.inject(Fault(kind, seconds=10), Fault("503", seconds=20))
        await rig.submit(wait=8)
        sent = rig.creates()
        clock.jumped += 26 * HOUR
        await anyio.sleep(HOUR)
        assert rig.creates() == sent
        assert (await only_task(rig)).status is status


class Slowly(httpx.AsyncByteStream):
    """A video of which the second half takes some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        whole = bundled_clip().read_bytes()
        yield whole[:3000]
        await anyio.sleep(self._seconds)
        yield whole[3000:]


class SlowStorage(httpx.ASGITransport):
    """A RunAPI whose outputs take long to download, each its own time."""

    def __init__(self, sandbox: Sandbox, *seconds: float) -> None:
        super().__init__(sandbox)
        self.left = list(seconds)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/outputs/" not in request.url.path:
            return await super().handle_async_request(request)
        return httpx.Response(200, stream=Slowly(self.left.pop(0)), request=request)


@pytest.mark.parametrize(("first_takes", "second_takes"), [(10, 20), (20, 10), (40, 1), (20, 60)])
async def test_two_downloads_of_one_video_end_in_one_whole_file(
    home: Path, first_takes: float, second_takes: float
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=1)
    storage = SlowStorage(sandbox, first_takes, second_takes)
    async with (
        open_rig(home, clock=clock, sandbox=sandbox, network=storage) as sleeper,
        open_rig(home, clock=clock, sandbox=sandbox, network=storage) as other,
    ):
        await sleeper.submit(wait=6)  # between two rounds of its own
        clock.jumped += 600  # the sleeper's lease has run out in the middle of its download
        other.app.start_tracker()
        for _ in range(200):
            await anyio.sleep(0.5)
            seen = await only_task(other)
            assert seen.error is None
            for file in (home / "out").glob("*.mp4"):
                assert file.read_bytes() == bundled_clip().read_bytes()
        task = await only_task(other)
    assert [str(path) for path in (home / "out").iterdir()] == [task.video_path]
    assert storage.left == []


async def test_a_follower_that_slept_stops_asking_about_a_task_that_another_has_taken(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, questions = VirtualClock(), Counter[str]()
    sandbox = sandbox_for(home, clock=clock, seconds=2000, shape=ContractVariant(tells_seconds=False))

    def counting(name: str, rig: Rig) -> None:
        read = rig.parts.runapi.read_task

        async def counted(task_id: str) -> TaskSnapshot:
            questions[name] += 1
            return await read(task_id)

        monkeypatch.setattr(rig.parts.runapi, "read_task", counted)

    async with (
        open_rig(home, clock=clock, sandbox=sandbox) as sleeper,
        open_rig(home, clock=clock, sandbox=sandbox) as other,
    ):
        await sleeper.submit(wait=21)  # as above
        counting("sleeper", sleeper)
        counting("other", other)
        clock.jumped += 600
        other.app.start_tracker()
        await anyio.sleep(300)
    assert questions["other"] > 5
    assert questions["sleeper"] <= 1


async def test_a_download_longer_than_a_lease_stays_with_its_holder(home: Path) -> None:
    sandbox = sandbox_for(home, seconds=5)
    sandbox.faults.inject(Fault("slow", route="output", seconds=50))
    async with open_rig(home, sandbox=sandbox) as holder, open_rig(home, sandbox=sandbox) as other:
        await holder.submit(wait=0)
        other.app.start_tracker()
        await anyio.sleep(120)
        assert (await only_task(other)).video_path
    assert asked(sandbox, "GET", "/outputs/") == 1


async def test_a_task_whose_holder_was_killed_is_taken_over_though_the_clock_was_set_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        """Be killed before."""

    clock, sandbox = VirtualClock(), sandbox_for(home, seconds=5)
    async with open_rig(home, clock=clock, sandbox=sandbox) as other:
        async with open_rig(home, clock=clock, sandbox=sandbox) as holder:
            await holder.submit(wait=0)
            monkeypatch.setattr(holder.parts.ledger, "release_all", never)
        clock.jumped -= 300
        other.app.start_tracker()
        await anyio.sleep(30)
        assert (await only_task(other)).status is Status.COMPLETED


async def test_what_was_put_aside_stays_so_though_the_clock_was_set_back_a_little(home: Path) -> None:
    async with open_rig(home) as rig:
        task = await rig.submit(wait=0)
        ledger, now = rig.parts.ledger, rig.clock()
        assert await ledger.claim([task.key], now, now + 15)
        await ledger.release(task.key, now + 600)
        with closing(Ledger.in_file(home / "data" / LEDGER_NAME)) as other:
            assert not await other.claim([task.key], now, now + 15)
            assert await other.claim([task.key], now - 1, now + 15), "nothing is put aside for that long"


async def test_a_poll_that_slept_changes_nothing_of_a_finished_task(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=5)
    async with (
        open_rig(home, clock=clock, sandbox=sandbox) as sleeper,
        open_rig(home, clock=clock, sandbox=sandbox) as other,
    ):
        await sleeper.submit(wait=0)
        sandbox.faults.inject(Fault("slow", route="read", seconds=50))
        await anyio.sleep(3)
        clock.jumped += 600
        other.app.start_tracker()
        await anyio.sleep(20)
        ended = await only_task(other)
        assert ended.video_path
        await anyio.sleep(120)
        assert await only_task(other) == ended
    assert asked(sandbox, "GET", "/outputs/") == 1


async def test_a_server_with_another_key_leaves_a_task_to_those_who_can_ask_for_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = sandbox_for(home, seconds=60)
    theirs = {"asked": 0}

    async with open_rig(home, sandbox=sandbox) as first:
        task = await first.submit(wait=0)
    async with open_rig(home, sandbox=sandbox, api_key=f"other_{KEY}") as other:

        def hidden(state: SandboxState, task_id: str) -> None:
            theirs["asked"] += 1

        with monkeypatch.context() as patched:
            patched.setattr(SandboxState, "generation", hidden)
            other.app.start_tracker()
            await anyio.sleep(100)
        assert theirs["asked"] == 1
        assert (await only_task(other)).error is None
        async with open_rig(home, sandbox=sandbox) as again:
            again.app.start_tracker()
            assert (await again.settle(task)).status is Status.COMPLETED


async def test_an_unknown_outcome_under_another_key_is_left_to_those_who_have_it(home: Path) -> None:
    sandbox = sandbox_for(home)
    sandbox.faults.inject(Fault("drop_after"), Fault("401"))
    async with open_rig(home, sandbox=sandbox) as first:
        unknown = await first.submit()
        async with open_rig(home, sandbox=sandbox, api_key=f"other_{KEY}") as other:
            told = await other.ask()
            assert (told.joined, told.task.key, told.next_take) == (True, unknown.key, 2)
            assert told.task.error
            assert "another RunAPI key" in told.task.error.hint
            await anyio.sleep(10)
        assert await only_task(first) == unknown
        assert (await first.submit()).status is Status.COMPLETED
    assert first.task_count() == 1
