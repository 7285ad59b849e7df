"""Who follows which task, through failures of the ledger, restarts and other processes: paid once, never lost."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.core.errors import LedgerUnusable, LumaError
from luma_mcp.core.models import Status, Task
from luma_mcp.ledger import database
from luma_mcp.ledger.database import raise_ledger_unusable
from luma_mcp.ledger.errors import LeaseLost
from luma_mcp.ledger.ledger import insert
from luma_mcp.ledger.records import row_of
from luma_mcp.ledger.store import Connection
from luma_mcp.media.downloads import Downloads
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.transport import open_asgi_transport
from luma_mcp.worker.follower import Follower
from tests.support.rig import Rig, VirtualClock, open_rig, sandbox_for
from tests.support.runapi_keys import NEW_KEY, OLD_KEY, RevokingNetwork, write_key
from tests.support.tasks import code_of, task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
HOUR = 3600.0
MANY, RATE = 1000, 100


class FlakyWrites:
    """Lets the n-th use of the ledger fail, as a lock that somebody else holds too long."""

    def __init__(self, failing: int) -> None:
        self.entered = 0
        self._failing = failing

    @contextmanager
    def __call__(self, path: Path) -> Generator[None]:
        self.entered += 1
        with raise_ledger_unusable(path):
            if self.entered == self._failing:
                raise sqlite3.OperationalError("database is locked")
            yield


async def charged_by(rig: Rig) -> str:
    """Submit, and tell what the answer says about money; nothing if it is no failure."""
    try:
        task = await rig.submit()
    except LumaError as error:
        return error.charged
    return task.error.charged if task.error else ""


@pytest.mark.parametrize("failing", range(1, 40))
async def test_a_ledger_that_fails_at_any_write_loses_and_charges_nothing_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    flaky = FlakyWrites(failing)
    monkeypatch.setattr(database, "raise_ledger_unusable", flaky)
    for _ in range(3):
        charged = await charged_by(rig)
        assert charged != "no" or rig.task_count() == 0
        await anyio.sleep(60)
    tasks, _ = await rig.app.list_tasks("local", "", 10, "")
    assert [task.status for task in tasks] == [Status.COMPLETED]
    assert Path(tasks[0].video_path).is_file()
    assert rig.task_count() == 1
    assert flaky.entered > failing


async def test_an_old_task_of_a_process_that_just_died_is_asked_for_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        task = await first.submit(wait=0)
    clock.jumped += 50 * HOUR
    async with open_rig(home, clock=clock, sandbox=sandbox) as second:
        sandbox.faults.inject(Fault("slow", route="read", seconds=100))
        second.app.start_tracker()
        await anyio.sleep(1)
        monkeypatch.setattr(second.parts.tracker, "_release_all", keep)
    async with open_rig(home, clock=clock, sandbox=sandbox) as third:
        third.app.start_tracker()
        await anyio.sleep(60)
        assert (await third.parts.ledger.get(task.key)).status is Status.COMPLETED


@pytest.mark.parametrize("kills", [True, False])
async def test_an_old_task_is_asked_for_by_another_process_when_one_ends_before_runapi_answers(
    home: Path, monkeypatch: pytest.MonkeyPatch, kills: bool
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        task = await first.submit(wait=0)
    clock.jumped += 50 * HOUR
    sandbox.faults.inject(Fault("drop_before", route="read", times=100_000))
    async with open_rig(home, clock=clock, sandbox=sandbox) as other:
        async with open_rig(home, clock=clock, sandbox=sandbox) as holder:
            with monkeypatch.context() as patched:
                patched.setattr(other.parts.tracker, "_claim", claim_too_late)
                other.app.start_tracker()
                await anyio.sleep(1)
            holder.app.start_tracker()
            await anyio.sleep(30)
            assert (holder.parts.tracker.load.leases, other.parts.tracker.load.leases) == (1, 0)
            if kills:
                monkeypatch.setattr(holder.parts.tracker, "_release_all", keep)
        sandbox.faults.clear()
        await anyio.sleep(120)
        assert (await other.parts.ledger.get(task.key)).status is Status.COMPLETED


@pytest.mark.parametrize("trouble", [LedgerUnusable("busy"), ZeroDivisionError(), LeaseLost("another has it")])
async def test_an_old_task_is_asked_for_again_where_trouble_of_this_servers_own_ended_its_following(
    home: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        task = await first.submit(wait=0)
    clock.jumped += 50 * HOUR
    async with open_rig(home, clock=clock, sandbox=sandbox) as rig:

        async def fail(*_: object) -> None:
            raise trouble

        with monkeypatch.context() as patched:
            patched.setattr(Follower, "look", fail)
            rig.app.start_tracker()
            await anyio.sleep(3)
        await anyio.sleep(HOUR)
        assert (await rig.parts.ledger.get(task.key)).status is Status.COMPLETED


async def test_an_old_task_that_still_runs_is_asked_for_once_by_each_process(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=100 * HOUR)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        await first.submit(wait=0)
    clock.jumped += 50 * HOUR
    async with open_rig(home, clock=clock, sandbox=sandbox) as one:
        async with open_rig(home, clock=clock, sandbox=sandbox) as other:
            one.app.start_tracker()
            other.app.start_tracker()
            await anyio.sleep(HOUR)
        assert one.polls() == 2


async def test_one_followers_bug_does_not_take_down_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create = rig.parts.runapi.create_task

    async def buggy(task: Task) -> Any:
        if task.request.prompt == "bug":
            raise ZeroDivisionError
        return await create(task)

    with monkeypatch.context() as patched:
        patched.setattr(rig.parts.runapi, "create_task", buggy)
        broken, fine = await rig.submit("bug", wait=0), await rig.submit("fine")
        assert fine.status is Status.COMPLETED
        assert (await rig.parts.ledger.get(broken.key)).status is Status.SUBMITTING
        assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert (await rig.settle(broken, HOUR)).status in (Status.COMPLETED, Status.UNCONFIRMED)


@pytest.mark.parametrize("left_after", [0.01, 0.5, 2.0, 5.0, 7.9, 8.3])
async def test_a_new_process_finishes_what_the_last_one_began(home: Path, left_after: float) -> None:
    async with open_rig(home) as first:
        with anyio.move_on_after(left_after):
            await first.submit()
            await anyio.sleep(60)
    async with open_rig(home) as second:
        second.app.start_tracker()
        await anyio.sleep(60)
        (task,), _ = await second.app.list_tasks("local", "", 10, "")
        assert task.status is Status.COMPLETED
        assert Path(task.video_path).is_file()
        assert second.task_count() == 1
        assert len(list((home / "out").iterdir())) == 1


async def test_an_unconfirmed_task_is_settled_by_the_next_start_within_15_minutes(home: Path) -> None:
    sandbox = sandbox_for(home)
    sandbox.faults.inject(Fault("drop_after"), Fault("401"))
    async with open_rig(home, sandbox=sandbox) as first:
        unknown = await first.submit()
        assert unknown.status is Status.UNCONFIRMED
    async with open_rig(home) as second:
        second.app.start_tracker()
        await anyio.sleep(80)
        assert (await second.parts.ledger.get(unknown.key)).status is Status.COMPLETED
        assert second.task_count() == 1


async def test_two_processes_share_the_ledger_and_only_one_asks(home: Path) -> None:
    sandbox = sandbox_for(home, seconds=60)
    async with open_rig(home, sandbox=sandbox) as one, open_rig(home, sandbox=sandbox) as other:
        task = await one.submit(wait=0)
        other.app.start_tracker()
        ended = await other.settle(task)
        assert ended.status is Status.COMPLETED
        alone = one.polls()
        assert (await one.settle(await one.submit("alone", wait=0))).status is Status.COMPLETED
        assert one.polls() - alone == pytest.approx(alone, abs=2)
        assert len(list((home / "out").iterdir())) == 2


async def refuse(*_: object, **__: object) -> None:
    """Be a ledger that cannot be used."""
    raise LedgerUnusable("The ledger is busy.")


async def claim_too_late(_: list[str]) -> set[str]:
    """Find that another process has taken what this one has found, too."""
    return set()


async def keep() -> None:
    """Die without giving a lease back."""


async def test_another_process_takes_over_when_the_holder_dies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = sandbox_for(home, seconds=60)
    async with open_rig(home, sandbox=sandbox) as other:
        async with open_rig(home, sandbox=sandbox) as holder:
            task = await holder.submit(wait=0)
            monkeypatch.setattr(holder.parts.tracker, "_release_all", keep)
            other.app.start_tracker()
        asked = other.polls()
        await anyio.sleep(30)
        assert other.polls() > asked
        assert (await other.settle(task)).status is Status.COMPLETED


async def test_an_output_folder_that_hangs_keeps_no_server_from_taking_over(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Downloads, "tidy", lambda _: anyio.sleep_forever())
    sandbox = sandbox_for(home, seconds=60)
    async with open_rig(home, sandbox=sandbox) as other:
        async with open_rig(home, sandbox=sandbox) as holder:
            task = await holder.submit(wait=0)
            other.app.start_tracker()
            await anyio.sleep(20)
            assert other.polls() == 0
            monkeypatch.setattr(holder.parts.tracker, "_release_all", keep)
        await anyio.sleep(80)
        assert (await other.parts.ledger.get(task.key)).status is Status.COMPLETED


async def test_a_task_whose_lease_could_not_be_given_back_is_taken_up_again(
    home: Path, inline_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=100)) as rig:
        other, task = await rig.submit("other", wait=0), await rig.submit(wait=0)
        claim, release, busy = rig.parts.ledger.claim, rig.parts.ledger.release, [True]

        async def claimed(keys: list[str], now: float, until: float) -> set[str]:
            if busy and task.key in keys:
                raise LedgerUnusable("The ledger is busy.")
            return await claim(keys, now, until)

        async def released(key: str, until: float = 0.0, *, while_status: str = "") -> None:
            if busy:
                raise LedgerUnusable("The ledger is busy.")
            await release(key, until, while_status=while_status)

        monkeypatch.setattr(rig.parts.ledger, "claim", claimed)
        monkeypatch.setattr(rig.parts.ledger, "release", released)
        await anyio.sleep(20)
        busy.clear()
        assert (await rig.parts.ledger.get(other.key)).status is Status.PROCESSING
        assert (await rig.settle(task, 160)).status is Status.COMPLETED
        assert anyio.current_time() < 150


async def test_many_unfinished_tasks_of_a_dead_server_are_taken_up_at_once_and_asked_for_evenly(home: Path) -> None:
    clock, asked = VirtualClock(), list[tuple[float, str]]()

    def still_running(request: httpx.Request) -> httpx.Response:
        task_id = request.url.path.rpartition("/")[2]
        asked.append((anyio.current_time(), task_id))
        return httpx.Response(200, json={"id": task_id, "status": "processing"})

    network = httpx.MockTransport(still_running)
    async with open_rig(home, clock=clock, network=network, polls_per_second=RATE) as rig:
        await add_running(rig, MANY)
        begun = anyio.current_time()
        rig.app.start_tracker()
        await anyio.sleep(1)
        assert len(rig.parts.tracker._following) == MANY
        await anyio.sleep(MANY / RATE + 1)
    first_looks = {task_id: at for at, task_id in reversed(asked)}
    assert len(first_looks) == MANY
    assert max(first_looks.values()) - begun <= MANY / RATE + 1
    busiest = max(sum(at <= other < at + 1 - 1e-6 for other, _ in asked) for at, _ in asked)
    assert busiest <= RATE


async def add_running(rig: Rig, number: int) -> None:
    """Add tasks that RunAPI has, as a server left them that was killed."""
    now, (origin, key_id) = rig.clock(), rig.parts.runapi.account

    def write(db: Connection) -> None:
        for each in range(number):
            own = replace(task(each), created_at=now, wanted_at=now, sent_at=now, origin=origin, key_id=key_id)
            insert(db, row_of(own.accepted(f"t-{each}", Status.PROCESSING, now)) | {"name": own.key})
        db.execute("UPDATE tasks SET lease_owner = 'dead'")

    await rig.parts.ledger._store.write(write)


async def test_a_task_whose_lease_stays_with_this_server_against_its_will_is_followed_by_it(
    home: Path, inline_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the disk hangs: other tasks keep the server's leases alive, so that none runs out by itself."""
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=60)) as rig:
        task = await rig.submit(wait=0)
        await anyio.sleep(45)
        other = await rig.submit("other", wait=0)
        with monkeypatch.context() as patched:
            patched.setattr(rig.parts.ledger, "record", refuse)
            patched.setattr(rig.parts.ledger, "release", refuse)
            await anyio.sleep(20)
        await anyio.sleep(60)
        assert (await rig.parts.ledger.get(task.key)).status is Status.COMPLETED
        assert (await rig.settle(other, 60)).status is Status.COMPLETED


