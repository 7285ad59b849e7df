"""Submitting and following through faults, restarts and other processes: paid once, never lost."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.app.progress import Progress
from luma_mcp.core.errors import LimitReached, LumaError
from luma_mcp.core.models import Status, Task
from luma_mcp.core.storage_errors import LedgerUnusable
from luma_mcp.ledger import database
from luma_mcp.ledger.database import unusable
from luma_mcp.sandbox.faults import Fault, Kind
from luma_mcp.sandbox.http import Shape
from tests.support.films import film
from tests.support.rig import API_URL, EPOCH, KEY, Rig, Told, VirtualClock, open_rig, sandbox_for, silent

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
HOUR = 3600.0


def polls(rig: Rig) -> int:
    """Count the questions that RunAPI was asked about tasks."""
    return sum(seen.method == "GET" and "/modify_video/" in seen.path for seen in rig.sandbox.seen)


def code_of(task: Task) -> str:
    return task.error.code if task.error else ""


@pytest.mark.parametrize(
    "kind", ["429", "500", "502", "503", "504", "html", "empty", "malformed", "drop_before", "drop_after"]
)
async def test_a_submission_survives_faults_and_is_charged_once(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.order(Fault(kind, times=2))
    task = await rig.settle(await rig.submit())
    assert task.status is Status.COMPLETED
    assert (rig.creates(), rig.charges()) == (3, 1)
    assert len({seen.headers["idempotency-key"] for seen in rig.sandbox.seen if seen.method == "POST"}) == 1


async def test_retry_after_of_a_submission_is_honoured(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("429", seconds=17))
    task = await rig.submit(wait=0)
    assert (task.status, code_of(task), rig.creates()) == (Status.SUBMITTING, "rate_limited", 1)
    task = await rig.settle(task)
    assert task.status is Status.COMPLETED
    assert 17 <= rig.sandbox.state.generations()[0].created_at - EPOCH < 18


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("400", "invalid_request"),
        ("401", "invalid_api_key"),
        ("402", "insufficient_credits"),
        ("403", "invalid_api_key"),
        ("404", "bad_answer"),
        ("422", "invalid_request"),
        ("redirect", "bad_answer"),
    ],
)
async def test_a_refused_submission_ends_at_once_and_costs_nothing(rig: Rig, kind: Kind, code: str) -> None:
    rig.sandbox.faults.order(Fault(kind))
    task = await rig.submit()
    assert (task.status, code_of(task)) == (Status.FAILED, code)
    assert task.error
    assert task.error.charged == "no"
    assert (rig.creates(), rig.charges()) == (1, 0)


async def test_a_conflict_on_the_key_is_about_this_task_and_passes(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("409"))
    task = await rig.submit()
    assert (task.status, rig.charges()) == (Status.COMPLETED, 1)


async def test_a_conflict_that_does_not_pass_leaves_the_outcome_unknown(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("409", times=1000))
    task = await rig.settle(await rig.submit())
    assert (task.status, task.charged, code_of(task)) == (Status.UNCONFIRMED, "unknown", "submission_unconfirmed")
    rig.sandbox.faults.clear()
    again = await rig.ask()
    assert (again.joined, again.task.status, rig.charges()) == (True, Status.COMPLETED, 1)


@pytest.mark.parametrize(
    "body",
    [{"id": "t-1", "status": "processing"}, {"id": "e-9", "error": {"code": "request_conflict", "task_id": "t-1"}}],
)
async def test_a_conflict_that_names_the_task_is_its_answer(home: Path, inline_threads: None, body: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        done = {"id": "t-1", "status": "processing"}
        return httpx.Response(409, json=body) if request.method == "POST" else httpx.Response(200, json=done)

    async with open_rig(home, network=httpx.MockTransport(answer)) as rig:
        task = await rig.submit()
    assert (task.task_id, task.status, task.charged) == ("t-1", Status.PROCESSING, "unknown")


async def test_an_outcome_that_nobody_knows_is_unconfirmed_until_the_same_call_settles_it(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("drop_after"), Fault("drop_before", times=20))
    unknown = await rig.settle(await rig.submit())
    assert unknown.status is Status.UNCONFIRMED
    assert unknown.error
    facts = (unknown.error.code, unknown.error.charged, unknown.error.retry_safe)
    assert facts == ("submission_unconfirmed", "unknown", True)
    assert "same modify_video call" in unknown.error.hint
    assert rig.charges() == 1
    rig.sandbox.faults.clear()
    settled = await rig.submit()
    assert (settled.key, settled.status) == (unknown.key, Status.COMPLETED)
    assert rig.charges() == 1


async def test_an_unknown_outcome_is_told_within_the_call_and_settled_in_the_background(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("drop_after"), Fault("503", times=5))
    unknown = await rig.submit(wait=40)
    assert (unknown.status, code_of(unknown)) == (Status.UNCONFIRMED, "submission_unconfirmed")
    await anyio.sleep(150)
    assert (await rig.app.ledger.get(unknown.key)).status is Status.COMPLETED
    assert rig.charges() == 1


async def test_an_unknown_outcome_is_asked_about_for_15_minutes_and_not_longer(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("drop_before", times=10_000))
    unknown = await rig.submit()
    await anyio.sleep(16 * 60)
    assert rig.sandbox.seen[-1].method == "POST"
    asked = rig.creates()
    assert asked > 20
    await anyio.sleep(HOUR)
    assert rig.creates() == asked
    told = await rig.app.ledger.get(unknown.key)
    assert (told.status, code_of(told)) == (Status.UNCONFIRMED, "submission_unconfirmed")


@pytest.mark.parametrize("kind", ["400", "401", "402", "403", "404"])
async def test_a_refusal_after_a_lost_answer_does_not_claim_that_nothing_was_charged(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.order(Fault("drop_after"), Fault(kind))
    task = await rig.submit()
    assert (task.status, code_of(task)) == (Status.UNCONFIRMED, "submission_unconfirmed")
    assert rig.charges() == 1


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_an_unknown_outcome_goes_out_under_its_old_key_at_any_age_but_only_for_who_asks(
    rig: Rig, kind: Kind
) -> None:
    rig.sandbox.faults.order(Fault(kind), Fault("drop_before", times=1000))
    doubted = await rig.settle(await rig.submit())
    await anyio.sleep(HOUR)
    before = rig.creates()
    rig.clock.jumped += 48 * HOUR
    await anyio.sleep(HOUR)
    assert rig.creates() == before, "nobody asked"
    rig.sandbox.faults.clear()
    again = await rig.ask()
    assert (again.joined, again.task.key, again.task.status) == (True, doubted.key, Status.COMPLETED)
    assert rig.charges() == 1
    keys = {seen.headers["idempotency-key"] for seen in rig.sandbox.seen if "idempotency-key" in seen.headers}
    assert keys == {doubted.key}


async def test_what_is_not_known_about_an_old_key_is_told(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("drop_before", times=100_000))
    fresh = await rig.settle(await rig.submit())
    await anyio.sleep(HOUR)
    (listed,), _ = await rig.app.list_tasks("local", "", 10, "")
    assert fresh.error
    assert listed.error
    assert (fresh.error.retry_safe, listed.error.retry_safe) == (True, False)
    assert "how long RunAPI remembers a key is not known" in listed.error.hint


async def test_a_conflict_after_a_lost_answer_is_not_followed_by_a_second_task(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("drop_after"), Fault("409", times=2))
    first = await rig.submit()
    again = await rig.submit()
    assert (first.status, again.key) == (Status.COMPLETED, first.key)
    assert rig.charges() == 1


class FlakyWrites:
    """Lets the n-th use of the ledger fail, as a lock that somebody else holds too long."""

    def __init__(self, failing: int) -> None:
        self.entered = 0
        self._failing = failing

    @contextmanager
    def __call__(self, path: Path) -> Generator[None]:
        self.entered += 1
        with unusable(path):
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
    monkeypatch.setattr(database, "unusable", flaky)
    for _ in range(3):
        charged = await charged_by(rig)
        assert charged != "no" or rig.charges() == 0
        await anyio.sleep(60)
    tasks, _ = await rig.app.list_tasks("local", "", 10, "")
    assert [task.status for task in tasks] == [Status.COMPLETED]
    assert Path(tasks[0].video_path).is_file()
    assert rig.charges() == 1
    assert flaky.entered > failing


async def test_a_task_is_not_carried_to_another_runapi_or_another_account(home: Path) -> None:
    first_sandbox = sandbox_for(home)
    first_sandbox.faults.order(Fault("slow", seconds=500))
    async with open_rig(home, sandbox=first_sandbox) as first:
        cut = await first.submit(wait=0)
    for base_url, api_key in (("https://other.example", KEY), (API_URL, "another-account")):
        async with open_rig(home, sandbox=sandbox_for(home), base_url=base_url, api_key=api_key) as other:
            other.app.wake()
            await anyio.sleep(60)
            assert other.creates() == 0
            assert not (await other.app.ledger.get(cut.key)).task_id


async def test_limits_refuse_before_money_is_spent(home: Path) -> None:
    async with open_rig(home, max_active=2, daily_limit=3) as rig:
        await rig.submit("one", wait=0)
        await rig.submit("two", wait=0)
        with pytest.raises(LimitReached, match="LUMA_MCP_MAX_ACTIVE"):
            await rig.submit("three")
        await anyio.sleep(60)
        assert (await rig.submit("three")).status is Status.COMPLETED
        with pytest.raises(LimitReached, match="LUMA_MCP_DAILY_LIMIT"):
            await rig.submit("four")
        assert rig.charges() == 3
        rig.clock.jumped += 24 * HOUR
        assert (await rig.submit("four")).status is Status.COMPLETED


@pytest.mark.parametrize(
    "kind", ["429", "500", "503", "html", "empty", "malformed", "drop_before", "404", "401", "402"]
)
async def test_a_failing_poll_does_not_end_a_task(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.order(Fault(kind, route="read", times=4))
    task = await rig.submit(wait=6)
    assert task.status is Status.PROCESSING
    assert task.error
    assert task.error.charged == "unknown"
    ended = await rig.settle(task)
    assert (ended.status, ended.error) == (Status.COMPLETED, None)
    assert rig.charges() == 1


async def test_retry_after_of_a_poll_is_honoured(home: Path) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=60, shape=Shape(poll_retry_after=25))) as rig:
        task = await rig.settle(await rig.submit())
        assert task.status is Status.COMPLETED
        assert polls(rig) <= 4
        rig.sandbox.faults.order(Fault("503", route="read", seconds=200))
        begun = anyio.current_time()
        await rig.settle(await rig.submit("again"))
        assert anyio.current_time() - begun > 200


async def test_a_refusal_slows_the_polls_down_further_than_trouble_that_passes(home: Path) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=HOUR)) as rig:
        rig.sandbox.faults.order(Fault("404", route="read", times=10_000))
        task = await rig.submit()
        await anyio.sleep(HOUR / 2)
        assert polls(rig) < HOUR / 2 / 300 + 12
        assert code_of(await rig.settle(task, 0)) == "task_not_found"
        rig.sandbox.faults.clear()
        assert (await rig.settle(task, HOUR)).status is Status.COMPLETED


async def test_a_task_that_never_ends_is_left_alone_after_a_day_but_can_be_asked_for(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=50 * HOUR)) as rig:
        task = await rig.submit()
        clock.jumped += 25 * HOUR
        await anyio.sleep(60)
        told = (await rig.app.outcome(await rig.app.ledger.get(task.key))).task
        assert (told.status, code_of(told)) == (Status.PROCESSING, "service_unavailable")
        before = polls(rig)
        await anyio.sleep(HOUR)
        assert polls(rig) == before
        clock.jumped += 25 * HOUR
        await rig.app.follow(task.key)
        assert (await rig.settle(task)).status is Status.COMPLETED


async def test_a_machine_that_slept_for_days_still_fetches_its_video(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=60)) as rig:
        task = await rig.submit(wait=0)
        clock.jumped += 50 * HOUR
        assert Path((await rig.settle(task)).video_path).is_file()


async def test_an_old_task_of_a_process_that_just_died_is_asked_for_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        task = await first.submit(wait=0)
    clock.jumped += 50 * HOUR
    async with open_rig(home, clock=clock, sandbox=sandbox) as second:
        sandbox.faults.order(Fault("slow", route="read", seconds=100))
        second.app.wake()
        await anyio.sleep(1)
        monkeypatch.setattr(second.app.tracker, "_let_go", keep)
    async with open_rig(home, clock=clock, sandbox=sandbox) as third:
        third.app.wake()
        await anyio.sleep(60)
        assert (await third.app.ledger.get(task.key)).status is Status.COMPLETED


async def test_one_followers_bug_does_not_take_down_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create = rig.app.runapi.create

    async def buggy(task: Task) -> Any:
        if task.request.prompt == "bug":
            raise ZeroDivisionError
        return await create(task)

    with monkeypatch.context() as patched:
        patched.setattr(rig.app.runapi, "create", buggy)
        broken, fine = await rig.submit("bug", wait=0), await rig.submit("fine")
        assert fine.status is Status.COMPLETED
        assert (await rig.app.ledger.get(broken.key)).status is Status.SUBMITTING
        assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert (await rig.settle(broken, HOUR)).status in (Status.COMPLETED, Status.UNCONFIRMED)


@pytest.mark.parametrize("left_after", [0.01, 0.5, 2.0, 5.0, 7.9, 8.3])
async def test_a_new_process_finishes_what_the_last_one_began(home: Path, left_after: float) -> None:
    async with open_rig(home) as first:
        with anyio.move_on_after(left_after):
            await first.submit()
            await anyio.sleep(60)
    async with open_rig(home) as second:
        second.app.wake()
        await anyio.sleep(60)
        (task,), _ = await second.app.list_tasks("local", "", 10, "")
        assert task.status is Status.COMPLETED
        assert Path(task.video_path).is_file()
        assert second.charges() == 1
        assert len(list((home / "out").iterdir())) == 1


async def test_nothing_happens_before_the_first_real_request(home: Path) -> None:
    async with open_rig(home) as first:
        await first.submit(wait=0)
    async with open_rig(home) as probe, probe.client() as client:
        assert client.server_info
        await anyio.sleep(HOUR)
        assert probe.sandbox.seen == []
        await client.list_tools()
        await anyio.sleep(60)
        assert polls(probe) > 0


async def test_a_submission_cut_off_before_its_answer_is_settled_under_the_same_key(home: Path) -> None:
    sandbox = sandbox_for(home)
    sandbox.faults.order(Fault("slow", seconds=500))
    async with open_rig(home, sandbox=sandbox) as first:
        cut = await first.submit(wait=0)
    assert cut.status is Status.SUBMITTING
    async with open_rig(home) as second:
        second.app.wake()
        await anyio.sleep(30)
        assert (await second.app.ledger.get(cut.key)).status is Status.COMPLETED
        assert second.charges() == 1


@pytest.mark.parametrize(
    ("attempts", "status", "charged"),
    [(1, Status.UNCONFIRMED, "unknown"), (1, Status.FAILED, "no"), (0, Status.FAILED, "no")],
)
async def test_a_submission_found_again_too_late_is_reported_and_not_sent(
    home: Path, attempts: int, status: Status, charged: str
) -> None:
    async with open_rig(home) as first:
        first.sandbox.faults.order(Fault("slow", seconds=500))
        cut = await first.submit(wait=0)
        known: Any = charged
        await first.app.ledger.record(replace(cut, attempts=attempts, charged=known))
    await anyio.sleep(16 * 60)
    async with open_rig(home) as second:
        second.app.wake()
        await anyio.sleep(30)
        found = await second.app.ledger.get(cut.key)
        assert found.status is status
        assert found.error
        assert found.error.charged == charged
        assert second.creates() == 0


async def test_an_unconfirmed_task_is_settled_by_the_next_start_within_15_minutes(home: Path) -> None:
    sandbox = sandbox_for(home)
    sandbox.faults.order(Fault("drop_after"), Fault("401"))
    async with open_rig(home, sandbox=sandbox) as first:
        unknown = await first.submit()
        assert unknown.status is Status.UNCONFIRMED
    async with open_rig(home) as second:
        second.app.wake()
        await anyio.sleep(80)
        assert (await second.app.ledger.get(unknown.key)).status is Status.COMPLETED
        assert second.charges() == 1


async def test_two_processes_share_the_ledger_and_only_one_asks(home: Path) -> None:
    sandbox = sandbox_for(home, seconds=60)
    async with open_rig(home, sandbox=sandbox) as one, open_rig(home, sandbox=sandbox) as other:
        task = await one.submit(wait=0)
        other.app.wake()
        ended = await other.settle(task)
        assert ended.status is Status.COMPLETED
        alone = polls(one)
        assert (await one.settle(await one.submit("alone", wait=0))).status is Status.COMPLETED
        assert polls(one) - alone == pytest.approx(alone, abs=2)
        assert len(list((home / "out").iterdir())) == 2


async def test_a_change_made_by_another_process_is_noticed_within_two_seconds(home: Path) -> None:
    sandbox = sandbox_for(home, seconds=30)
    async with open_rig(home, sandbox=sandbox) as holder, open_rig(home, sandbox=sandbox) as other:
        task = await holder.submit(wait=0)
        told, ended = Told(), [0.0]

        async def note_the_end() -> None:
            await holder.settle(task)
            ended.append(anyio.current_time())

        async with anyio.create_task_group() as waiting:
            waiting.start_soon(other.app.wait, task.key, 100.0, Progress(told))
            waiting.start_soon(note_the_end)
        assert told.states[-1] == "completed"
        assert told.times[-1] - ended[-1] <= 2
        assert told.states == ["processing", "completed"]


async def keep(_key: str, _kept_for: float) -> None:
    """Die without giving a lease back."""


async def test_another_process_takes_over_when_the_holder_dies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = sandbox_for(home, seconds=60)
    async with open_rig(home, sandbox=sandbox) as other:
        async with open_rig(home, sandbox=sandbox) as holder:
            task = await holder.submit(wait=0)
            monkeypatch.setattr(holder.app.tracker, "_let_go", keep)
            other.app.wake()
        asked = polls(other)
        await anyio.sleep(30)
        assert polls(other) > asked
        assert (await other.settle(task)).status is Status.COMPLETED


@pytest.mark.parametrize("kind", ["404", "503", "drop_before"])
async def test_a_download_is_repeated_until_it_succeeds(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.order(Fault(kind, route="output", times=2))
    task = await rig.submit()
    assert (task.status, task.error) == (Status.COMPLETED, None)
    assert Path(task.video_path).is_file()


async def test_a_download_that_keeps_failing_is_told_as_paid_and_goes_on_behind(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("503", route="output", times=12))
    task = await rig.submit()
    assert (task.status, code_of(task), task.video_path) == (Status.COMPLETED, "download_failed", "")
    assert task.error
    assert (task.error.charged, task.error.retry_safe) == ("yes", True)
    await anyio.sleep(HOUR)
    later = await rig.app.ledger.get(task.key)
    assert later.error is None
    assert Path(later.video_path).is_file()


async def test_a_video_is_no_longer_fetched_once_it_has_expired(rig: Rig) -> None:
    rig.sandbox.faults.order(Fault("404", route="output", times=100_000))
    task = await rig.submit()
    rig.clock.jumped += 8 * 24 * HOUR
    await anyio.sleep(HOUR)
    before = len(rig.sandbox.seen)
    await anyio.sleep(HOUR)
    assert len(rig.sandbox.seen) == before
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
    assert Path((await rig.app.ledger.get(task.key)).video_path).is_file()


async def test_a_key_that_is_not_a_runapi_key_is_sent_to_runapi_only(home: Path) -> None:
    hosts: dict[str, bool] = {}
    sandbox = sandbox_for(home)
    inner = httpx.ASGITransport(sandbox)

    class Watched(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            hosts[request.url.host] = hosts.get(request.url.host, False) or "authorization" in request.headers
            return await inner.handle_async_request(request)

    clip = home / "out" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(film())
    async with open_rig(home, sandbox=sandbox, network=Watched()) as rig:
        assert (await rig.submit(source=str(clip))).status is Status.COMPLETED
    assert hosts == {"runapi.ai": True, "storage.sandbox.invalid": False}


async def test_an_upload_that_breaks_is_repeated_from_its_beginning(rig: Rig, home: Path) -> None:
    clip = home / "out" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(film())
    rig.sandbox.faults.order(
        Fault("503", route="files"), Fault("drop_after", route="upload"), Fault("403", route="upload")
    )
    task = await rig.settle(await rig.submit(source=str(clip)))
    assert (task.status, rig.charges()) == (Status.COMPLETED, 1)
    assert Path(task.video_path).read_bytes() == clip.read_bytes()


async def test_a_clip_that_is_no_video_or_not_there_is_refused(rig: Rig, home: Path) -> None:
    (home / "out").mkdir()
    (home / "out" / "notes.mp4").write_text("these are my notes")
    (home / "out" / "empty.mp4").touch()
    for name in ("notes.mp4", "empty.mp4", "none.mp4"):
        with pytest.raises(LumaError) as raised:
            await rig.submit(source=str(home / "out" / name))
        assert raised.value.code == "source_not_found"
    assert rig.sandbox.seen == []


async def test_an_expired_result_is_continued_from_its_saved_file_while_that_exists(rig: Rig) -> None:
    task = await rig.submit()
    rig.clock.jumped += 8 * 24 * HOUR
    again = await rig.submit("snow", source=f"luma://tasks/{task.task_id}")
    assert again.status is Status.COMPLETED
    Path(task.video_path).unlink()
    with pytest.raises(LumaError) as raised:
        await rig.submit("rain", source=f"luma://tasks/{task.task_id}")
    assert raised.value.code == "source_not_found"


async def test_the_same_file_under_another_name_joins(rig: Rig, home: Path) -> None:
    (home / "out").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (home / "out" / name).write_bytes(film())
    first = await rig.submit(source=str(home / "out" / "a.mp4"), wait=0)
    second = await rig.submit(source=str(home / "out" / "b.mp4"), wait=0)
    assert first.key == second.key


async def test_a_task_whose_lease_could_not_be_given_back_is_taken_up_again(
    home: Path, inline_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=100)) as rig:
        other, task = await rig.submit("other", wait=0), await rig.submit(wait=0)
        claim, release, busy = rig.app.ledger.claim, rig.app.ledger.release, [True]

        async def claimed(key: str, now: float, until: float) -> bool:
            if busy and key == task.key:
                raise LedgerUnusable("The ledger is busy.")
            return await claim(key, now, until)

        async def released(key: str, until: float = 0.0, *, while_status: str = "") -> None:
            if busy:
                raise LedgerUnusable("The ledger is busy.")
            await release(key, until, while_status=while_status)

        monkeypatch.setattr(rig.app.ledger, "claim", claimed)
        monkeypatch.setattr(rig.app.ledger, "release", released)
        await anyio.sleep(20)
        busy.clear()
        assert (await rig.app.ledger.get(other.key)).status is Status.PROCESSING
        assert (await rig.settle(task, 160)).status is Status.COMPLETED
        assert anyio.current_time() < 150
