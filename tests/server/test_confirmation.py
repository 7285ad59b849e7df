"""A person's yes before each charge: asked in both eras, counted exactly, and good for one request and price."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp_types import ElicitResult, ErrorData, InputRequiredResult

from luma_mcp.core.models import CLOCK_STEP_SECONDS
from luma_mcp.sandbox import account
from luma_mcp.sandbox.faults import Fault
from luma_mcp.server.confirmation import ELSEWHERE_HINT, MAX_SHOWN_PROMPT, STATE_SECONDS
from luma_mcp.server.context import PERSON_SECONDS
from tests.support.http_server import PAIRS, PATHS, WAYS, Hosted, hosted
from tests.support.mp4_files import film
from tests.support.persons import ASK, NO, YES, Person, answered, call, said
from tests.support.rig import ERAS, ProgressRecorder, Rig, open_rig, sandbox_for, structured

pytestmark = [pytest.mark.anyio]
on_virtual_time = pytest.mark.usefixtures("inline_threads")
LEGACY, MODERN = ERAS
PRICE_ASKED = "Price: 0.50 USD, charged by RunAPI only if it succeeds"


@asynccontextmanager
async def asking(home: Path, **changes: Any) -> AsyncGenerator[Rig]:
    async with open_rig(home, **{"confirm": "ask", **changes}) as rig:
        yield rig


async def recorded(rig: Rig) -> int:
    return len((await rig.app.list_tasks("local", "", 100, ""))[0])


def error_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Give the error of a raw answer, which must be a result."""
    found: dict[str, Any] = answer["structuredContent"]["error"]
    return found


# -- what is asked, and what counts as a yes --------------------------------------------------------------------------


@on_virtual_time
@pytest.mark.parametrize("era", ERAS)
async def test_a_yes_makes_one_task_after_one_question_that_says_what_is_paid_for(home: Path, era: str) -> None:
    person = Person()
    async with asking(home) as rig, rig.client(era, elicitation_callback=person) as client:
        task = structured(await client.call_tool("modify_video", ASK | {"take": 3}))
        assert (task["status"], task["take"], task["joined"]) == ("completed", 3, False)
        assert rig.creates() == 1
    (question,) = person.questions
    assert question.splitlines() == [
        "Modify this video with Luma for 0.50 USD?",
        'Prompt: "fog"',
        'Clip: "https://example.com/clip.mp4"',
        "Take: 3",
        PRICE_ASKED,
    ]
    (form,) = person.forms
    assert form["required"] == ["pay"]
    assert "default" not in form["properties"]["pay"], "a host could fill it in by itself"


@on_virtual_time
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "answer",
    [
        NO,
        {"action": "cancel"},
        {"action": "accept"},
        {"action": "accept", "content": {}},
        {"action": "accept", "content": {"pay": False}},
        {"action": "accept", "content": {"pay": "true"}},
        {"action": "accept", "content": {"pay": 1}},
        {"action": "accept", "content": {"confirm": True}},
        {"action": "decline", "content": {"pay": True}},
    ],
)
async def test_anything_but_a_yes_sends_and_records_nothing(home: Path, era: str, answer: dict[str, Any]) -> None:
    person = Person(said(answer))
    async with asking(home) as rig, rig.client(era, elicitation_callback=person) as client:
        refused = await client.call_tool("modify_video", ASK)
        error = structured(refused)["error"]
        assert (error["code"], error["charged"], error["retry_safe"]) == ("confirmation_declined", "no", True)
        assert "may never have been shown" in error["hint"]
        assert (rig.creates(), await recorded(rig), len(person.questions)) == (0, 0, 1)
        assert refused.is_error


@on_virtual_time
async def test_a_client_that_answers_with_an_error_has_not_agreed(home: Path) -> None:
    person = Person(ErrorData(code=-32601, message="no such method"))
    async with asking(home) as rig, rig.client(LEGACY, elicitation_callback=person) as client:
        error = structured(await client.call_tool("modify_video", ASK))["error"]
        assert (error["code"], rig.creates(), await recorded(rig)) == ("confirmation_declined", 0, 0)


