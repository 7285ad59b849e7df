"""The same request is the same task, whatever else is different; another take is another task; nothing else pays."""

import shutil
import unicodedata
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.app.app import Outcome, open_app
from luma_mcp.app.progress import Progress
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Status, VideoRequest
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import (
    ERAS,
    KEY,
    SOURCE,
    Rig,
    VirtualClock,
    disk_with,
    open_rig,
    result_text,
    sandbox_for,
    settings_for,
    silent,
    structured,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
HOUR = 3600.0
DAY = 24 * HOUR
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}


async def joins(rig: Rig, first: Outcome, **request: Any) -> None:
    """Ask again, and see the same task with the same result, for nothing."""
    again = await rig.ask(**request)
    assert (again.joined, again.task.key) == (True, first.task.key)
    assert again.task.video_path == first.task.video_path
    assert rig.task_count() == 1


@pytest.mark.parametrize("seconds", [0.0, 1.0, HOUR, 6 * DAY, 400 * DAY])
async def test_a_repeated_request_is_the_same_task_today_and_next_year(rig: Rig, seconds: float) -> None:
    first = await rig.ask()
    rig.clock.jumped += seconds
    await joins(rig, first)
    assert first.task.status is Status.COMPLETED
    assert not first.joined


@pytest.mark.parametrize("wait", [0, 1, 40, 300, -1])
async def test_how_long_a_call_waits_is_no_part_of_its_request(rig: Rig, wait: int) -> None:
    first = await rig.ask(wait=0)
    again = await rig.ask(wait=wait)
    assert (again.joined, again.task.key, rig.creates()) == (True, first.task.key, 1)


@pytest.mark.parametrize(
    "prompt", [" a foggy  caf\u00e9\n", "a\tfoggy caf\u00e9", unicodedata.normalize("NFD", "a foggy caf\u00e9")]
)
async def test_blanks_and_how_accents_are_written_are_no_part_of_a_request(rig: Rig, prompt: str) -> None:
    first = await rig.ask("a foggy caf\u00e9")
    await joins(rig, first, prompt=prompt)


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Fog"},
        {"prompt": "fog."},
        {"source": f"{SOURCE}?again"},
        {"watermark": True},
        {"take": 2},
        {"caller": "somebody else"},
    ],
)
async def test_what_asks_for_something_else_is_another_task(rig: Rig, other: dict[str, Any]) -> None:
    first = await rig.ask()
    second = await rig.ask(**other)
    assert (second.joined, rig.task_count()) == (False, 2)
    assert second.task.key != first.task.key


async def test_a_rotated_key_or_none_finds_the_same_result(home: Path) -> None:
    sandbox = sandbox_for(home)
    async with open_rig(home, sandbox=sandbox) as rig:
        first = await rig.ask()
    for key in (f"other_{KEY}", ""):
        async with open_rig(home, sandbox=sandbox, api_key=key) as rig:
            await joins(rig, first)


async def test_without_a_key_only_what_is_new_is_refused(home: Path) -> None:
    sandbox = sandbox_for(home)
    async with open_rig(home, sandbox=sandbox) as rig:
        await rig.submit(wait=0)
    async with open_rig(home, sandbox=sandbox, api_key="") as rig:
        assert (await rig.ask(wait=0)).joined
        with pytest.raises(LumaError, match="No RunAPI key"):
            await rig.ask(take=2)


async def test_a_repetition_needs_no_place_within_the_limits(home: Path) -> None:
    async with open_rig(home, max_active=1, daily_limit=1) as rig:
        first = await rig.ask(wait=0)
        assert (await rig.ask(wait=0)).task.key == first.task.key
        with pytest.raises(LumaError, match="LUMA_MCP_"):
            await rig.ask(take=2)
        assert rig.creates() == 1


