"""The first key, asked for where it is missing: by RunAPI's page, in hosts that show pages, of the local user alone."""

import json
import logging
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import mcp_types as wire
import pytest
from mcp import Client
from pydantic import SecretStr

from luma_mcp.app.app import App
from luma_mcp.core.errors import MissingApiKey
from luma_mcp.core.runapi_file import RunAPIFileUnusable, store_key
from luma_mcp.core.settings import USUAL_BASE_URL
from luma_mcp.runapi.login import PAGE_SECONDS
from luma_mcp.server import context
from luma_mcp.server.context import PERSON_SECONDS
from luma_mcp.server.key_request import FINISH_HINT, QUESTION, serves_one_user
from tests.support.http_server import PAIRS, hosted
from tests.support.key_page import (
    Deed,
    PersonAtHost,
    agree,
    cancel,
    decline,
    fail,
    only_open,
    open_key_rig,
    page_query,
    proves_who_began,
    refuse_there,
    stay_away,
    visit,
)
from tests.support.persons import YES, said
from tests.support.rig import ERAS, SOURCE, ask_raw, settings_for, structured
from tests.support.runapi_keys import NEW_KEY, runapi_file
from tests.support.task_client import TaskFollower

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
LEGACY, MODERN = ERAS
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 0}
FORMS_ONLY: dict[str, Any] = {"elicitation": {"form": {}}}


def todays_words(result: wire.CallToolResult) -> bool:
    error, usual = structured(result)["error"], MissingApiKey()
    told = (error["code"], error["message"], error["hint"], error["charged"])
    return bool(result.is_error) and told == (usual.code, usual.message, usual.hint, "no")


# -- a person who comes back, on real sockets --------------------------------------------------------------------------