@on_virtual_time
@pytest.mark.parametrize("junk", [{"action": "yes"}, {"action": "accept", "content": "yes"}, {"action": 1}])
async def test_junk_is_no_yes(home: Path, junk: dict[str, Any]) -> None:
    person = Person(ElicitResult.model_construct(**junk))
    async with asking(home) as rig:
        async with rig.client(MODERN) as client:
            asked = await call(client, ASK)
            with pytest.raises(MCPError):
                await call(client, ASK, **answered(asked, junk))
        async with rig.client(LEGACY, elicitation_callback=person) as client:
            error = structured(await client.call_tool("modify_video", ASK))["error"]
            assert (error["code"], error["charged"]) == ("confirmation_declined", "no")
        assert (rig.creates(), await recorded(rig)) == (0, 0)


@on_virtual_time
async def test_who_does_not_answer_in_time_pays_nothing_and_a_later_yes_counts_for_nothing(home: Path) -> None:
    person = Person(after=PERSON_SECONDS + 10)
    async with asking(home) as rig, rig.client(LEGACY, elicitation_callback=person) as client:
        begun = anyio.current_time()
        error = structured(await client.call_tool("modify_video", ASK))["error"]
        assert anyio.current_time() - begun == pytest.approx(PERSON_SECONDS)
        assert (error["code"], error["charged"]) == ("confirmation_declined", "no")
        await anyio.sleep(60)
        assert (rig.creates(), await recorded(rig), len(person.questions)) == (0, 0, 1)


@on_virtual_time
async def test_the_time_of_the_question_is_part_of_the_time_of_the_call(home: Path) -> None:
    async with asking(home, sandbox=sandbox_for(home, seconds=3600)) as rig:
        for wait, answered_after, bound in ((40, 25, 40), (0, 25, 26), (20, 25, 26)):
            person = Person(after=answered_after)
            async with rig.client(LEGACY, elicitation_callback=person) as client:
                begun = anyio.current_time()
                ask = ASK | {"prompt": f"{wait}", "wait_seconds": wait}
                task = structured(await client.call_tool("modify_video", ask))
                assert task["task_id"], "RunAPI is waited for after the yes"
                assert anyio.current_time() - begun == pytest.approx(bound, abs=1)


@on_virtual_time
async def test_progress_goes_on_while_a_person_thinks(home: Path) -> None:
    told = ProgressRecorder()
    async with asking(home) as rig, rig.client(LEGACY, elicitation_callback=Person(after=28)) as client:
        await client.call_tool("modify_video", ASK, progress_callback=told)
    waiting = [message for _, _, message in told.reports if message == "waiting for the user's yes"]
    assert len(waiting) == 5
    assert told.values == sorted(set(told.values)), "each value is higher than the last"
    assert max(after - before for before, after in pairwise([0.0, *told.times])) <= 10
    assert told.values[len(waiting) - 1] < 1


@on_virtual_time
async def test_a_server_that_ends_waits_for_no_answer(home: Path) -> None:
    async with asking(home) as rig:
        person = Person(after=20)
        async with rig.client(LEGACY, elicitation_callback=person) as client, anyio.create_task_group() as group:
            begun = anyio.current_time()

            async def end() -> None:
                await anyio.sleep(1)
                rig.app.begin_drain()

            group.start_soon(end)
            error = structured(await client.call_tool("modify_video", ASK))["error"]
            assert (error["code"], "server ended" in error["message"]) == ("confirmation_declined", True)
            assert anyio.current_time() - begun == pytest.approx(1)
            group.cancel_scope.cancel()
        assert (rig.creates(), await recorded(rig)) == (0, 0)


@on_virtual_time
async def test_a_call_that_is_cancelled_while_it_asks_pays_nothing(home: Path) -> None:
    person = Person(after=5)
    async with asking(home) as rig, rig.client(LEGACY, elicitation_callback=person) as client:
        with anyio.move_on_after(2):
            await client.call_tool("modify_video", ASK)
        await anyio.sleep(60)
        assert (rig.creates(), await recorded(rig), len(person.questions)) == (0, 0, 1)


# -- hosts that cannot ask --------------------------------------------------------------------------------------------


@on_virtual_time
@pytest.mark.parametrize("era", ERAS)
async def test_a_host_that_cannot_ask_is_told_the_way_on(home: Path, era: str) -> None:
    async with asking(home) as rig, rig.client(era) as client:
        error = structured(await client.call_tool("modify_video", ASK))["error"]
        assert (error["code"], error["charged"]) == ("confirmation_unavailable", "no")
        assert "luma-mcp modify" in error["hint"]
        assert "LUMA_MCP_CONFIRM" in error["hint"]
        assert (rig.creates(), await recorded(rig)) == (0, 0)


