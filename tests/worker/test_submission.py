"""Bringing a request to RunAPI through faults: paid once, its cost known at each moment, and the network waited for."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr

from luma_mcp.app.app import App, open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.wait import UNREACHED_SECONDS
from luma_mcp.core import failpoints
from luma_mcp.core.errors import LedgerUnusable, MissingApiKey
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.sandbox.faults import Fault, Kind
from luma_mcp.sandbox.requests import bundled_clip
from luma_mcp.sandbox.transport import open_asgi_transport
from tests.support.mp4_files import film
from tests.support.rig import (
    API_URL,
    EPOCH,
    KEY,
    SOURCE,
    Rig,
    VirtualClock,
    open_rig,
    sandbox_for,
    settings_for,
    silent,
)
from tests.support.runapi_keys import NEW_KEY, OLD_KEY, RevokingNetwork, write_key
from tests.support.tasks import code_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
TOLD_SECONDS = 10.0
HOUR = 3600.0


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
    async with open_asgi_transport(sandbox_for(home)) as web, at_a_terminal(home, web) as app:
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
    rig.sandbox.faults.inject(Fault("429", seconds=10), Fault("slow", seconds=25))
    task = await rig.submit(wait=5)
    assert task.error
    assert (task.error.code, task.charged, task.error.charged) == ("rate_limited", "no", "no")
    await anyio.sleep(15)  # the second try is on its way
    task = await rig.parts.ledger.get(task.key)
    assert task.error
    assert (task.status, task.charged, task.error.charged) == (Status.SUBMITTING, "unknown", "unknown")
    done = await rig.settle(task)
    assert (done.status, done.charged, rig.task_count()) == (Status.COMPLETED, "yes", 1)


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
    rig.sandbox.faults.inject(*faults)
    task = await rig.settle(await rig.submit())
    assert task.charged == charged
    assert task.status is (Status.FAILED if charged == "no" else Status.UNCONFIRMED)
    again = await rig.ask()
    assert (again.joined, again.task.status) == (charged == "unknown", Status.COMPLETED)
    assert rig.task_count() == 1


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
    async with open_asgi_transport(sandbox := sandbox_for(home)) as web, at_a_terminal(home, GoneOnce(web)) as app:
        sandbox.faults.inject(Fault("429", seconds=8))
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
    rig.sandbox.faults.inject(Fault("drop_after"), Fault("401"))
    task = await rig.settle(await rig.submit())
    assert task.error
    assert "RUNAPI_API_KEY" in task.error.hint
    assert "repeat the same modify_video call" in task.error.hint


@pytest.mark.parametrize(
    "kind", ["429", "500", "502", "503", "504", "html", "empty", "malformed", "drop_before", "drop_after"]
)
async def test_a_submission_survives_faults_and_is_charged_once(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.inject(Fault(kind, times=2))
    task = await rig.settle(await rig.submit())
    assert task.status is Status.COMPLETED
    assert (rig.creates(), rig.task_count()) == (3, 1)
    assert (
        len({seen.headers["idempotency-key"] for seen in rig.sandbox.recorded_requests if seen.method == "POST"}) == 1
    )


async def test_retry_after_of_a_submission_is_honoured(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("429", seconds=17))
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
    rig.sandbox.faults.inject(Fault(kind))
    task = await rig.submit()
    assert (task.status, code_of(task)) == (Status.FAILED, code)
    assert task.error
    assert task.error.charged == "no"
    assert (rig.creates(), rig.task_count()) == (1, 0)


async def test_a_conflict_on_the_key_is_about_this_task_and_passes(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("409"))
    task = await rig.submit()
    assert (task.status, rig.task_count()) == (Status.COMPLETED, 1)


async def test_a_conflict_that_does_not_pass_leaves_the_outcome_unknown(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("409", times=1000))
    task = await rig.settle(await rig.submit())
    assert (task.status, task.charged, code_of(task)) == (Status.UNCONFIRMED, "unknown", "submission_unconfirmed")
    rig.sandbox.faults.clear()
    again = await rig.ask()
    assert (again.joined, again.task.status, rig.task_count()) == (True, Status.COMPLETED, 1)


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
    rig.sandbox.faults.inject(Fault("drop_after"), Fault("drop_before", times=20))
    unknown = await rig.settle(await rig.submit())
    assert unknown.status is Status.UNCONFIRMED
    assert unknown.error
    facts = (unknown.error.code, unknown.error.charged, unknown.error.retry_safe)
    assert facts == ("submission_unconfirmed", "unknown", True)
    assert "same modify_video call" in unknown.error.hint
    assert rig.task_count() == 1
    rig.sandbox.faults.clear()
    settled = await rig.submit()
    assert (settled.key, settled.status) == (unknown.key, Status.COMPLETED)
    assert rig.task_count() == 1


async def test_an_unknown_outcome_is_told_within_the_call_and_settled_in_the_background(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("drop_after"), Fault("503", times=5))
    unknown = await rig.submit(wait=40)
    assert (unknown.status, code_of(unknown)) == (Status.UNCONFIRMED, "submission_unconfirmed")
    await anyio.sleep(150)
    assert (await rig.parts.ledger.get(unknown.key)).status is Status.COMPLETED
    assert rig.task_count() == 1


async def test_an_unknown_outcome_is_asked_about_for_15_minutes_and_not_longer(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("drop_before", times=10_000))
    unknown = await rig.submit()
    await anyio.sleep(16 * 60)
    assert rig.sandbox.recorded_requests[-1].method == "POST"
    asked = rig.creates()
    assert asked > 20
    await anyio.sleep(HOUR)
    assert rig.creates() == asked
    told = await rig.parts.ledger.get(unknown.key)
    assert (told.status, code_of(told)) == (Status.UNCONFIRMED, "submission_unconfirmed")


@pytest.mark.parametrize("kind", ["400", "401", "402", "403", "404"])
async def test_a_refusal_after_a_lost_answer_does_not_claim_that_nothing_was_charged(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.inject(Fault("drop_after"), Fault(kind))
    task = await rig.submit()
    assert (task.status, code_of(task)) == (Status.UNCONFIRMED, "submission_unconfirmed")
    assert rig.task_count() == 1


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_an_unknown_outcome_goes_out_under_its_old_key_at_any_age_but_only_for_who_asks(
    rig: Rig, kind: Kind
) -> None:
    rig.sandbox.faults.inject(Fault(kind), Fault("drop_before", times=1000))
    doubted = await rig.settle(await rig.submit())
    await anyio.sleep(HOUR)
    before = rig.creates()
    rig.clock.jumped += 48 * HOUR
    await anyio.sleep(HOUR)
    assert rig.creates() == before, "nobody asked"
    rig.sandbox.faults.clear()
    again = await rig.ask()
    assert (again.joined, again.task.key, again.task.status) == (True, doubted.key, Status.COMPLETED)
    assert rig.task_count() == 1
    keys = {
        seen.headers["idempotency-key"] for seen in rig.sandbox.recorded_requests if "idempotency-key" in seen.headers
    }
    assert keys == {doubted.key}


async def test_a_conflict_after_a_lost_answer_is_not_followed_by_a_second_task(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("drop_after"), Fault("409", times=2))
    first = await rig.submit()
    again = await rig.submit()
    assert (first.status, again.key) == (Status.COMPLETED, first.key)
    assert rig.task_count() == 1


async def test_a_task_is_not_carried_to_another_runapi_or_another_account(home: Path) -> None:
    first_sandbox = sandbox_for(home)
    first_sandbox.faults.inject(Fault("slow", seconds=500))
    async with open_rig(home, sandbox=first_sandbox) as first:
        cut = await first.submit(wait=0)
    for base_url, api_key in (("https://other.example", KEY), (API_URL, "another-account")):
        async with open_rig(home, sandbox=sandbox_for(home), base_url=base_url, api_key=api_key) as other:
            other.app.start_tracker()
            await anyio.sleep(60)
            assert other.creates() == 0
            assert not (await other.parts.ledger.get(cut.key)).task_id


@pytest.mark.parametrize(
    ("attempts", "status", "charged"),
    [(1, Status.UNCONFIRMED, "unknown"), (1, Status.FAILED, "no"), (0, Status.FAILED, "no")],
)
async def test_a_submission_found_again_too_late_is_reported_and_not_sent(
    home: Path, attempts: int, status: Status, charged: str
) -> None:
    async with open_rig(home) as first:
        first.sandbox.faults.inject(Fault("slow", seconds=500))
        cut = await first.submit(wait=0)
        known: Any = charged
        await first.parts.ledger.record(replace(cut, attempts=attempts, charged=known))
    await anyio.sleep(16 * 60)
    async with open_rig(home) as second:
        second.app.start_tracker()
        await anyio.sleep(30)
        found = await second.parts.ledger.get(cut.key)
        assert found.status is status
        assert found.error
        assert found.error.charged == charged
        assert second.creates() == 0


async def test_a_submission_cut_off_before_its_answer_is_settled_under_the_same_key(home: Path) -> None:
    sandbox = sandbox_for(home)
    sandbox.faults.inject(Fault("slow", seconds=500))
    async with open_rig(home, sandbox=sandbox) as first:
        cut = await first.submit(wait=0)
    assert cut.status is Status.SUBMITTING
    async with open_rig(home) as second:
        second.app.start_tracker()
        await anyio.sleep(30)
        assert (await second.parts.ledger.get(cut.key)).status is Status.COMPLETED
        assert second.task_count() == 1


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
    rig.sandbox.faults.inject(
        Fault("503", route="files"), Fault("drop_after", route="upload"), Fault("403", route="upload")
    )
    task = await rig.settle(await rig.submit(source=str(clip)))
    assert (task.status, rig.task_count()) == (Status.COMPLETED, 1)
    assert Path(task.video_path).read_bytes() == clip.read_bytes()


async def only_task(rig: Rig) -> Task:
    """Give the one task of the ledger."""
    (task,), _ = await rig.app.list_tasks("local", "", 10, "")
    return task


async def test_what_runapi_took_is_kept_until_it_can_be_written_down(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> Task:
        raise LedgerUnusable("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(rig.parts.ledger, "record_accepted", refuse)
        await rig.submit()
        await anyio.sleep(HOUR)
    await anyio.sleep(60)
    task = await only_task(rig)
    assert (task.status, rig.creates(), rig.task_count()) == (Status.COMPLETED, 1, 1)


@asynccontextmanager
async def revoking_rig(home: Path, *, held: str | None = OLD_KEY) -> AsyncGenerator[tuple[Rig, RevokingNetwork]]:
    """Open the application with a key out of RunAPI's own file, or none, and a RunAPI that refuses the old one."""
    if held:
        write_key(home, held)
    async with open_asgi_transport(sandbox := sandbox_for(home)) as web:
        network = RevokingNetwork(web, {OLD_KEY})
        async with open_rig(home, sandbox=sandbox, network=network, api_key=None) as rig:
            yield rig, network


