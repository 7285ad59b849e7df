"""Following a submitted task to its end: polled until RunAPI has finished it, its video saved, through faults."""

from functools import partial
from pathlib import Path

import anyio
import pytest

from luma_mcp.app.progress import Progress
from luma_mcp.core.errors import ASKS_ON
from luma_mcp.core.models import Status, VideoRequest
from luma_mcp.sandbox.application import GENERATION_SECONDS
from luma_mcp.sandbox.faults import Fault, Kind
from luma_mcp.sandbox.requests import ContractVariant
from tests.support.rig import SOURCE, ProgressRecorder, Rig, VirtualClock, open_rig, sandbox_for, silent
from tests.support.tasks import code_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
HOUR = 3600.0


@pytest.mark.parametrize(
    "kind", ["429", "500", "503", "html", "empty", "malformed", "drop_before", "404", "401", "402"]
)
async def test_a_failing_poll_does_not_end_a_task(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.inject(Fault(kind, route="read", times=4))
    task = await rig.submit(wait=6)
    assert task.status is Status.PROCESSING
    assert task.error
    assert task.error.charged == "unknown"
    ended = await rig.settle(task)
    assert (ended.status, ended.error) == (Status.COMPLETED, None)
    assert rig.task_count() == 1


async def test_retry_after_of_a_poll_is_honoured(home: Path) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=60, shape=ContractVariant(poll_retry_after=25))) as rig:
        task = await rig.settle(await rig.submit())
        assert task.status is Status.COMPLETED
        assert rig.polls() <= 4
        rig.sandbox.faults.inject(Fault("503", route="read", seconds=200))
        begun = anyio.current_time()
        await rig.settle(await rig.submit("again"))
        assert anyio.current_time() - begun > 200


async def test_runapi_is_not_asked_before_a_task_can_have_ended_and_then_steadily(home: Path) -> None:
    like_runapi = ContractVariant(tells_seconds=False)
    async with open_rig(home, sandbox=sandbox_for(home, seconds=60, shape=like_runapi)) as rig:
        task = await rig.submit(wait=0)
        await anyio.sleep(14.9)
        assert rig.polls() == 0
        ended = await rig.settle(task)
        assert ended.status is Status.COMPLETED
        assert 60 <= ended.generating_seconds(rig.clock()) <= 65
        assert 7 <= rig.polls() <= 13


async def test_a_hundred_tasks_submitted_at_once_are_not_asked_for_in_step(home: Path) -> None:
    like_runapi = ContractVariant(tells_seconds=False)
    async with open_rig(home, sandbox=sandbox_for(home, seconds=60, shape=like_runapi), max_active=100) as rig:
        async with anyio.create_task_group() as calls:
            for number in range(100):
                calls.start_soon(partial(rig.submit, f"fog {number}", wait=0))
        asked = []
        for _ in range(30):
            before = rig.polls()
            await anyio.sleep(1)
            asked.append(rig.polls() - before)
        assert sum(asked) > 100
        assert max(asked) < 60


async def test_a_new_user_sees_the_first_task_of_the_sandbox_end_at_once_and_its_true_time(rig: Rig) -> None:
    told = ProgressRecorder()
    task = (
        await rig.app.modify_video(
            VideoRequest(prompt="fog", source=SOURCE), "local", wait_seconds=40, progress=Progress(told)
        )
    ).task
    assert task.status is Status.COMPLETED
    assert GENERATION_SECONDS <= task.generating_seconds(rig.clock()) <= GENERATION_SECONDS + 0.5
    assert any(said.endswith(f"usually {GENERATION_SECONDS:.0f} s") for _, _, said in told.reports)
    assert not any("120" in said for _, _, said in told.reports)


async def test_a_refusal_slows_the_polls_down_further_than_trouble_that_passes(home: Path) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=HOUR)) as rig:
        rig.sandbox.faults.inject(Fault("404", route="read", times=10_000))
        task = await rig.submit()
        await anyio.sleep(HOUR / 2)
        assert rig.polls() < HOUR / 2 / 300 + 12
        assert code_of(await rig.settle(task, 0)) == "task_not_found"
        rig.sandbox.faults.clear()
        assert (await rig.settle(task, HOUR)).status is Status.COMPLETED


async def test_a_task_that_never_ends_is_left_alone_after_a_day_but_can_be_asked_for(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=50 * HOUR)) as rig:
        task = await rig.submit()
        clock.jumped += 25 * HOUR
        await anyio.sleep(60)
        told = (await rig.app.outcome(await rig.parts.ledger.get(task.key))).task
        assert (told.status, code_of(told)) == (Status.PROCESSING, "service_unavailable")
        before = rig.polls()
        await anyio.sleep(HOUR)
        assert rig.polls() == before
        clock.jumped += 25 * HOUR
        await rig.app.ensure_followed(task.key)
        assert (await rig.settle(task)).status is Status.COMPLETED


