"""The assembled server: how it introduces itself, and what holds for every request whoever answers it."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError

from luma_mcp import __version__
from luma_mcp.core.errors import InvalidRequest
from luma_mcp.server.server import INSTRUCTIONS, SAVED_CLAUSE, build_server, instructions
from tests.support.model_texts import surface_texts
from tests.support.rig import ERAS, SOURCE, Rig, ask_raw, open_rig, result_text, settings_for, structured
from tests.support.surface import FORMS

pytestmark = pytest.mark.anyio
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}
HOUR = 3600.0


def test_only_a_server_that_saves_on_the_users_disk_says_so(home: Path) -> None:
    disk = "saved on the user's disk"
    assert disk in instructions(settings_for(home))
    assert disk not in instructions(settings_for(home, save="never"))
    assert disk not in instructions(settings_for(home, transport="http", save="auto"))


@pytest.mark.parametrize("era", ERAS)
async def test_the_server_introduces_itself(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        listed = await client.list_tools()
        info = client.server_info
        instructions = client.instructions
    if era == "legacy":
        assert info
        assert (info.name, info.version) == ("luma", __version__)
        assert info.title
        assert info.website_url
        assert instructions == INSTRUCTIONS.format(kept=SAVED_CLAUSE, price="0.50 USD", wait=40, bound=40)
    else:
        meta = dict(listed.meta or {})["io.modelcontextprotocol/serverInfo"]
        assert (meta["name"], meta["version"]) == ("luma", __version__)
    assert len(INSTRUCTIONS) < 2048
    order = [INSTRUCTIONS.index(name) for name in ("modify_video", "get_task", "video_path", "list_tasks")]
    assert order == sorted(order)


@pytest.mark.parametrize("era", ERAS)
async def test_an_unpaired_surrogate_anywhere_in_a_request_is_refused(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        for odd in ({"prompt": "a\ud83d"}, {"\udc00": 1}, {"seed": [{"y": "\ud83d"}]}):
            with pytest.raises(MCPError, match="half of a surrogate pair"):
                await ask_raw(client, era, "tools/call", name="modify_video", arguments=ASK | odd)
        with pytest.raises(MCPError, match="half of a surrogate pair"):
            await ask_raw(client, era, "resources/read", uri="luma://tasks/\ud83d")
    assert rig.sandbox.recorded_requests == []


@pytest.mark.parametrize("era", ERAS)
async def test_an_answer_never_holds_half_of_a_character(rig: Rig, era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise InvalidRequest("no file at /videos/\udce9.mp4")  # as Linux names what is no UTF-8

    monkeypatch.setattr(type(rig.app), "find", fail)
    async with rig.client(era) as client:
        told = await client.call_tool("get_task", {"task_id": "x"})
        assert structured(told)["error"]["message"] == "no file at /videos/\ufffd.mp4"
        assert json.loads(result_text(told)) == structured(told)
        with pytest.raises(MCPError, match="\ufffd"):
            await client.get_prompt("edit_again", {"task_id": "x", "change": "snow"})


@pytest.mark.parametrize("era", ERAS)
async def test_what_hosts_add_to_a_form_and_null_for_a_field_are_as_if_left_out(rig: Rig, era: str) -> None:
    added: dict[str, Any] = {"speed": "2", "wait_for_previous": None, "keep": None}
    async with rig.client(era) as client:
        expected = await client.get_prompt("restyle", FORMS["restyle"])
        told = await ask_raw(client, era, "prompts/get", name="restyle", arguments=FORMS["restyle"] | added)
        assert told["messages"] == [message.model_dump(mode="json", exclude_none=True) for message in expected.messages]
        nothing: dict[str, Any] = {"source_video_url": SOURCE, "style": None}
        with pytest.raises(MCPError, match="restyle needs the argument style"):
            await ask_raw(client, era, "prompts/get", name="restyle", arguments=nothing)


async def test_nothing_happens_before_the_first_real_request(home: Path, inline_threads: None) -> None:
    async with open_rig(home) as first:
        await first.submit(wait=0)
    async with open_rig(home) as probe, probe.client() as client:
        assert client.server_info
        await anyio.sleep(HOUR)
        assert probe.sandbox.recorded_requests == []
        await client.list_tools()
        await anyio.sleep(60)
        assert probe.polls() > 0


def test_the_instructions_are_short_in_every_variant() -> None:
    told = [text.words for text in surface_texts() if text.where.startswith("instructions")]
    assert len(told) > 1
    assert max(map(len, told)) < 2048


async def test_the_sdk_is_told_what_each_tool_takes_as_the_list_has_it(rig: Rig) -> None:
    lookup = build_server(rig.app).get_tool_input_schema
    async with rig.client() as client:
        listed = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
    assert lookup is not None
    assert {name: lookup(name) for name in listed} == listed
    assert lookup("nowhere") is None
