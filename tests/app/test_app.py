"""The verbs as a whole: how long they wait, for whom, and what they set going again."""

import importlib.util
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.app.app import open_app
from luma_mcp.app.progress import Progress
from luma_mcp.core.errors import LedgerUnusable, TaskNotFound
from luma_mcp.core.models import Status, VideoRequest
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import ERAS, SOURCE, Rig, VirtualClock, open_rig, sandbox_for, settings_for, silent, structured

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
HOUR = 3600.0
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}
REQUEST = VideoRequest(prompt="fog", source=SOURCE)


async def test_what_goes_out_again_a_day_later_begins_then(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=100)) as rig:
        rig.sandbox.faults.inject(Fault("drop_before", times=100))
        await rig.settle(await rig.submit())
        rig.sandbox.faults.clear()
        clock.jumped += 30 * HOUR
        soon = await rig.ask(wait=0)
        assert (soon.joined, soon.task.is_lost(clock()), soon.nothing_sent) == (True, False, False)
        await anyio.sleep(1)
        done = await rig.ask(wait=300)
        assert (done.task.status, done.nothing_sent, rig.task_count()) == (Status.COMPLETED, True, 1)
        assert (await rig.parts.ledger.durations(done.task.request.model, done.task.origin))[0] < 120


async def test_an_unknown_outcome_is_settled_also_at_the_limit(home: Path) -> None:
    async with open_rig(home, daily_limit=1) as rig:
        rig.sandbox.faults.inject(Fault("drop_after", times=100))
        doubted = await rig.settle(await rig.submit())
        rig.sandbox.faults.clear()
        rig.clock.jumped += 25 * HOUR
        await rig.submit("another")
        again = await rig.ask()
        assert (again.task.key, again.task.status, rig.task_count()) == (doubted.key, Status.COMPLETED, 2)


@asynccontextmanager
async def payer_and_looker(home: Path, seconds: float = 8) -> AsyncGenerator[tuple[Rig, Rig]]:
    """Give two servers on one ledger, the second of which never pays."""
    clock = VirtualClock()
    async with (
        open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=seconds), save="never") as payer,
        open_rig(home, clock=clock, sandbox=payer.sandbox, daily_limit=0) as looker,
    ):
        yield payer, looker


async def test_a_server_that_never_pays_joins_saves_and_previews_what_others_pay_for(home: Path) -> None:
    async with payer_and_looker(home) as (payer, looker):
        await payer.submit("fog", wait=0)
        joined = await looker.ask("fog")
        assert (joined.joined, joined.task.status, Path(joined.task.video_path).exists()) == (True, "completed", True)
        async with looker.client() as client:
            told = structured(await client.call_tool("modify_video", ASK))["next_step"]
            assert "video is at" in told
            assert "take" not in told, "another one would be refused"
            for name in ("get_task", "save_video", "preview_video"):
                assert not (await client.call_tool(name, {"task_id": joined.task.task_id})).is_error
            refused = structured(await client.call_tool("modify_video", ASK | {"prompt": "snow"}))["error"]
        assert (refused["code"], refused["charged"]) == ("limit_reached", "no")
        assert "never pays" in refused["message"]
        assert payer.creates() == 1


async def test_a_server_that_never_pays_goes_on_with_what_runapi_has_when_its_payer_is_gone(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=100)
    async with open_rig(home, clock=clock, sandbox=sandbox) as payer:
        made = await payer.submit(wait=0)
    async with open_rig(home, clock=clock, sandbox=sandbox, daily_limit=0) as looker:
        looker.app.start_tracker()
        assert (await looker.settle(made)).video_path
        assert looker.creates() == 1