@pytest.mark.sockets
@pytest.mark.parametrize("era", ERAS)
async def test_the_first_call_without_a_key_offers_the_page_and_goes_on_with_the_key(
    home: Path, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    person = PersonAtHost(agree)
    async with open_key_rig(home) as opened, opened.rig.client(era, elicitation_callback=person) as client:
        answer = await client.call_tool("modify_video", ASK)
        assert structured(answer)["task_id"]
        assert (opened.rig.creates(), len(person.shown)) == (1, 1)
        (shown,), (exchange,) = person.shown, opened.network.exchanges
        assert proves_who_began(shown.url, exchange)
        assert page_query(shown.url)["display_code"] in shown.message
        again = await client.call_tool("modify_video", ASK)
        assert structured(again)["joined"]
    assert len(person.shown) == 1
    assert json.loads(runapi_file(home).read_text(encoding="utf-8")) == {"api_key": NEW_KEY}
    logged = [record.getMessage() for record in caplog.records if record.name.startswith(("luma_mcp", "mcp"))]
    told = "\n".join([answer.model_dump_json(), *logged])
    assert any("RunAPI's page" in line for line in logged)
    assert NEW_KEY not in told + shown.model_dump_json()
    assert not [secret for secret in (exchange["code_verifier"], page_query(shown.url)["state"]) if secret in told]


@pytest.mark.sockets
async def test_clients_of_the_handshake_era_hear_that_the_page_is_done(home: Path) -> None:
    heard: list[str] = []

    async def listen(message: object) -> None:
        if isinstance(message, wire.ElicitCompleteNotification):
            heard.append(message.params.elicitation_id)

    person = PersonAtHost(agree)
    async with (
        open_key_rig(home) as opened,
        opened.rig.client(LEGACY, elicitation_callback=person, message_handler=listen) as client,
    ):
        await client.call_tool("modify_video", ASK)
    assert heard == [person.shown[0].elicitation_id]


@pytest.mark.sockets
@pytest.mark.parametrize("era", ERAS)
async def test_who_finishes_after_the_call_has_answered_goes_on_with_the_next_one(
    home: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "PERSON_SECONDS", 0.2)
    person = PersonAtHost(only_open)
    async with open_key_rig(home) as opened, opened.rig.client(era, elicitation_callback=person) as client:
        waiting = structured(await client.call_tool("modify_video", ASK))["error"]
        assert (waiting["code"], waiting["retry_safe"], waiting["hint"]) == ("missing_api_key", True, FINISH_HINT)
        login = await opened.rig.app.open_login()
        assert await visit(person.shown[0].url, code="the-code-of-the-page") == 200
        await login.ended.wait()
        assert structured(await client.call_tool("modify_video", ASK))["task_id"]
    assert len(person.shown) == 1


@pytest.mark.sockets
@pytest.mark.parametrize("era", ERAS)
async def test_two_calls_at_once_share_one_page(home: Path, era: str) -> None:
    answers: list[dict[str, Any]] = []
    both = anyio.Event()

    async def agree_once_both_ask(url: str) -> wire.ElicitResult:
        if len(person.shown) == 2:
            both.set()
            return await agree(url)
        await both.wait()
        return wire.ElicitResult(action="accept")

    person = PersonAtHost(agree_once_both_ask)

    async def call(client: Client, prompt: str) -> None:
        answers.append(structured(await client.call_tool("modify_video", ASK | {"prompt": prompt})))

    async with (
        open_key_rig(home) as opened,
        opened.rig.client(era, elicitation_callback=person) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(call, client, "fog")
        group.start_soon(call, client, "rain")
    assert len({shown.url for shown in person.shown}) == 1
    assert len(opened.network.exchanges) == 1
    assert len({answer["task_id"] for answer in answers}) == 2


@pytest.mark.sockets
@pytest.mark.parametrize("era", ERAS)
async def test_a_refusal_on_the_page_gives_todays_words_and_the_next_call_a_new_page(home: Path, era: str) -> None:
    person = PersonAtHost(refuse_there)
    async with open_key_rig(home) as opened, opened.rig.client(era, elicitation_callback=person) as client:
        assert todays_words(await client.call_tool("modify_video", ASK))
        assert not runapi_file(home).exists()
        person.deed = agree
        assert structured(await client.call_tool("modify_video", ASK))["task_id"]
    assert len({shown.url for shown in person.shown}) == 2


@pytest.mark.sockets
@pytest.mark.parametrize("era", ERAS)
async def test_a_key_that_cannot_be_had_after_all_is_told_as_what_it_is(home: Path, era: str) -> None:
    person = PersonAtHost(agree)
    async with open_key_rig(home) as opened, opened.rig.client(era, elicitation_callback=person) as client:
        opened.network.refuses = True
        assert todays_words(await client.call_tool("modify_video", ASK))
        opened.network.refuses = False
        runapi_file(home).parent.mkdir(parents=True)
        runapi_file(home).write_text("no JSON")
        assert todays_words(await client.call_tool("modify_video", ASK))
    assert (len(person.shown), runapi_file(home).read_text()) == (1, "no JSON")
    assert RunAPIFileUnusable.code == "output_not_writable"


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("path", "era", "caller", "changes", "asked"),
    [
        ("/mcp", LEGACY, "", {"auth_tokens": None}, True),
        ("/mcp", MODERN, "", {"auth_tokens": None}, True),
        ("/sse", LEGACY, "", {"auth_tokens": None}, True),
        ("/mcp", MODERN, "ann", {"auth_tokens": PAIRS}, False),
        ("/mcp", LEGACY, "ann", {"auth_tokens": PAIRS}, False),
        ("/mcp", MODERN, "", {"auth_tokens": "none"}, False),
        ("/mcp", MODERN, "", {"auth_tokens": None, "allowed_hosts": "luma.example"}, False),
        ("/mcp", MODERN, "", {"auth_tokens": None, "public_url": "https://luma.example"}, False),
    ],
)
async def test_over_http_nobody_but_the_user_of_this_machine_may_set_a_key(
    home: Path, path: str, era: str, caller: str, changes: dict[str, Any], *, asked: bool
) -> None:
    person = PersonAtHost(decline)
    async with (
        hosted(home, api_key="", **changes) as server,
        server.client(path, era, caller, elicitation_callback=person) as client,
    ):
        assert todays_words(await client.call_tool("modify_video", ASK))
    assert bool(person.shown) is asked


# -- nobody comes back, on the virtual clock ---------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("deed", [decline, cancel])
async def test_who_declines_sees_todays_words(home: Path, era: str, deed: Deed) -> None:
    async with open_key_rig(home) as opened:
        async with opened.rig.client(era) as client:
            usual = await client.call_tool("modify_video", ASK)
        person = PersonAtHost(deed)
        async with opened.rig.client(era, elicitation_callback=person) as client:
            answer = await client.call_tool("modify_video", ASK)
    assert (len(person.shown), answer) == (1, usual)
    assert todays_words(usual)


@pytest.mark.parametrize("era", ERAS)
async def test_hosts_that_show_no_pages_see_and_cause_what_they_always_did(home: Path, era: str) -> None:
    async with open_key_rig(home) as opened, opened.rig.client(era) as client:
        assert todays_words(await client.call_tool("modify_video", ASK))
        assert not opened.is_asked


async def test_a_host_that_shows_forms_alone_is_not_asked(home: Path) -> None:
    async with open_key_rig(home) as opened, opened.rig.client(MODERN) as client:
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": FORMS_ONLY,
        }
        params = {"name": "modify_video", "arguments": ASK, "_meta": meta}
        answer = await client.session._dispatcher.send_raw_request("tools/call", params)
        assert answer["structuredContent"]["error"]["code"] == "missing_api_key"
        assert not opened.is_asked