async def test_a_repetition_needs_no_room_on_the_disk(rig: Rig, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await rig.ask()
    monkeypatch.setattr(shutil, "disk_usage", disk_with(0))
    await joins(rig, first)
    with pytest.raises(LumaError, match="nearly full"):
        await rig.ask(take=2)


async def test_a_repetition_needs_no_callback_that_may_be_called_and_says_which_one_counts(rig: Rig) -> None:
    first = await rig.ask(callback_url="https://me.example/ended")
    await joins(rig, first)
    await joins(rig, first, callback_url="http://127.0.0.1/secret")
    async with rig.client() as client:
        told = structured(await client.call_tool("modify_video", ASK | {"callback_url": "https://other.example"}))
        assert "callback_url of this call is not called" in told["next_step"]
        told = structured(await client.call_tool("modify_video", ASK | {"callback_url": "https://me.example/ended"}))
        assert "callback_url" not in told["next_step"]


async def test_the_sandbox_and_the_real_thing_know_nothing_of_each_other(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock) as rig:
        await rig.ask()
        async with open_app(settings_for(home, sandbox=True), now=clock) as played:
            request = VideoRequest(prompt="fog", source=SOURCE)
            outcome = await played.modify_video(request, "local", wait_seconds=0, progress=Progress(silent))
            assert not outcome.joined
        await joins(rig, await rig.ask())


async def test_another_address_of_runapi_has_requests_of_its_own(home: Path) -> None:
    sandbox = sandbox_for(home)
    async with open_rig(home, sandbox=sandbox) as rig:
        await rig.ask()
    async with open_rig(home, sandbox=sandbox, base_url="https://other.runapi.example") as rig:
        assert not (await rig.ask(wait=0)).joined


async def test_a_file_counts_by_its_content_wherever_it_lies(rig: Rig, home: Path) -> None:
    one, other = home / "out" / "clip.mp4", home / "out" / "moved" / "renamed.mp4"
    other.parent.mkdir(parents=True)
    shutil.copy(bundled_clip(), one)
    first = await rig.ask(source=str(one))
    one.rename(other)
    await joins(rig, first, source=str(other))
    await joins(rig, first, source=other.as_uri())
    with pytest.raises(LumaError, match="there is no file"):
        await rig.ask(source=str(one))
    assert rig.task_count() == 1


async def test_an_earlier_result_counts_by_its_task_whatever_became_of_its_link_and_file(home: Path) -> None:
    async with open_rig(home, keep_days=None) as rig:
        earlier = await rig.submit()
        source = f"luma://tasks/{earlier.task_id}"
        first = await rig.ask("snow", source=source)
        await_again = partial(rig.ask, "snow", source=source)
        rig.clock.jumped += 8 * DAY  # the link has died
        Path(earlier.video_path).unlink()  # and the file is gone
        again = await await_again()
        assert (again.joined, again.task.key, rig.task_count()) == (True, first.task.key, 2)
        with pytest.raises(LumaError, match="has expired"):
            await rig.ask("snow", source=source, take=2)


async def test_what_failed_and_cost_nothing_starts_anew_by_itself(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("fail", text="the model slipped"))
    failed = await rig.ask()
    assert (failed.task.status, failed.task.charged) == (Status.FAILED, "no")
    again = await rig.ask()
    assert (again.joined, again.task.status) == (False, Status.COMPLETED)
    await rig.ask()
    assert rig.task_count() == 2  # of which RunAPI charges the second


@pytest.mark.parametrize(("ended", "charged"), [("blocked", "unknown"), ("expired", "unknown")])
@pytest.mark.parametrize("era", ERAS)
async def test_what_failed_with_its_charge_unknown_never_starts_anew_by_itself(
    rig: Rig, ended: str, charged: str, era: str
) -> None:
    answer = f'{{"id": "x", "status": "{ended}"}}'
    rig.sandbox.faults.inject(Fault("answer", route="read", text=answer, times=1))
    await rig.ask()
    async with rig.client(era) as client:
        for _ in range(3):
            told = await client.call_tool("modify_video", ASK)
            assert told.is_error
            assert structured(told)["error"]["charged"] == charged
            assert structured(told)["joined"]
            assert "take 2, which costs 0.50 USD" in structured(told)["next_step"]
    assert rig.task_count() == 1


@pytest.mark.parametrize("era", ERAS)
async def test_what_is_not_finished_in_a_day_is_told_as_lost_with_the_way_on(home: Path, era: str) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=1e9)) as rig:
        task = await rig.submit(wait=0)
        clock.jumped += 23 * HOUR
        assert not (await rig.ask(wait=0)).task.is_lost(clock())
        clock.jumped += 2 * HOUR
        await anyio.sleep(600)
        async with rig.client(era) as client:
            for name, arguments in (("modify_video", ASK), ("get_task", {"task_id": task.task_id})):
                told = await client.call_tool(name, arguments)
                assert told.is_error
                assert structured(told)["error"]["charged"] == "unknown"
                assert "24 hours" in structured(told)["error"]["message"]
                assert "take 2, which costs 0.50 USD" in structured(told)["next_step"]
        assert rig.task_count() == 1