async def test_a_server_that_never_pays_sends_nothing_again_when_its_request_is_repeated(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_rig(home, clock=clock, sandbox=sandbox) as payer:
        payer.sandbox.faults.inject(Fault("drop_before", times=100))
        await payer.settle(await payer.submit())
        payer.sandbox.faults.clear()
        before = payer.creates()
    async with open_rig(home, clock=clock, sandbox=sandbox, daily_limit=0) as looker, looker.client() as client:
        told = structured(await client.call_tool("modify_video", ASK))
        assert (told["status"], told["joined"]) == ("unconfirmed", True)
        assert "this server never pays" in told["next_step"]
        assert "do not repeat the call here" in told["error"]["hint"]
        await anyio.sleep(HOUR)
        assert looker.creates() == before
    async with open_rig(home, clock=clock, sandbox=sandbox) as payer:
        assert (await payer.ask()).task.status is Status.COMPLETED
        assert payer.task_count() == 1


@pytest.mark.parametrize("era", ERAS)
async def test_a_host_that_saves_saves_what_another_has_made(home: Path, era: str) -> None:
    sandbox = sandbox_for(home)
    async with open_rig(home, sandbox=sandbox, save="never") as rig:
        made = await rig.submit()
        await rig.submit("running", wait=0)
        assert made.video_path == ""
    async with open_rig(home, sandbox=sandbox) as rig, rig.client(era) as client:
        for prompt in ("fog", "running"):
            told = structured(await client.call_tool("modify_video", ASK | {"prompt": prompt}))
            assert Path(told["video_path"]).is_file()
        assert rig.task_count() == 2


@pytest.mark.parametrize(("asked", "waited"), [(0, 0), (7, 7), (-1, 10), (300, 20)])
async def test_a_call_waits_as_long_as_it_asks_for_and_as_settings_allow(home: Path, asked: int, waited: int) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=HOUR), wait_seconds=10, max_wait_seconds=20) as rig:
        task = await rig.submit(wait=0)
        begun = anyio.current_time()
        outcome = await rig.app.get_task(task.task_id, "local", wait_seconds=asked, progress=Progress(silent))
        assert anyio.current_time() - begun == pytest.approx(waited)
    assert outcome.task.status is Status.PROCESSING


async def test_a_callers_tasks_are_nobody_elses(rig: Rig) -> None:
    task = await rig.submit(caller="ann")
    assert (await rig.app.find(task.task_id, "ann")).key == task.key
    with pytest.raises(TaskNotFound):
        await rig.app.find(task.task_id, "bob")
    for caller, keys in (("ann", [task.key]), ("bob", [])):
        listed, _ = await rig.app.list_tasks(caller, "", 10, "")
        newest, _ = await rig.app.newest_tasks(caller, 10)
        found = await rig.app.search_tasks(caller, "fog", list(Status), 10)
        stands = await rig.app.find_tasks(caller, "FOG", "", 10)
        assert [[each.key for each in tasks] for tasks in (listed, newest, found, stands)] == [keys] * 4


async def test_a_ledger_that_fails_once_the_intent_is_written_leaves_the_cost_unknown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: str) -> int:
        raise LedgerUnusable("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(rig.parts.ledger, "unused_take", refuse)
        with pytest.raises(LedgerUnusable) as raised:
            await rig.ask()
    assert raised.value.charged == "unknown"
    assert (await rig.ask()).joined
    assert rig.task_count() == 1


async def test_a_call_in_the_background_waits_for_nothing_but_the_intent(rig: Rig) -> None:
    begun = anyio.current_time()
    new = await rig.app.modify_video(REQUEST, "local", wait_seconds=40, progress=Progress(silent), in_background=True)
    assert (anyio.current_time(), new.in_background, new.is_new) == (begun, True, True)
    await rig.settle(new.task)
    done = await rig.app.modify_video(REQUEST, "local", wait_seconds=40, progress=Progress(silent), in_background=True)
    assert (done.in_background, done.joined, done.nothing_sent) == (False, True, True)


async def test_a_task_is_followed_by_its_key_for_its_caller_alone(rig: Rig) -> None:
    task = await rig.submit(wait=0)
    assert (await rig.app.follow_task(task.key, "local")).task_id == task.task_id
    for key, caller in ((task.key, "ann"), (task.task_id, "local"), ("", "local")):
        with pytest.raises(TaskNotFound):
            await rig.app.follow_task(key, caller)


async def test_the_sandboxs_tasks_are_counted_from_outside_it_and_for_each_caller(home: Path) -> None:
    async with open_app(settings_for(home, sandbox=True)) as playing:
        request = VideoRequest(prompt="fog", source=SOURCE)
        await playing.modify_video(request, "ann", wait_seconds=0, progress=Progress(silent))
        assert await playing.count_sandbox_tasks("ann") == 0, "they are listed there"
    async with open_app(settings_for(home)) as app:
        assert [await app.count_sandbox_tasks(caller) for caller in ("ann", "bob")] == [1, 0]


async def test_a_clip_that_the_sandbox_could_not_change_is_known_to_be_the_callers_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # no PyAV
    clip = home / "out" / "clip.mp4"
    clip.parent.mkdir()
    clips = {"own": bundled_clip().read_bytes() + b"mine", "the sandbox's": bundled_clip().read_bytes()}
    async with open_app(settings_for(home, sandbox=True), now=VirtualClock()) as app:
        told: dict[str, bool] = {}
        for whose, content in clips.items():
            clip.write_bytes(content)
            request = VideoRequest(prompt="fog", source=str(clip))
            ended = await app.modify_video(request, "local", wait_seconds=60, progress=Progress(silent))
            assert "-sandbox-fog-" in Path(ended.task.video_path).name
            told[whose] = ended.own_clip
    assert told == {"own": True, "the sandbox's": False}