async def test_a_call_waits_half_a_minute_for_an_answer_that_does_not_come(home: Path) -> None:
    person = PersonAtHost(stay_away)
    async with open_key_rig(home) as opened, opened.rig.client(LEGACY, elicitation_callback=person) as client:
        begun = anyio.current_time()
        assert todays_words(await client.call_tool("modify_video", ASK))
        assert anyio.current_time() - begun == pytest.approx(PERSON_SECONDS, abs=1)


@dataclass
class PersonWithoutKey:
    """Somebody who gets a key some seconds after a page is shown, and answers forms some seconds later."""

    app: App
    seconds: float = 0.0
    asked: list[str] = field(default_factory=list[str])

    async def __call__(self, _: object, asked: wire.ElicitRequestParams) -> wire.ElicitResult | wire.ErrorData:
        self.asked.append(asked.mode)
        await anyio.sleep(self.seconds)
        if not isinstance(asked, wire.ElicitRequestURLParams):
            return said(YES)
        store_key(SecretStr(NEW_KEY), self.app.origin, USUAL_BASE_URL)
        (await self.app.open_login()).ended.set()
        return wire.ElicitResult(action="accept")


async def test_a_call_that_asks_for_a_key_and_for_a_yes_waits_half_a_minute_for_both(home: Path) -> None:
    async with open_key_rig(home, confirm="ask") as opened:
        person = PersonWithoutKey(opened.rig.app, PERSON_SECONDS - 10)
        async with opened.rig.client(LEGACY, elicitation_callback=person) as client:
            begun = anyio.current_time()
            error = structured(await client.call_tool("modify_video", ASK))["error"]
            assert (error["code"], error["charged"], error["retry_safe"]) == ("confirmation_declined", "no", True)
            assert anyio.current_time() - begun == pytest.approx(PERSON_SECONDS, abs=1)
            await anyio.sleep(60)
            assert opened.rig.creates() == 0, "a late yes counts for nothing"
            assert structured(await client.call_tool("modify_video", ASK))["task_id"]
    assert person.asked == ["url", "form", "form"]


async def test_in_a_host_that_knows_tasks_the_key_and_the_yes_come_before_the_task(home: Path) -> None:
    tasks = TaskFollower()
    async with open_key_rig(home, confirm="ask") as opened:
        person = PersonWithoutKey(opened.rig.app, 20)
        async with opened.rig.client(MODERN, elicitation_callback=person, extensions=[tasks]) as client:
            done = structured(await client.call_tool("modify_video", ASK))
        assert (done["status"], opened.rig.creates()) == ("completed", 1)
    assert (person.asked, len(tasks.handles)) == (["url", "form"], 1)


@pytest.mark.parametrize("era", ERAS)
async def test_a_page_that_nobody_finishes_is_told_in_half_a_minute_and_offered_again(home: Path, era: str) -> None:
    person = PersonAtHost(only_open)
    async with open_key_rig(home) as opened, opened.rig.client(era, elicitation_callback=person) as client:
        for _ in range(2):
            begun = anyio.current_time()
            error = structured(await client.call_tool("modify_video", ASK))["error"]
            assert (error["code"], error["charged"], error["hint"]) == ("missing_api_key", "no", FINISH_HINT)
            assert anyio.current_time() - begun == pytest.approx(PERSON_SECONDS, abs=1)
        assert len({shown.url for shown in person.shown}) == 1
        await anyio.sleep(PAGE_SECONDS)
        await client.call_tool("modify_video", ASK)
    assert len({shown.url for shown in person.shown}) == 2
    assert not runapi_file(home).exists()