async def test_what_runapi_does_not_know_for_good_is_told_as_lost_with_the_way_on(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("404", route="read", times=5000))
    task = await rig.submit(wait=10)
    assert not task.is_lost(rig.clock())
    async with rig.client() as client:
        soon = await client.call_tool("modify_video", ASK | {"wait_seconds": 0})
        assert not soon.is_error
        await anyio.sleep(2 * HOUR)
        told = await client.call_tool("modify_video", ASK)
    assert told.is_error
    assert (structured(told)["error"]["code"], structured(told)["error"]["charged"]) == ("task_not_found", "unknown")
    assert "take 2, which costs" in structured(told)["next_step"]
    assert "more than an hour" in structured(told)["error"]["message"]
    rig.sandbox.faults.clear()
    await anyio.sleep(HOUR)
    assert (await rig.ask()).task.status is Status.COMPLETED, "it was known after all"


async def test_a_task_of_which_runapi_never_names_the_video_is_told_as_paid(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("answer", route="read", text='{"status": "completed", "videos": []}', times=5000))
    async with rig.client() as client:
        running = structured(await client.call_tool("modify_video", ASK))
        assert running["status"] == "processing"
        await anyio.sleep(HOUR)
        told = await client.call_tool("modify_video", ASK)
        assert told.is_error
        assert (structured(told)["status"], structured(told)["done"]) == ("completed", True)
        assert (structured(told)["error"]["code"], structured(told)["error"]["charged"]) == ("bad_answer", "yes")
        assert "take 2" in structured(told)["next_step"]
        saved = await client.call_tool("save_video", {"task_id": running["task_id"]})
        assert (saved.is_error, structured(saved)["error"]["code"]) == (True, "bad_answer")
        rig.sandbox.faults.clear()
        saved = await client.call_tool("save_video", {"task_id": running["task_id"]})
        assert not saved.is_error
        assert Path(structured(saved)["video_path"]).is_file()
    assert rig.task_count() == 1


async def test_a_task_that_was_deleted_can_be_paid_for_again(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock), keep_days=30) as rig:
        await rig.ask()
        clock.jumped += 31 * DAY
        await anyio.sleep(2 * HOUR)
        assert not (await rig.ask()).joined
        assert rig.task_count() == 2


async def test_an_unconfirmed_task_is_never_deleted(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock), keep_days=1) as rig:
        rig.sandbox.faults.inject(Fault("drop_after", times=100))
        doubted = await rig.settle(await rig.submit())
        assert doubted.status is Status.UNCONFIRMED
        clock.jumped += 400 * DAY
        await anyio.sleep(2 * HOUR)
        rig.sandbox.faults.clear()
        again = await rig.ask()
        assert (again.joined, again.task.key, rig.task_count()) == (True, doubted.key, 1)


@pytest.mark.parametrize("era", ERAS)
async def test_takes_are_had_in_any_order_and_the_lowest_unused_one_is_named(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:

        async def ask(**more: Any) -> dict[str, Any]:
            return structured(await client.call_tool("modify_video", ASK | more))

        third = await ask(take=3)
        assert (third["take"], third["joined"]) == (3, False)
        assert "Take 1 was never made" in third["next_step"]
        first = await ask()
        assert (first["take"], first["joined"], "never made" in first["next_step"]) == (1, False, False)
        again = await ask(take=3)
        assert (again["task_id"], again["joined"]) == (third["task_id"], True)
        assert "This call cost nothing" in again["next_step"]
        assert third["created_at"] in again["next_step"]
        assert "with the same arguments and take 2, which costs 0.50 USD when it succeeds" in again["next_step"]
        listed = structured(await client.call_tool("list_tasks", {}))["tasks"]
        assert sorted(row["take"] for row in listed) == [1, 3]
    assert rig.task_count() == 2


async def test_two_takes_at_one_instant_each_repeated_three_times_are_two_charges(rig: Rig) -> None:
    found: list[Outcome] = []

    async def ask(take: int) -> None:
        found.append(await rig.ask(take=take))

    async with anyio.create_task_group() as calls:
        for _ in range(3):
            calls.start_soon(ask, 1)
            calls.start_soon(ask, 2)
    assert (rig.task_count(), len({outcome.task.key for outcome in found})) == (2, 2)
    assert sum(outcome.joined for outcome in found) == 4


async def test_twenty_calls_to_three_servers_at_one_instant_are_one_task(home: Path) -> None:
    found: list[Outcome] = []
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with AsyncExitStack() as stack:
        rigs = [await stack.enter_async_context(open_rig(home, clock=clock, sandbox=sandbox)) for _ in range(3)]

        async def ask(rig: Rig) -> None:
            found.append(await rig.ask())

        async with anyio.create_task_group() as calls:
            for number in range(20):
                calls.start_soon(ask, rigs[number % 3])
    assert len({outcome.task.key for outcome in found}) == 1
    assert sum(not outcome.joined for outcome in found) == 1
    assert len(sandbox.state.generations()) == 1


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_drops_a_late_answer_and_asks_an_hour_later_pays_once(home: Path, era: str) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=20)) as rig, rig.client(era) as client:
        with anyio.move_on_after(5):
            await client.call_tool("modify_video", ASK)
        await anyio.sleep(60)  # by now the answer has come, and was dropped
        await anyio.sleep(HOUR)
        done = structured(await client.call_tool("modify_video", ASK))
        assert (done["status"], done["joined"], rig.task_count()) == ("completed", True, 1)