async def test_a_refused_key_gives_way_to_a_new_one_under_the_same_idempotency_key(home: Path) -> None:
    async with revoking_rig(home) as (rig, network):
        old = rig.parts.runapi.key_id
        write_key(home, NEW_KEY)
        task = await rig.submit()
        new = rig.parts.runapi.key_id
    assert (task.status, task.key_id, rig.task_count()) == (Status.COMPLETED, new, 1)
    assert new != old
    assert network.seen == [(OLD_KEY, task.key), (NEW_KEY, task.key)]


async def test_a_refused_key_without_a_new_one_ends_the_request_and_the_next_call_goes_with_the_new(home: Path) -> None:
    async with revoking_rig(home) as (rig, network):
        refused = await rig.submit()
        assert (refused.status, code_of(refused), refused.charged) == (Status.FAILED, "invalid_api_key", "no")
        write_key(home, NEW_KEY)
        assert (await rig.submit()).status is Status.COMPLETED
    assert [key for key, _ in network.seen] == [OLD_KEY, OLD_KEY, NEW_KEY]
    assert rig.task_count() == 1


async def test_the_key_of_an_upload_is_replaced_before_anything_is_sent_with_it(home: Path) -> None:
    clip = home / "out" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(bundled_clip().read_bytes())
    async with revoking_rig(home) as (rig, network):
        write_key(home, NEW_KEY)
        task = await rig.submit(source=str(clip))
        assert (task.status, task.account) == (Status.COMPLETED, rig.parts.runapi.account)
        again = await rig.submit("again", source=str(clip))
    assert network.seen == [(NEW_KEY, task.key), (NEW_KEY, again.key)]
    assert sum(seen.path.endswith("/confirm") for seen in rig.sandbox.recorded_requests) == 1