@pytest.mark.parametrize("era", ERAS)
async def test_a_key_that_comes_by_another_way_is_found_while_the_page_is_open(home: Path, era: str) -> None:
    async with open_key_rig(home) as opened:

        async def log_in_elsewhere_later() -> None:
            await anyio.sleep(PERSON_SECONDS / 2)
            store_key(SecretStr(NEW_KEY), opened.rig.app.origin, USUAL_BASE_URL)

        person = PersonAtHost(only_open)
        async with (
            opened.rig.client(era, elicitation_callback=person) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(log_in_elsewhere_later)
            assert structured(await client.call_tool("modify_video", ASK))["task_id"]
    assert (len(person.shown), opened.network.exchanges) == (1, [])


async def test_between_the_calls_of_the_modern_era_nothing_waits(home: Path) -> None:
    async with (
        open_key_rig(home) as opened,
        opened.rig.client(MODERN, elicitation_callback=PersonAtHost(stay_away)) as client,
    ):
        begun = anyio.current_time()
        asked = await client.session.call_tool("modify_video", ASK, allow_input_required=True)
        assert isinstance(asked, wire.InputRequiredResult)
        assert anyio.current_time() == begun
        assert opened.rig.sandbox.recorded_requests == []


async def test_a_client_that_fails_to_show_the_page_gets_todays_words(home: Path) -> None:
    person = PersonAtHost(fail)
    async with open_key_rig(home) as opened, opened.rig.client(LEGACY, elicitation_callback=person) as client:
        assert todays_words(await client.call_tool("modify_video", ASK))


@pytest.mark.parametrize(
    ("response", "state", "asks_again"),
    [
        ({"action": "accept"}, "made up", True),
        ({"action": "accept"}, None, True),
        ({"action": "decline"}, "made up", False),
        ({"roots": []}, None, False),
    ],
)
async def test_junk_in_place_of_an_answer_sets_no_key(
    home: Path, response: dict[str, Any], state: str | None, *, asks_again: bool
) -> None:
    async with (
        open_key_rig(home) as opened,
        opened.rig.client(MODERN, elicitation_callback=PersonAtHost(stay_away)) as client,
    ):
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}},
        }
        params = {"name": "modify_video", "arguments": ASK, "_meta": meta, "inputResponses": {QUESTION: response}}
        params |= {"requestState": state} if state else {}
        answer = await client.session._dispatcher.send_raw_request("tools/call", params)
        assert (answer["resultType"] == "input_required") is asks_again
    assert not runapi_file(home).exists()


async def test_with_a_key_nobody_is_asked_whatever_is_sent(home: Path) -> None:
    person = PersonAtHost(stay_away)
    async with open_key_rig(home) as opened:
        runapi_file(home).parent.mkdir(parents=True)
        runapi_file(home).write_text(json.dumps({"api_key": NEW_KEY}))
        async with opened.rig.client(MODERN, elicitation_callback=person) as client:
            answer = await ask_raw(client, MODERN, "tools/call", name="modify_video", arguments=ASK)
            assert answer["structuredContent"]["task_id"]
            await client.call_tool("list_tasks", {})
    assert person.shown == []


@pytest.mark.parametrize(
    ("changes", "alone"),
    [
        ({}, True),
        ({"transport": "http", "auth_tokens": "none"}, False),
        ({"transport": "http", "auth_tokens": PAIRS}, False),
        ({"transport": "http", "public_url": "https://luma.example"}, False),
        ({"transport": "http", "allowed_hosts": "luma.example"}, False),
        ({"transport": "http"}, True),
    ],
)
def test_a_server_that_others_can_reach_takes_no_key(home: Path, changes: dict[str, Any], *, alone: bool) -> None:
    assert serves_one_user(settings_for(home, **changes)) is alone


@pytest.mark.parametrize("era", ERAS)
async def test_where_no_port_can_be_opened_the_answer_is_the_usual_one(
    home: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    person = PersonAtHost(stay_away)
    async with open_key_rig(home) as opened, opened.rig.client(era, elicitation_callback=person) as client:
        monkeypatch.setattr(socket, "create_server", refuse)
        assert todays_words(await client.call_tool("modify_video", ASK))
    assert person.shown == []


async def test_a_server_that_ends_does_not_wait_for_the_person(home: Path) -> None:
    person = PersonAtHost(stay_away)
    async with open_key_rig(home) as opened, opened.rig.client(LEGACY, elicitation_callback=person) as client:
        begun = anyio.current_time()

        async def end() -> None:
            await anyio.sleep(5)
            opened.rig.app.begin_drain()

        async with anyio.create_task_group() as group:
            group.start_soon(end)
            assert todays_words(await client.call_tool("modify_video", ASK))
        assert anyio.current_time() - begun == pytest.approx(5, abs=1)