@on_virtual_time
@pytest.mark.parametrize(
    ("declared", "asks"),
    [({}, True), ({"form": {}}, True), ({"form": {}, "url": {}}, True), ({"url": {}}, False), (None, False)],
)
async def test_a_form_is_shown_only_where_forms_were_declared(
    home: Path, declared: dict[str, Any] | None, asks: bool
) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        capabilities = {} if declared is None else {"elicitation": declared}
        told = await call(client, ASK, capabilities=capabilities)
        assert (told["resultType"] == "input_required") == asks
        assert asks or error_of(told)["code"] == "confirmation_unavailable"


# -- what is not asked ------------------------------------------------------------------------------------------------


@on_virtual_time
@pytest.mark.parametrize("era", ERAS)
async def test_nobody_is_asked_before_a_join_or_before_what_costs_nothing(home: Path, era: str) -> None:
    person = Person()
    async with asking(home, sandbox=sandbox_for(home, seconds=30)) as rig:
        async with rig.client(era, elicitation_callback=person) as client:
            first = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
            running = structured(await client.call_tool("modify_video", ASK))
            ended = structured(await client.call_tool("modify_video", ASK))
            for name in ("get_task", "save_video", "preview_video"):
                await client.call_tool(name, {"task_id": first["task_id"]})
            for name in ("list_tasks", "check_account"):
                await client.call_tool(name, {})
        async with rig.client(era) as mute:
            assert structured(await mute.call_tool("modify_video", ASK))["joined"]
        assert (running["joined"], ended["joined"], ended["status"]) == (True, True, "completed")
        assert (len(person.questions), rig.creates()) == (1, 1)


@on_virtual_time
@pytest.mark.parametrize("era", ERAS)
async def test_each_new_task_is_asked_for(home: Path, era: str) -> None:
    person = Person()
    async with asking(home) as rig, rig.client(era, elicitation_callback=person) as client:
        for ask in (ASK, ASK | {"take": 2}, ASK | {"prompt": "snow"}):
            await client.call_tool("modify_video", ask)
        assert (len(person.questions), rig.creates()) == (3, 3)


@on_virtual_time
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("changes", "ask", "code"),
    [
        ({"api_key": ""}, ASK, "missing_api_key"),
        ({}, ASK | {"prompt": " "}, "invalid_request"),
        ({}, ASK | {"callback_url": "http://127.0.0.1/x"}, "source_not_allowed"),
        ({}, ASK | {"source_video_url": "luma://tasks/none"}, "source_not_found"),
        ({}, ASK | {"source_video_url": "luma://clips/md5:AAAAAAAAAAAAAAAAAAAAAA==:5"}, "source_not_found"),
        ({"daily_limit": 0}, ASK, "limit_reached"),
        ({"daily_budget": "0.49"}, ASK, "limit_reached"),
    ],
)
async def test_a_person_is_not_asked_for_what_would_be_refused_anyway(
    home: Path, era: str, changes: dict[str, Any], ask: dict[str, Any], code: str
) -> None:
    person = Person()
    async with asking(home, **changes) as rig, rig.client(era, elicitation_callback=person) as client:
        error = structured(await client.call_tool("modify_video", ask))["error"]
        assert (error["code"], person.questions, rig.creates()) == (code, [], 0)


@on_virtual_time
async def test_by_default_nobody_is_asked_and_no_price_is_asked_for(home: Path) -> None:
    person = Person()
    async with open_rig(home) as rig, rig.client(elicitation_callback=person) as client:
        await client.call_tool("modify_video", ASK)
        assert (person.questions, rig.creates()) == ([], 1)
        assert not [seen for seen in rig.sandbox.recorded_requests if "price" in seen.path]


@on_virtual_time
@pytest.mark.parametrize("era", ERAS)
async def test_claude_code_is_told_to_ask_under_this_setting_only(home: Path, era: str) -> None:
    async with open_rig(home) as usual, asking(home) as rig, usual.client(era) as one, rig.client(era) as other:
        before, after = [
            {tool.name: tool.meta for tool in (await client.list_tools()).tools} for client in (one, other)
        ]
    assert {name for name, meta in after.items() if meta and "anthropic/requiresUserInteraction" in meta} == {
        "modify_video"
    }
    assert after["modify_video"] == {**(before["modify_video"] or {}), "anthropic/requiresUserInteraction": True}