async def test_a_task_that_another_server_took_is_not_asked_for_any_more(home: Path, inline_threads: None) -> None:
    """As after a sleep: nothing of the task has to be written, so that no write tells."""
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=400)) as rig:
        await rig.submit(wait=0)
        await anyio.sleep(345)

        def take(db: Connection) -> None:
            db.execute("UPDATE tasks SET lease_owner = 'other'")
            db.execute("INSERT INTO servers VALUES ('other', ?)", (rig.clock() + 29,))

        await rig.parts.ledger._store.write(take)
        await anyio.sleep(10)
        asked = len(rig.sandbox.recorded_requests)
        await anyio.sleep(15)
        assert len(rig.sandbox.recorded_requests) == asked
        await anyio.sleep(15)
        assert len(rig.sandbox.recorded_requests) > asked, "the other one has said nothing for too long"


async def test_tasks_that_the_ledger_leased_without_saying_so_are_followed(
    home: Path, inline_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=100)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        task = await first.submit(wait=0)
        await anyio.sleep(60)
    async with open_rig(home, clock=clock, sandbox=sandbox) as rig:
        claim, lost = rig.parts.ledger.claim, list[str]()

        async def claimed(keys: list[str], now: float, until: float) -> set[str]:
            given = await claim(keys, now, until)
            if task.key in keys and not lost:
                lost.append(task.key)
                raise LedgerUnusable("Its disk did not answer.", charged="unknown")
            return given

        monkeypatch.setattr(rig.parts.ledger, "claim", claimed)
        await rig.submit("other", wait=0)
        await anyio.sleep(60)
        assert lost
        assert (await rig.parts.ledger.get(task.key)).status is Status.COMPLETED