async def test_a_key_that_is_replaced_while_a_task_is_written_down_is_not_sent_with_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with revoking_rig(home) as (rig, network):
        network.revoked.clear()
        write_key(home, NEW_KEY)
        replaced: list[bool] = []

        def another_call_was_refused(point: str) -> None:
            if point == "submission.sending" and not replaced:
                replaced.append(rig.parts.runapi._replace_key(SecretStr(OLD_KEY)))

        monkeypatch.setattr(failpoints, "reach", another_call_was_refused)
        task = await rig.submit()
        assert (task.status, task.key_id) == (Status.COMPLETED, rig.parts.runapi.key_id)
    assert (replaced, network.seen) == ([True], [(NEW_KEY, task.key)])


async def test_what_may_have_been_taken_under_the_old_key_is_never_sent_with_the_new_one(home: Path) -> None:
    async with revoking_rig(home) as (rig, network):
        network.revoked.clear()
        rig.sandbox.faults.inject(Fault("drop_after"), Fault("503", seconds=20))
        task = await rig.submit(wait=0)
        assert task.charged == "unknown"
        network.revoked.add(OLD_KEY)
        write_key(home, NEW_KEY)
        task = await rig.settle(task)
        assert (task.status, task.charged) == (Status.UNCONFIRMED, "unknown")
        again = await rig.submit()
        assert again.error
        assert "another RunAPI key" in again.error.hint
    assert {key for key, _ in network.seen} == {OLD_KEY}
    assert rig.task_count() == 1


