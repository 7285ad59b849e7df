"""Callers over HTTP: what is one's is nobody else's, by whatever way it is looked for."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import INVALID_PARAMS, ResourceTemplateReference

from luma_mcp.core.uris import TASK_TEMPLATE, TASKS_URI, task_uri
from tests.support.hearing import LIST, Heard, hearing, subscribe
from tests.support.hosted import ASK, PAIRS, TOKENS, WAYS, Hosted, bearer, event_stream, hosted
from tests.support.raw import ACCEPT, rpc, shake_hands
from tests.support.rig import ERAS, facts

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
LEGACY, MODERN = ERAS


@asynccontextmanager
async def two_callers(home: Path, path: str, era: str, **changes: Any) -> AsyncGenerator[tuple[Hosted, Client, Client]]:
    """Serve a client of each of two callers."""
    async with (
        hosted(home, runs=True, auth_tokens=PAIRS, **changes) as server,
        server.client(path, era, "ann") as ann,
        server.client(path, era, "bob") as bob,
    ):
        yield server, ann, bob


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_a_task_of_another_caller_is_not_there(home: Path, path: str, era: str) -> None:
    async with two_callers(home, path, era) as (_, ann, bob):
        task_id = facts(await ann.call_tool("modify_video", ASK))["task_id"]
        assert facts(await ann.call_tool("get_task", {"task_id": task_id}))["status"] == "completed"

        asked = facts(await bob.call_tool("get_task", {"task_id": task_id}))
        unknown = facts(await bob.call_tool("get_task", {"task_id": "x" * len(task_id)}))
        assert asked["error"]["code"] == "task_not_found"
        assert str(asked).replace(task_id, "x" * len(task_id)) == str(unknown)
        assert facts(await bob.call_tool("list_tasks", {})) == {"tasks": [], "next_cursor": ""}
        chained = await bob.call_tool("modify_video", ASK | {"source_video_url": task_uri(task_id)})
        assert facts(chained)["error"]["code"] == "source_not_found"


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_resources_prompts_and_completions_of_another_caller_are_not_there(
    home: Path, path: str, era: str
) -> None:
    async with two_callers(home, path, era) as (_, ann, bob):
        task_id = facts(await ann.call_tool("modify_video", ASK))["task_id"]
        assert len((await ann.list_resources()).resources) == 2

        assert [resource.uri for resource in (await bob.list_resources()).resources] == [TASKS_URI]
        template = ResourceTemplateReference(type="ref/resource", uri=TASK_TEMPLATE)
        assert not (await bob.complete(template, {"name": "task_id", "value": ""})).completion.values
        refused = [
            bob.read_resource(task_uri(task_id)),
            bob.get_prompt("edit_again", {"task_id": task_id, "change": "snow"}),
            *([subscribe(bob, task_uri(task_id))] if era == LEGACY else []),
        ]
        for request in refused:
            with pytest.raises(MCPError) as refusal:
                await request
            assert refusal.value.error.code == INVALID_PARAMS


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_a_caller_hears_nothing_of_anothers_tasks(home: Path, path: str, era: str) -> None:
    heard = Heard()
    async with (
        hosted(home, runs=True, auth_tokens=PAIRS) as server,
        server.client(path, era, "ann") as ann,
        server.client(path, era, "bob", message_handler=heard.message) as bob,
        hearing(bob, heard, era, [TASKS_URI]),
    ):
        await ann.call_tool("modify_video", ASK)
        assert not heard.changes
        await bob.call_tool("modify_video", ASK | {"wait_seconds": 0})
        await heard.heard(TASKS_URI, LIST)


async def test_the_same_request_of_two_callers_is_two_tasks(home: Path) -> None:
    async with two_callers(home, "/mcp", MODERN) as (server, ann, bob):
        of_ann = facts(await ann.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        of_bob = facts(await bob.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        assert (of_ann["joined"], of_bob["joined"], server.charges()) == (False, False, 2)


async def test_a_video_is_saved_once_for_its_own_caller_only(home: Path) -> None:
    async with two_callers(home, "/mcp", MODERN) as (_, ann, bob):
        task_id = facts(await ann.call_tool("modify_video", ASK))["task_id"]
        refused = await bob.call_tool("save_video", {"task_id": task_id})
        assert facts(refused)["error"]["code"] == "task_not_found"
        assert not (home / "out").exists()
        saved = facts(await ann.call_tool("save_video", {"task_id": task_id, "filename": "fog"}))
        assert saved["video_path"] == str(home / "out" / "fog.mp4")
        assert saved["next_step"].startswith("Give the user the link in video_urls")
        for name in ("snow", "rain"):
            again = facts(await ann.call_tool("save_video", {"task_id": task_id, "filename": name}))
            assert again["video_path"] == saved["video_path"]
        assert [path.name for path in (home / "out").iterdir()] == ["fog.mp4"]


async def test_a_caller_is_told_of_its_own_spending_only(home: Path) -> None:
    async with two_callers(home, "/mcp", MODERN, daily_limit=3) as (_, ann, bob):
        await ann.call_tool("modify_video", ASK)
        spent = [facts(await caller.call_tool("check_account", {})) for caller in (ann, bob)]
    assert [told["server_spent_total_usd"] for told in spent] == [0.5, 0]
    assert [told["tasks_left"] for told in spent] == [2, 3]
    for told in spent:
        assert told["price_usd"] == 0.5
        assert not {"account_spent_today_usd", "account_spent_total_usd"} & told.keys()


@pytest.mark.parametrize("limit", ["max_active", "daily_limit"])
async def test_each_caller_has_limits_of_its_own(home: Path, limit: str) -> None:
    async with (
        hosted(home, auth_tokens=PAIRS, runs=False, **{limit: 1}) as server,
        server.client("/mcp", MODERN, "ann") as ann,
        server.client("/mcp", MODERN, "bob") as bob,
    ):
        for client in (ann, bob):
            assert facts(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))["task_id"]
            more = await client.call_tool("modify_video", ASK | {"prompt": "snow", "wait_seconds": 0})
            assert facts(more)["error"]["code"] == "limit_reached"
            assert re.search(r"\b1\b", facts(more)["error"]["message"])


async def test_two_tokens_of_one_name_are_one_caller(home: Path) -> None:
    pairs = f"ann:{TOKENS['ann']},ann:{TOKENS['bob']}"
    async with (
        hosted(home, auth_tokens=pairs) as server,
        server.client("/mcp", MODERN, "ann") as old,
        server.client("/sse", LEGACY, "bob") as new,
    ):
        task = facts(await old.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        assert facts(await new.call_tool("get_task", {"task_id": task["task_id"]}))["task_id"] == task["task_id"]


async def test_the_session_of_another_caller_is_not_there(home: Path) -> None:
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        of_ann = await shake_hands(plain, "/mcp", ACCEPT | bearer("ann"))
        listing = rpc("tools/list", {})
        for headers, status in ((bearer("ann"), 200), (bearer("bob"), 404)):
            answer = await plain.post("/mcp", headers=ACCEPT | of_ann | headers, json=listing)
            assert answer.status_code == status
        assert (await plain.delete("/mcp", headers=ACCEPT | of_ann | bearer("bob"))).status_code == 404

        async with event_stream(plain, bearer("ann")) as (address, _):
            assert (await plain.post(address, headers=bearer("bob"), json=listing)).status_code == 404
            assert (await plain.post(address, headers=bearer("ann"), json=listing)).status_code == 202
