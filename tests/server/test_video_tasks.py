"""A host that knows tasks gets one at once, and the result in the end, from whichever server it asks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp_types import INVALID_PARAMS

from luma_mcp.app.app import LEFT_TO_OTHERS, OUT_OF_REACH, open_app
from luma_mcp.core.errors import GenerationFailed, LedgerUnusable, TaskNotFound
from luma_mcp.core.models import DAY_SECONDS, SANDBOX_ORIGIN, Limits, Status, Task, VideoRequest
from luma_mcp.sandbox.faults import Fault, Kind
from luma_mcp.sandbox.transport import open_asgi_transport
from luma_mcp.server.results import OTHER_CALLBACK_NOTE
from luma_mcp.server.video_tasks import CANNOT_CANCEL, JOINED_NOTE, UNNAMED, status_message
from luma_mcp.worker.polling import DOCUMENTED
from tests.support.networks import SlowOutput
from tests.support.rig import (
    MODERN_META,
    SOURCE,
    Rig,
    VirtualClock,
    open_rig,
    sandbox_for,
    settings_for,
    structured,
)
from tests.support.task_client import MODERN, TaskFollower, ask, begin, listening, until_over
from tests.support.tasks import task as drafted_task

pytestmark = pytest.mark.anyio
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}
MINUTE = 60.0


async def test_a_call_is_answered_by_a_task_once_the_intent_is_recorded(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("slow", seconds=30))
    async with rig.client(MODERN) as client:
        begun = anyio.current_time()
        task = await begin(client, **ASK)
        assert anyio.current_time() == begun
        assert (task["resultType"], task["status"], task["ttlMs"]) == ("task", "working", None)
        recorded = await rig.parts.ledger.get(task["taskId"])
        assert (recorded.request.prompt, recorded.task_id) == ("fog", "")
        told = await ask(client, "tasks/get", taskId=task["taskId"])
    assert (told["resultType"], told["status"], "result" in told) == ("complete", "working", False)


async def test_the_result_is_what_get_task_gives(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        over = await until_over(client, (await begin(client, **ASK))["taskId"])
        result = over["result"]
        wanted = {"task_id": result["structuredContent"]["task_id"]}
        same = await ask(client, "tools/call", meta=MODERN_META, name="get_task", arguments=wanted)
    assert result == {name: same[name] for name in result}
    assert Path(result["structuredContent"]["video_path"]).is_file()
    assert not result["isError"]


async def test_tools_know_a_task_by_the_id_that_its_host_knows(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("slow", seconds=30))
    async with rig.client(MODERN) as client:
        key = (await begin(client, **ASK))["taskId"]
        running = structured(await client.call_tool("get_task", {"task_id": key}))
        assert (running["task_id"], running["done"]) == ("", False), "RunAPI has not named it yet"
        done = structured(await client.call_tool("get_task", {"task_id": key, "wait_seconds": 300}))
        assert (done["status"], done["task_id"] not in {"", key}) == ("completed", True)
        assert structured(await client.call_tool("save_video", {"task_id": key}))["task_id"] == done["task_id"]
        with pytest.raises(TaskNotFound):
            await rig.app.find(key, "ann")
    assert rig.task_count() == 1


async def test_the_published_client_follows_a_task_to_its_result(rig: Rig) -> None:
    tasks = TaskFollower()
    async with rig.client(MODERN, extensions=[tasks]) as client:
        done = structured(await client.call_tool("modify_video", ASK))
    assert (done["status"], done["joined"]) == ("completed", False)
    assert [handle.task_id for handle in tasks.handles] == [tasks.told[0].task_id]
    assert tasks.told[-1].status == "completed"
    assert rig.task_count() == 1


async def test_who_declares_nothing_gets_the_same_video_as_a_result(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        plain = await ask(client, "tools/call", meta=MODERN_META, name="modify_video", arguments=ASK)
    assert plain["resultType"] == "complete"
    assert plain["structuredContent"]["status"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"prompt": "", "source_video_url": SOURCE}, "invalid_request"),
        ({"prompt": "fog"}, "invalid_request"),
        ({"prompt": "fog", "source_video_url": "/etc/passwd"}, "source_not_allowed"),
        ({"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 100_000}, "invalid_request"),
    ],
)
async def test_a_refusal_is_a_result_and_no_task(rig: Rig, arguments: dict[str, Any], code: str) -> None:
    async with rig.client(MODERN) as client:
        answer = await begin(client, **arguments)
        assert (answer["resultType"], answer["isError"]) == ("complete", True)
        assert answer["structuredContent"]["error"]["code"] == code
        assert await rig.app.newest_tasks("local", 1) == ([], "")


async def test_a_limit_and_a_missing_key_are_refusals_too(home: Path, inline_threads: None) -> None:
    async with open_rig(home, max_active=1) as rig, rig.client(MODERN) as client:
        assert (await begin(client, **ASK))["resultType"] == "task"
        refused = await begin(client, **ASK | {"take": 2})
    assert refused["structuredContent"]["error"]["code"] == "limit_reached"
    async with open_rig(home / "other", api_key=None) as rig, rig.client(MODERN) as client:
        refused = await begin(client, **ASK)
    assert refused["structuredContent"]["error"]["code"] == "missing_api_key"


async def test_a_repeated_call_gets_the_same_task_while_it_runs_and_then_its_result(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        task = await begin(client, **ASK)
        again = await begin(client, **ASK)
        assert (again["resultType"], again["taskId"]) == ("task", task["taskId"])
        assert again["statusMessage"].endswith(JOINED_NOTE)
        await until_over(client, task["taskId"])
        result = await begin(client, **ASK)
    assert result["resultType"] == "complete"
    assert (result["structuredContent"]["joined"], rig.task_count()) == (True, 1)


async def test_a_generation_that_fails_completes_the_task_with_an_error(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("fail"))
    async with rig.client(MODERN) as client:
        over = await until_over(client, (await begin(client, **ASK))["taskId"])
        error = over["result"]["structuredContent"]["error"]
        assert (over["status"], over["result"]["isError"]) == ("completed", True)
        assert (error["code"], error["charged"]) == ("generation_failed", "no")
        assert over["statusMessage"].endswith("; nothing was charged.")
        assert (await begin(client, **ASK))["resultType"] == "task", "it starts anew"


async def test_a_task_is_over_once_its_video_is_saved(home: Path, inline_threads: None) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_asgi_transport(sandbox) as web:
        slow = SlowOutput(web, 3.0, 20)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=slow) as rig, rig.client(MODERN) as client:
            task_id = (await begin(client, **ASK))["taskId"]
            messages = []
            while (told := await ask(client, "tasks/get", taskId=task_id))["status"] == "working":
                messages.append(told["statusMessage"])
                await anyio.sleep(5)
    assert any("saving the video" in message for message in messages)
    assert told["result"]["structuredContent"]["video_path"]
    assert ", saved; 0.50 USD charged" in told["statusMessage"]


async def test_where_nothing_is_saved_a_task_is_over_once_the_video_is_made(home: Path, inline_threads: None) -> None:
    async with open_rig(home, save="never") as rig, rig.client(MODERN) as client:
        over = await until_over(client, (await begin(client, **ASK))["taskId"])
    assert over["result"]["structuredContent"]["video_path"] == ""
    assert over["result"]["structuredContent"]["video_urls"]


async def test_a_video_that_cannot_be_saved_ends_the_task_with_what_to_do(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("503", "output", times=1000))
    async with rig.client(MODERN) as client:
        over = await until_over(client, (await begin(client, **ASK))["taskId"])
    error = over["result"]["structuredContent"]["error"]
    assert (over["result"]["isError"], error["code"], error["charged"]) == (True, "download_failed", "yes")


async def test_a_submission_in_doubt_is_a_task_that_runs_until_nobody_tries_it_any_more(
    home: Path, inline_threads: None
) -> None:
    async with open_rig(home) as rig, rig.client(MODERN) as client:
        rig.sandbox.faults.inject(Fault("drop_before", times=1000))
        begun = anyio.current_time()
        task_id = (await begin(client, **ASK))["taskId"]
        await anyio.sleep(5 * MINUTE)
        assert (await rig.parts.ledger.get(task_id)).status is Status.UNCONFIRMED
        assert (await ask(client, "tasks/get", taskId=task_id))["status"] == "working"
        over = await until_over(client, task_id)
        assert 14 * MINUTE < anyio.current_time() - begun < 17 * MINUTE
        error = over["result"]["structuredContent"]["error"]
        assert (over["result"]["isError"], error["charged"]) == (True, "unknown")
        assert over["statusMessage"].endswith("; whether it was charged is not known.")
        rig.sandbox.faults.clear()
        result = await begin(client, **ASK)
        assert (result["resultType"], result["structuredContent"]["status"]) == ("complete", "completed")


async def test_a_task_that_never_ends_at_runapi_ends_after_a_day(home: Path, inline_threads: None) -> None:
    endless = sandbox_for(home, seconds=10 * DAY_SECONDS)
    async with open_rig(home, sandbox=endless) as rig, rig.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        await anyio.sleep(2)
        rig.clock.jumped += DAY_SECONDS - MINUTE
        assert (await ask(client, "tasks/get", taskId=task_id))["status"] == "working"
        over = await until_over(client, task_id)
    assert over["result"]["structuredContent"]["error"]["charged"] == "unknown"


async def test_a_task_of_a_key_that_is_gone_is_over_after_a_day(home: Path, inline_threads: None) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, api_key="runapi_live_another_key") as rig, rig.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        await anyio.sleep(2)
    async with open_rig(home, clock=clock) as rig, rig.client(MODERN) as client:
        rig.sandbox.faults.inject(Fault("404", "read", times=1000))
        assert (await ask(client, "tasks/get", taskId=task_id))["status"] == "working"
        clock.jumped += DAY_SECONDS
        over = await until_over(client, task_id, MINUTE)
        again = await begin(client, **ASK)
    error = over["result"]["structuredContent"]["error"]
    assert (over["status"], over["result"]["isError"]) == ("completed", True)
    assert (error["message"], error["charged"]) == (OUT_OF_REACH, "unknown")
    assert (again["taskId"], again["status"]) == (task_id, "completed")


async def test_an_old_task_of_a_key_that_another_one_replaced_is_not_over_before_runapi_is_asked(
    home: Path, inline_threads: None
) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock, api_key="runapi_live_another_key") as rig, rig.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        await anyio.sleep(2)
    clock.jumped += 2 * DAY_SECONDS
    async with open_rig(home, clock=clock) as rig, rig.client(MODERN) as client:
        assert (await ask(client, "tasks/get", taskId=task_id))["status"] == "working"
        over = await until_over(client, task_id)
    assert over["result"]["structuredContent"]["status"] == "completed"


async def test_a_server_without_a_key_says_nothing_of_another_one_about_an_old_task(
    home: Path, inline_threads: None
) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock) as rig, rig.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        await anyio.sleep(2)
    clock.jumped += 2 * DAY_SECONDS
    async with open_rig(home, clock=clock, api_key="") as rig, rig.client(MODERN) as client:
        over = await until_over(client, task_id)
    error = over["result"]["structuredContent"]["error"]
    assert (error["message"], "another" in error["message"]) == (OUT_OF_REACH, False)


async def test_a_video_that_only_a_server_elsewhere_would_save_is_over_after_a_day(
    home: Path, inline_threads: None
) -> None:
    clock = VirtualClock()
    async with open_rig(home, clock=clock) as rig, rig.client(MODERN) as client:
        rig.sandbox.faults.inject(Fault("slow", "output", seconds=MINUTE))
        task_id = (await begin(client, **ASK))["taskId"]
        await anyio.sleep(MINUTE / 2)
    elsewhere = "https://elsewhere.example.com"
    async with open_rig(home, clock=clock, base_url=elsewhere) as rig, rig.client(MODERN) as client:
        assert (await ask(client, "tasks/get", taskId=task_id))["status"] == "working"
        clock.jumped += DAY_SECONDS
        over = await ask(client, "tasks/get", taskId=task_id)
    assert (over["status"], over["result"]["isError"]) == ("completed", False)
    assert over["result"]["structuredContent"]["video_urls"]


@pytest.mark.parametrize("refusal", ["401", "503"])
async def test_a_task_that_runapi_tells_nothing_of_is_over_after_a_day(
    home: Path, inline_threads: None, refusal: Kind
) -> None:
    endless = sandbox_for(home, seconds=10 * DAY_SECONDS)
    async with open_rig(home, sandbox=endless) as rig, rig.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        await anyio.sleep(2)
        rig.sandbox.faults.inject(Fault(refusal, "read", times=10**6))
        rig.clock.jumped += DAY_SECONDS - MINUTE
        assert (await ask(client, "tasks/get", taskId=task_id))["status"] == "working"
        over = await until_over(client, task_id, 120 * MINUTE)
    error = over["result"]["structuredContent"]["error"]
    assert (over["result"]["isError"], error["charged"], refusal in error["message"]) == (True, "unknown", True)
    assert "keeps asking" not in error["hint"]


async def test_cancelling_is_acknowledged_and_changes_nothing(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        assert (await ask(client, "tasks/cancel", taskId=task_id))["resultType"] == "complete"
        told = await ask(client, "tasks/get", taskId=task_id)
        assert (told["status"], CANNOT_CANCEL in told["statusMessage"]) == ("working", True)
        over = await until_over(client, task_id)
        assert over["result"]["structuredContent"]["cost_usd"] == 0.5
        assert (await ask(client, "tasks/cancel", taskId=task_id))["resultType"] == "complete"
        assert (await ask(client, "tasks/get", taskId=task_id))["status"] == "completed"


async def test_answers_to_nothing_that_was_asked_are_acknowledged(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        answers = {"never-asked": {"action": "accept"}}
        told = await ask(client, "tasks/update", taskId=task_id, inputResponses=answers)
    assert told["resultType"] == "complete"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_a_task_is_known_by_its_key_alone(rig: Rig, method: str) -> None:
    async with rig.client(MODERN) as client:
        over = await until_over(client, (await begin(client, **ASK))["taskId"])
        for unknown in ("nope", "", over["result"]["structuredContent"]["task_id"]):
            with pytest.raises(MCPError) as refused:
                await ask(client, method, taskId=unknown, inputResponses={})
            assert refused.value.error.code == INVALID_PARAMS


async def test_arguments_that_are_ignored_are_named(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        task = await begin(client, **ASK, seed=3, strength="high")
    assert task["statusMessage"].endswith("ignored: seed, strength.")


async def test_a_running_task_says_its_id_state_seconds_usual_time_and_price(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        begun = await begin(client, **ASK)
        task_id = begun["taskId"]
        await anyio.sleep(5)
        said = (await ask(client, "tasks/get", taskId=task_id))["statusMessage"]
    named = (await rig.parts.ledger.get(task_id)).task_id
    usual = (await rig.parts.waiter.usual_times.profile()).range_text
    price = "0.50 USD if it succeeds; RunAPI cannot cancel it."
    assert said == f"RunAPI task {named}: processing, 5 s, usually {usual}; {price}"
    foretold = f"submitting, 0 s; a generation usually takes {DOCUMENTED.range_text}; {price}"
    assert begun["statusMessage"] == f"{UNNAMED}: {foretold}"


async def test_a_server_that_never_pays_says_that_it_sends_nothing(home: Path, inline_threads: None) -> None:
    request = VideoRequest(prompt="fog", source=SOURCE)
    async with open_rig(home) as rig:
        left = replace(drafted_task(), request=request, key_id=rig.parts.runapi.key_id)
        await rig.parts.ledger.join_or_add(left, request.name(left.caller, left.origin, ""), Limits())
    async with open_rig(home, daily_limit=0) as rig, rig.client(MODERN) as client:
        for told in (await begin(client, **ASK), await ask(client, "tasks/get", taskId=left.key)):
            assert (told["taskId"], told["status"]) == (left.key, "working")
            assert LEFT_TO_OTHERS in told["statusMessage"]
        assert rig.creates() == 0


async def test_a_callback_that_is_not_called_is_told_at_once(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        await begin(client, **ASK)
        again = await begin(client, **ASK, callback_url="https://example.com/done")
    assert again["statusMessage"].endswith(OTHER_CALLBACK_NOTE)


async def test_what_is_said_of_a_task_is_worth_no_failure(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> list[float]:
        raise LedgerUnusable("database is locked")

    monkeypatch.setattr(rig.parts.ledger, "durations", refuse)
    async with rig.client(MODERN) as client:
        task = await begin(client, **ASK)
    assert (task["resultType"], "submitting" in task["statusMessage"]) == ("task", True)


async def test_a_ledger_that_fails_once_the_intent_is_written_leaves_the_cost_unknown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> Task:
        raise LedgerUnusable("database is locked")

    async with rig.client(MODERN) as client:
        with monkeypatch.context() as patched:
            patched.setattr(rig.parts.ledger, "get", refuse)
            answer = await begin(client, **ASK)
        assert answer["structuredContent"]["error"]["charged"] == "unknown"
        assert (await begin(client, **ASK))["resultType"] == "task"
    assert rig.task_count() <= 1


async def test_another_server_on_the_ledger_goes_on_after_the_first_has_ended(home: Path, inline_threads: None) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=60)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first, first.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        await anyio.sleep(5)
    again = sandbox_for(home, clock=clock, seconds=60)
    async with open_rig(home, clock=clock, sandbox=again) as second, second.client(MODERN) as client:
        over = await until_over(client, task_id)
    assert over["result"]["structuredContent"]["status"] == "completed"
    assert over["result"]["structuredContent"]["video_path"]


async def test_a_listening_client_hears_how_a_task_stands_when_it_changed_and_that_it_is_over(rig: Rig) -> None:
    tasks = TaskFollower()
    async with rig.client(MODERN, extensions=[tasks]) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        async with listening(client, task_id, "nope"):
            await anyio.sleep(MINUTE)
        told = await ask(client, "tasks/get", taskId=task_id)
    assert {heard.task_id for heard in tasks.heard} == {task_id}
    assert [heard.status for heard in tasks.heard][-2:] == ["working", "completed"]
    assert len(tasks.heard) == len({heard.status_message for heard in tasks.heard})
    assert tasks.heard[-1].result == told["result"]
    assert tasks.heard[-1].meta is not None


async def test_a_client_that_listens_late_hears_at_once_that_a_task_is_over(rig: Rig) -> None:
    tasks = TaskFollower()
    async with rig.client(MODERN, extensions=[tasks]) as client:
        over = await until_over(client, (await begin(client, **ASK))["taskId"])
        async with listening(client, over["taskId"]):
            await anyio.sleep(10 * MINUTE)
    assert [heard.status for heard in tasks.heard] == ["completed"]


async def test_a_listening_client_hears_of_what_another_process_does_and_of_what_time_alone_brings(
    home: Path, inline_threads: None
) -> None:
    clock, tasks = VirtualClock(), TaskFollower()
    async with (
        open_rig(home, clock=clock) as rig,
        open_app(settings_for(home, api_key=None), now=clock) as watching,
        rig.client(MODERN) as theirs,
        Rig(watching, rig.sandbox, clock).client(MODERN, extensions=[tasks]) as ours,
    ):
        task_id = (await begin(theirs, **ASK))["taskId"]
        await anyio.sleep(1)
        rig.sandbox.faults.inject(Fault("drop_before", times=1000))
        lost = (await begin(theirs, **ASK | {"prompt": "lost"}))["taskId"]
        async with listening(ours, task_id, lost):
            await anyio.sleep(MINUTE)
            assert [heard.status for heard in tasks.heard if heard.task_id == task_id][-1] == "completed"
            assert [heard.status for heard in tasks.heard if heard.task_id == lost][-1] == "working"
            await anyio.sleep(16 * MINUTE)
    assert [heard.status for heard in tasks.heard if heard.task_id == lost][-1] == "completed"


def task(status: Status = Status.PROCESSING, **facts: Any) -> Task:
    request = VideoRequest(prompt="fog", source=SOURCE)
    told: dict[str, Any] = {"task_id": "t1", "created_at": 0.0, "updated_at": 0.0} | facts
    return Task(key="key", caller="local", request=request, status=status, **told)


FAILED = GenerationFailed("The clip is too long.").failure()


@pytest.mark.parametrize(
    ("shown", "over", "message"),
    [
        (
            task(),
            False,
            "RunAPI task t1: 45 s; 0.50 USD if it succeeds; RunAPI cannot cancel it.",
        ),
        (
            task(Status.SUBMITTING, task_id=""),
            False,
            "Task that RunAPI has not named yet: 45 s; 0.50 USD if it succeeds; RunAPI cannot cancel it.",
        ),
        (task(origin=SANDBOX_ORIGIN), False, "RunAPI task t1: 45 s; free in the sandbox; RunAPI cannot cancel it."),
        (
            task(Status.COMPLETED, charged="yes", cost_usd=0.45, video_path="/v.mp4"),
            True,
            "RunAPI task t1: 45 s, saved; 0.45 USD charged.",
        ),
        (task(Status.COMPLETED, charged="yes"), True, "RunAPI task t1: 45 s; 0.50 USD charged."),
        (
            task(Status.FAILED, charged="no", error=FAILED),
            True,
            f"RunAPI task t1: 45 s: {FAILED.message.rstrip('.')}; nothing was charged.",
        ),
        (task(charged="unknown", given_up=True), True, "RunAPI task t1: 45 s; whether it was charged is not known."),
        (task(Status.COMPLETED, origin=SANDBOX_ORIGIN), True, "RunAPI task t1: 45 s; free in the sandbox."),
    ],
)
def test_a_message_says_which_task_how_it_goes_and_what_it_costs(shown: Task, over: bool, message: str) -> None:
    assert status_message(shown, "45 s", over=over) == message