async def test_a_bug_in_going_round_ends_neither_the_server_nor_its_calls(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def buggy(*_: object, **__: object) -> list[str]:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(rig.parts.ledger, "find_unattended", buggy)
        assert (await rig.submit()).status is Status.COMPLETED
    assert "ended unexpectedly" in caplog.text


async def test_a_history_is_forgotten_only_when_a_setting_says_so(home: Path) -> None:
    clock, video = VirtualClock(), ""
    for keep_days, left in ((None, 1), (400, 1), (30, 0)):
        async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock), keep_days=keep_days) as rig:
            if keep_days is None:
                video = (await rig.submit()).video_path
                clock.jumped += 365 * 24 * HOUR
            rig.app.start_tracker()
            await anyio.sleep(10)
            assert len((await rig.app.list_tasks("local", "", 10, ""))[0]) == left
    assert Path(video).is_file()


async def test_a_task_goes_on_with_the_key_that_took_the_place_of_a_refused_one(home: Path) -> None:
    write_key(home, OLD_KEY)
    async with open_asgi_transport(sandbox := sandbox_for(home, seconds=60)) as web:
        network = RevokingNetwork(web)
        async with open_rig(home, sandbox=sandbox, network=network, api_key=None) as rig:
            task = await rig.submit(wait=0)
            network.revoked.add(OLD_KEY)
            await anyio.sleep(40)
            refused = await rig.parts.ledger.get(task.key)
            assert (refused.status, code_of(refused)) == (Status.PROCESSING, "invalid_api_key")
            write_key(home, NEW_KEY)
            ended = await rig.settle(task)
            assert (ended.status, ended.key_id, ended.error) == (Status.COMPLETED, task.key_id, None)
            assert (await rig.submit("next")).key_id == rig.parts.runapi.key_id != task.key_id
    assert [key for key, _ in network.seen] == [OLD_KEY, NEW_KEY]


async def test_tasks_that_the_server_had_no_key_for_are_followed_once_it_has_one(home: Path) -> None:
    write_key(home, NEW_KEY)
    sandbox = sandbox_for(home, seconds=60)
    async with open_asgi_transport(sandbox) as web:
        async with open_rig(home, sandbox=sandbox, network=web, api_key=None) as first:
            task = await first.submit(wait=0)
        (home / ".config" / "runapi" / "config.json").unlink()
        async with open_rig(home, sandbox=sandbox, network=web, api_key=None) as later:
            later.app.start_tracker()
            await anyio.sleep(60)
            polls = later.polls()
            write_key(home, NEW_KEY)
            assert (await later.app.check_account("local")).balance
            await anyio.sleep(30)
            assert (await later.parts.ledger.get(task.key)).status is Status.COMPLETED
            assert later.polls() > polls