@pytest.mark.parametrize(
    ("take", "said_of_it"),
    [
        (0, "take must be from 1 to 100"),
        (101, "take must be from 1 to 100"),
        (-1, "take must be from 1 to 100"),
        ("two", "take must be a whole number"),
        (1.5, "take must be a whole number"),
        ([1], "take must be a whole number"),
        (True, "take must be a whole number"),
    ],
)
async def test_a_take_that_there_cannot_be_is_refused(rig: Rig, take: Any, said_of_it: str) -> None:
    async with rig.client() as client:
        refused = await client.call_tool("modify_video", ASK | {"take": take})
    assert structured(refused)["error"]["code"] == "invalid_request"
    assert said_of_it in structured(refused)["error"]["message"]
    assert rig.sandbox.recorded_requests == []


@pytest.mark.parametrize("take", [None, "", "1", 1.0, " 1 "])
async def test_a_take_in_another_form_is_understood(rig: Rig, take: Any) -> None:
    async with rig.client() as client:
        first = structured(await client.call_tool("modify_video", ASK))
        again = structured(await client.call_tool("modify_video", ASK | {"take": take}))
    assert (again["task_id"], again["joined"]) == (first["task_id"], True)


@pytest.mark.parametrize("name", ["new_take", "newTake", "new-take", "NEW_TAKE", "newtake"])
@pytest.mark.parametrize("value", [True, False, "true", None])
async def test_an_old_prompt_that_gives_new_take_is_told_of_take(rig: Rig, name: str, value: Any) -> None:
    async with rig.client() as client:
        refused = await client.call_tool("modify_video", ASK | {name: value})
    assert refused.is_error
    assert "is asked for with take: 2, 3" in result_text(refused)
    assert structured(refused)["error"]["charged"] == "no"
    assert rig.sandbox.recorded_requests == []


async def test_other_short_words_are_not_taken_for_a_take(rig: Rig) -> None:
    async with rig.client() as client:
        done = structured(await client.call_tool("modify_video", ASK | {"name": "x", "type": "y", "task": "z"}))
        assert done["ignored_arguments"] == ["name", "type", "task"]
        for near in ("takes", "tak", "Take", "tkae"):
            assert (await client.call_tool("modify_video", ASK | {near: 2})).is_error


async def test_nothing_is_lost_that_runapi_was_not_asked_about(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    async with open_rig(home, clock=clock, sandbox=sandbox) as rig:
        task = await rig.submit(wait=0)
    clock.jumped += 2 * DAY  # nothing runs meanwhile
    async with open_rig(home, clock=clock, sandbox=sandbox) as rig, rig.client() as client:
        calls: list[tuple[str, dict[str, Any]]] = [("list_tasks", {}), ("get_task", {"task_id": task.task_id})]
        answers = [await client.call_tool(*call) for call in (*calls, ("modify_video", ASK))]
        assert [told.is_error for told in answers] == [False] * 3
        assert [
            told for told in answers if "24 hours" in result_text(told) or "agrees to pay" in result_text(told)
        ] == []
        assert structured(answers[-1])["status"] == "completed"


async def test_a_day_without_network_loses_nothing(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("drop_before", route="read", times=5000))
    task = await rig.submit(wait=0)
    await anyio.sleep(HOUR)
    rig.clock.jumped += 25 * HOUR
    told = await rig.ask(wait=1)
    assert (told.task.error and told.task.error.code, told.task.is_lost(rig.clock())) == ("network", False)
    rig.sandbox.faults.clear()
    await rig.app.ensure_followed(task.key)
    assert (await rig.settle(task)).status is Status.COMPLETED


async def test_one_answer_that_a_task_is_not_known_is_no_loss(home: Path) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=2 * HOUR)) as rig:
        await rig.submit(wait=0)
        await anyio.sleep(70 * 60)
        rig.sandbox.faults.inject(Fault("404", route="read"))
        for _ in range(40):
            await anyio.sleep(5)
            assert not (await rig.ask(wait=0)).task.is_lost(clock())