@on_virtual_time
async def test_no_argument_stands_for_a_yes(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        (tool,) = [tool for tool in (await client.list_tools()).tools if tool.name == "modify_video"]
        words = ("confirm", "agree", "consent", "approve", "pay", "yes")
        assert not [name for name in tool.input_schema["properties"] if any(word in name for word in words)]
        flags = ASK | {"confirm": True, "pay": True, "confirm_spend": True, "inputResponses": {"charge": YES}}
        assert error_of(await call(client, flags, capabilities={}))["code"] == "confirmation_unavailable"
        assert rig.creates() == 0


# -- a yes is for one request and price -------------------------------------------------------------------------------


@on_virtual_time
async def test_a_yes_that_is_played_again_finds_the_task_that_is_there(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        yes = answered(await call(client, ASK), YES)
        first = (await call(client, ASK, **yes))["structuredContent"]
        again = [(await call(client, ASK, **yes))["structuredContent"] for _ in range(3)]
        assert {task["task_id"] for task in again} == {first["task_id"]}
        assert [task["joined"] for task in (first, *again)] == [False, True, True, True]
        assert rig.creates() == 1


@on_virtual_time
async def test_many_answers_at_the_same_instant_pay_once(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        yes = answered(await call(client, ASK), YES)
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(lambda: call(client, ASK, **yes))
        assert (rig.creates(), await recorded(rig)) == (1, 1)


@on_virtual_time
async def test_two_questions_about_the_same_request_pay_once(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        questions = [await call(client, ASK) for _ in range(2)]
        assert all(asked["resultType"] == "input_required" for asked in questions)
        for asked in questions:
            await call(client, ASK, **answered(asked, YES))
        assert (rig.creates(), await recorded(rig)) == (1, 1)


@on_virtual_time
async def test_a_yes_whose_task_failed_for_free_is_still_good_for_one_charge_only(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        rig.sandbox.faults.inject(Fault("fail"))
        yes = answered(await call(client, ASK), YES)
        failed = (await call(client, ASK, **yes))["structuredContent"]
        assert (failed["status"], failed["error"]["charged"]) == ("failed", "no")
        for _ in range(3):
            assert (await call(client, ASK, **yes))["structuredContent"]["status"] == "completed"
        assert rig.sandbox.state.charged_cents() == 50


@on_virtual_time
@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "rain"},
        {"prompt": "Fog"},
        {"take": 2},
        {"watermark": True},
        {"source_video_url": "https://example.com/other.mp4"},
        {"callback_url": "https://example.com/hook"},
    ],
)
async def test_a_yes_to_one_request_is_none_to_another(home: Path, other: dict[str, Any]) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        yes = answered(await call(client, ASK), YES)
        refused = await call(client, ASK | other, **yes)
        assert error_of(refused)["code"] == "confirmation_declined"
        assert (rig.creates(), await recorded(rig)) == (0, 0)
        await call(client, ASK | {"wait_seconds": 5}, **yes)
        assert rig.creates() == 1, "how long a call waits is no part of the question"


@on_virtual_time
async def test_a_yes_to_one_clip_is_none_to_another_of_the_same_name(home: Path) -> None:
    clip = home / "Videos" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(film(b"one clip"))
    async with asking(home) as rig, rig.client(MODERN) as client:
        ask = ASK | {"source_video_url": str(clip)}
        yes = answered(await call(client, ask), YES)
        clip.write_bytes(film(b"another"))
        assert error_of(await call(client, ask, **yes))["code"] == "confirmation_declined"
        assert [seen for seen in rig.sandbox.recorded_requests if "file" in seen.path] == [], "nothing was uploaded"
        assert rig.creates() == 0


@on_virtual_time
async def test_a_yes_to_one_price_is_none_to_another(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        yes = answered(await call(client, ASK), YES)
        monkeypatch.setitem(account.PRICE, "unit_price_cents", 75)
        rig.clock.jumped += 60
        await anyio.sleep(60)
        assert error_of(await call(client, ASK, **yes))["code"] == "confirmation_declined"
        asked = await call(client, ASK)
        assert "Price: 0.75 USD" in asked["inputRequests"]["charge"]["params"]["message"]
        assert rig.creates() == 0


@on_virtual_time
async def test_a_yes_that_comes_too_late_is_none(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        yes = answered(await call(client, ASK), YES)
        rig.clock.jumped += STATE_SECONDS + 1
        assert error_of(await call(client, ASK, **yes))["code"] == "confirmation_declined"
        rig.clock.jumped -= 2
        await call(client, ASK, **yes)
        assert rig.creates() == 1


@on_virtual_time
async def test_a_yes_counts_though_the_clock_of_the_server_that_takes_it_is_behind(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        yes = answered(await call(client, ASK), YES)
        rig.clock.jumped -= CLOCK_STEP_SECONDS + 1
        assert error_of(await call(client, ASK, **yes))["code"] == "confirmation_declined"
        rig.clock.jumped += 1
        await call(client, ASK, **yes)
        assert rig.creates() == 1


@on_virtual_time
@pytest.mark.parametrize("forged", ["", "charge", "charge.", "charge.1790003600.x", "charge.99999999999999999999.x"])
async def test_a_yes_to_a_question_that_nobody_asked_is_none(home: Path, forged: str) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        real = (await call(client, ASK))["requestState"]
        altered = real[:-1] + ("A" if real[-1] != "A" else "B")
        later = real.replace(real.split(".")[1], str(int(real.split(".")[1]) + 1))
        for state in (forged, altered, later, f"{real}.", real.upper()):
            answer = await call(client, ASK, inputResponses={"charge": YES}, requestState=state)
            assert error_of(answer)["code"] == "confirmation_declined", state
        without = await call(client, ASK, inputResponses={"charge": YES})
        assert error_of(without)["code"] == "confirmation_declined"
        assert (rig.creates(), await recorded(rig)) == (0, 0)


@on_virtual_time
async def test_a_state_without_an_answer_is_none_and_that_of_another_question_is_not_ours(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        state = (await call(client, ASK))["requestState"]
        assert error_of(await call(client, ASK, requestState=state))["code"] == "confirmation_declined"
        other = await call(client, ASK, inputResponses={"key": {"action": "accept"}}, requestState="key.1")
        assert other["resultType"] == "input_required"
        assert rig.creates() == 0


@on_virtual_time
async def test_nobody_but_who_was_asked_can_say_yes(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        yes = answered(await call(client, ASK), YES)
    async with asking(home, api_key="runapi_live_other_account_1") as rig, rig.client(MODERN) as client:
        assert error_of(await call(client, ASK, **yes))["code"] == "confirmation_declined"
        assert rig.creates() == 0


@on_virtual_time
async def test_a_yes_counts_in_no_other_ledger(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        yes = answered(await call(client, ASK), YES)
        assert (await call(client, ASK, **yes))["structuredContent"]["status"] == "completed"
        async with asking(home / "new", clock=rig.clock, sandbox=rig.sandbox) as anew, anew.client(MODERN) as other:
            assert error_of(await call(other, ASK, **yes))["code"] == "confirmation_declined"
            assert (rig.creates(), await recorded(anew)) == (1, 0)


@on_virtual_time
async def test_what_is_signed_shows_nothing_of_the_key(home: Path) -> None:
    async with asking(home) as rig, rig.client(MODERN) as client:
        asked = await call(client, ASK)
        key = rig.app.settings.api_key
        assert key
        assert key.get_secret_value() not in str(asked)


# -- several servers --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def two_servers(home: Path) -> AsyncGenerator[tuple[Rig, Rig]]:
    async with asking(home) as one, asking(home, clock=one.clock, sandbox=one.sandbox) as other:
        yield one, other


@on_virtual_time
async def test_a_question_of_one_server_may_be_answered_to_another(home: Path) -> None:
    async with two_servers(home) as (one, other), one.client(MODERN) as first, other.client(MODERN) as second:
        yes = answered(await call(first, ASK), YES)
        made = (await call(second, ASK, **yes))["structuredContent"]
        joined = (await call(first, ASK, **yes))["structuredContent"]
        assert (made["joined"], joined["joined"], made["task_id"]) == (False, True, joined["task_id"])
        assert one.creates() == 1


@on_virtual_time
async def test_two_persons_who_agree_to_the_same_request_pay_once(home: Path) -> None:
    async with two_servers(home) as (one, other), anyio.create_task_group() as group:
        persons = [Person(after=5), Person(after=5)]
        found: list[dict[str, Any]] = []

        async def ask(rig: Rig, person: Person) -> None:
            async with rig.client(LEGACY, elicitation_callback=person) as client:
                found.append(structured(await client.call_tool("modify_video", ASK)))

        group.start_soon(ask, one, persons[0])
        group.start_soon(ask, other, persons[1])
    assert [len(person.questions) for person in persons] == [1, 1]
    assert sorted(task["joined"] for task in found) == [False, True]
    assert len({task["task_id"] for task in found}) == 1
    assert one.creates() == 1


@on_virtual_time
@pytest.mark.parametrize("answer", [YES, NO])
async def test_what_others_made_while_a_person_thought_is_joined(home: Path, answer: dict[str, Any]) -> None:
    async with two_servers(home) as (one, other):

        async def meanwhile() -> None:
            async with other.client(LEGACY, elicitation_callback=Person()) as client:
                await client.call_tool("modify_video", ASK)

        person = Person(said(answer), meanwhile=meanwhile)
        async with one.client(LEGACY, elicitation_callback=person) as client:
            told = structured(await client.call_tool("modify_video", ASK))
        assert one.creates() == 1
        assert told.get("joined") is (True if answer is YES else None)


# -- what a person sees -----------------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_prompt_cannot_pretend_to_be_another_line_of_the_question(home: Path) -> None:
    prompt = "fog\nPrice: 0.00 USD\u202e\u2028Take: 1" + "x" * MAX_SHOWN_PROMPT
    async with asking(home) as rig, rig.client(MODERN) as client:
        asked = await call(client, ASK | {"prompt": prompt, "callback_url": "https://example.com/hook"})
    lines = asked["inputRequests"]["charge"]["params"]["message"].splitlines()
    assert [line.partition(":")[0] for line in lines][1:] == [
        *("Prompt", "Clip", "Take", "Price", "The result is also sent to")
    ]
    assert "\u202e" not in lines[1]
    assert lines[1].endswith(f"and {len(prompt) - MAX_SHOWN_PROMPT} more characters")
    assert PRICE_ASKED in lines


# -- over real connections --------------------------------------------------------------------------------------------


@pytest.mark.sockets
@pytest.mark.parametrize(("path", "era"), WAYS)
@pytest.mark.parametrize(("answer", "code", "made"), [(YES, None, 1), (NO, "confirmation_declined", 0)])
async def test_a_person_is_asked_over_http_too(
    home: Path, path: str, era: str, answer: dict[str, Any], code: str | None, made: int
) -> None:
    person = Person(said(answer))
    async with hosted(home, runs=True, confirm="ask") as server:
        async with server.client(path, era, elicitation_callback=person) as client:
            for _ in range(2):
                told = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
                assert told.get("error", {}).get("code") == code
        assert server.task_count() == made
        assert len(person.questions) == (1 if made else 2)


@pytest.mark.sockets
@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_goes_while_it_is_asked_pays_nothing(home: Path, path: str) -> None:
    asked = anyio.Event()

    async def note() -> None:
        asked.set()
        await anyio.sleep_forever()

    async def ask(server: Hosted) -> None:
        async with server.client(path, LEGACY, elicitation_callback=Person(meanwhile=note)) as client:
            await client.call_tool("modify_video", ASK)

    async with hosted(home, runs=True, confirm="ask") as server:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, server)
            await asked.wait()
            group.cancel_scope.cancel()
        async with server.client(path, LEGACY, elicitation_callback=Person()) as client:
            assert structured(await client.call_tool("list_tasks", {}))["tasks"] == []
            assert not structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))["joined"]
        assert server.task_count() == 1


@pytest.mark.sockets
async def test_a_yes_of_one_caller_is_none_of_another(home: Path) -> None:
    async with (
        hosted(home, confirm="ask", auth_tokens=PAIRS) as server,
        server.client("/mcp", MODERN, "ann", elicitation_callback=Person()) as ann,
        server.client("/mcp", MODERN, "bob", elicitation_callback=Person()) as bob,
    ):
        ask = ASK | {"wait_seconds": 0}
        asked = await ann.session.call_tool("modify_video", ask, allow_input_required=True)
        assert isinstance(asked, InputRequiredResult)
        found: list[dict[str, Any]] = []
        for client in (bob, ann):
            told = await client.call_tool(
                "modify_video", ask, input_responses={"charge": said(YES)}, request_state=asked.request_state
            )
            found.append(structured(told))
        assert found[0]["error"]["code"] == "confirmation_declined"
        assert found[1]["task_id"]
        assert server.task_count() == 1


@pytest.mark.sockets
async def test_a_caller_from_elsewhere_is_not_sent_to_a_terminal_of_this_machine(home: Path) -> None:
    async with (
        hosted(home, confirm="ask", auth_tokens=PAIRS) as server,
        server.client("/mcp", MODERN, "ann") as ann,
    ):
        error = structured(await ann.call_tool("modify_video", ASK))["error"]
        assert (error["code"], error["hint"]) == ("confirmation_unavailable", ELSEWHERE_HINT)