async def test_a_machine_that_slept_for_days_still_fetches_its_video(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=60)) as rig:
        task = await rig.submit(wait=0)
        clock.jumped += 50 * HOUR
        assert Path((await rig.settle(task)).video_path).is_file()


@pytest.mark.parametrize(("away", "lost"), [(60, False), (2 * HOUR, True)])
@pytest.mark.parametrize("slept", [True, False])
async def test_a_machine_that_wakes_up_without_a_network_still_fetches_its_video_when_there_is_one(
    home: Path, away: float, lost: bool, slept: bool
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    async with open_rig(home, clock=clock, sandbox=sandbox) as rig:
        key = (await rig.submit(wait=0)).key
        if slept:
            await sleep_and_wake_without_network(rig, key, away, lost=lost)
    if not slept:
        async with open_rig(home, clock=clock, sandbox=sandbox) as rig:
            rig.app.start_tracker()
            await sleep_and_wake_without_network(rig, key, away, lost=lost)


async def sleep_and_wake_without_network(rig: Rig, key: str, away: float, *, lost: bool) -> None:
    rig.sandbox.faults.inject(Fault("drop_before", route="read", times=100_000))
    rig.clock.jumped += 50 * HOUR
    await anyio.sleep(away)
    assert (await rig.parts.ledger.get(key)).is_lost(rig.clock()) is lost
    rig.sandbox.faults.clear()
    await anyio.sleep(120)
    found = await rig.parts.ledger.get(key)
    assert (found.error, Path(found.video_path).is_file()) == (None, True)


async def test_nobody_is_told_to_go_on_asking_for_a_task_that_was_given_up_on_by_another_process_either(
    home: Path,
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    sandbox.faults.inject(Fault("drop_before", route="read", times=100_000))
    hints: list[str] = []
    for slept in (50 * HOUR, 0.0):
        async with open_rig(home, clock=clock, sandbox=sandbox) as rig:
            key = (await rig.submit(wait=0)).key
            clock.jumped += slept
            await anyio.sleep(2 * HOUR if slept else 90)
            task = await rig.parts.ledger.get(key)
            assert (task.is_lost(clock()), code_of(task)) == (True, "network")
            hints.append(task.error.hint if task.error else "")
    assert hints == [ASKS_ON, ASKS_ON]


@pytest.mark.parametrize("kind", ["404", "503", "drop_before"])
async def test_a_download_is_repeated_until_it_succeeds(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.inject(Fault(kind, route="output", times=2))
    task = await rig.submit()
    assert (task.status, task.error) == (Status.COMPLETED, None)
    assert Path(task.video_path).is_file()


async def test_a_download_that_keeps_failing_is_told_as_paid_and_goes_on_behind(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("503", route="output", times=12))
    task = await rig.submit()
    assert (task.status, code_of(task), task.video_path) == (Status.COMPLETED, "download_failed", "")
    assert task.error
    assert (task.error.charged, task.error.retry_safe) == ("yes", True)
    await anyio.sleep(HOUR)
    later = await rig.parts.ledger.get(task.key)
    assert later.error is None
    assert Path(later.video_path).is_file()


async def test_a_video_is_no_longer_fetched_once_it_has_expired(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("404", route="output", times=100_000))
    task = await rig.submit()
    rig.clock.jumped += 8 * 24 * HOUR
    await anyio.sleep(HOUR)
    before = len(rig.sandbox.recorded_requests)
    await anyio.sleep(HOUR)
    assert len(rig.sandbox.recorded_requests) == before
    gone = (await rig.app.get_task(task.task_id, "local", wait_seconds=300, progress=Progress(silent))).task
    assert code_of(gone) == "download_failed"
    assert gone.error
    assert "seven days" in gone.error.message


async def test_an_output_folder_that_breaks_after_payment_does_not_invite_to_pay_again(rig: Rig, home: Path) -> None:
    task = await rig.submit(wait=0)
    (home / "out").rmdir()
    (home / "out").touch()
    told = await rig.settle(task)
    assert told.error
    assert (told.status, told.error.code) == (Status.COMPLETED, "output_not_writable")
    assert (told.error.charged, told.error.retry_safe) == ("yes", True)
    (home / "out").unlink()
    await anyio.sleep(HOUR)
    assert Path((await rig.parts.ledger.get(task.key)).video_path).is_file()