async def test_a_request_of_the_old_key_that_was_never_sent_is_sent_with_the_new_one(home: Path) -> None:
    async with revoking_rig(home) as (rig, network):
        network.revoked.clear()
        rig.sandbox.faults.inject(Fault("429", seconds=60))
        task = await rig.submit(wait=0)
        network.revoked.add(OLD_KEY)
        write_key(home, NEW_KEY)
        assert (await rig.app.check_account("local")).balance
        assert (await rig.settle(task)).status is Status.COMPLETED
    assert network.seen == [(OLD_KEY, task.key), (NEW_KEY, task.key)]


async def test_a_key_that_comes_lets_the_first_call_and_an_older_task_go_on(home: Path) -> None:
    async with revoking_rig(home, held=None) as (rig, _):
        with pytest.raises(MissingApiKey):
            await rig.submit()
        write_key(home, NEW_KEY)
        assert (await rig.submit()).status is Status.COMPLETED
        rig.sandbox.faults.inject(Fault("409", times=1000))
        doubtful = await rig.settle(await rig.submit("doubtful"))
        assert doubtful.status is Status.UNCONFIRMED
        rig.sandbox.faults.clear()
    (home / ".config" / "runapi" / "config.json").unlink()
    async with open_asgi_transport(rig.sandbox) as web, open_rig(home, network=web, api_key=None) as later:
        write_key(home, NEW_KEY)
        assert (await later.submit("doubtful")).status is Status.COMPLETED
    assert rig.task_count() == 2
