"""The tasks as resources: read from the ledger, found by name in a picker, and unknown ones refused clearly."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, BlobResourceContents, CacheableResult, TextResourceContents

from luma_mcp.core.models import Status
from luma_mcp.core.uris import TASKS_URI, preview_uri, task_id_of, task_uri
from luma_mcp.ledger.database import LedgerFile
from luma_mcp.media import preview
from luma_mcp.sandbox.faults import Fault
from luma_mcp.server.resources import MAX_TASK_RESOURCES, format_age, resource_name
from tests.support.rig import ERAS, SOURCE, Rig, open_rig, sandbox_for, structured
from tests.support.videos import decoded_picture, needs_frames

pytestmark = pytest.mark.anyio
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 0}
JSON = "application/json"


async def read(client: Client, uri: str) -> dict[str, Any]:
    """Read a resource as JSON."""
    contents = (await client.read_resource(uri)).contents
    assert len(contents) == 1
    assert isinstance(contents[0], TextResourceContents)
    assert (contents[0].uri, contents[0].mime_type) == (uri, JSON)
    answer: dict[str, Any] = json.loads(contents[0].text)
    return answer


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_reads_as_get_task_tells_it(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        made = structured(await client.call_tool("modify_video", ASK))
        running = structured(await client.call_tool("get_task", {"task_id": made["task_id"]}))
        assert await read(client, task_uri(made["task_id"])) == running
        done = structured(await client.call_tool("get_task", {"task_id": made["task_id"], "wait_seconds": 40}))
        assert await read(client, task_uri(made["task_id"])) == done


@pytest.mark.parametrize("era", ERAS)
async def test_the_list_reads_as_list_tasks_tells_it(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        assert await read(client, TASKS_URI) == {"tasks": [], "next_cursor": ""}
        for prompt in "abc":
            await client.call_tool("modify_video", ASK | {"prompt": prompt, "wait_seconds": 40})
        listed = await read(client, TASKS_URI)
        assert listed == structured(await client.call_tool("list_tasks", {"limit": 100}))
    assert [task["prompt"] for task in listed["tasks"]] == ["c", "b", "a"]


async def test_reading_asks_nobody(rig: Rig) -> None:
    async with rig.client() as client:
        task_id = structured(await client.call_tool("modify_video", ASK))["task_id"]
        await anyio.sleep(60)
        rig.sandbox.recorded_requests.clear()
        await read(client, task_uri(task_id))
        await read(client, TASKS_URI)
        await anyio.sleep(60)
        again = structured(await client.call_tool("modify_video", ASK))
    assert rig.sandbox.recorded_requests == []
    assert (again["task_id"], again["joined"]) == (task_id, True)


@pytest.mark.parametrize("era", ERAS)
async def test_the_newest_tasks_stand_in_the_list_of_resources_newest_first(
    home: Path, inline_threads: None, era: str
) -> None:
    async with open_rig(home, sandbox=sandbox_for(home), max_active=50) as rig, rig.client(era) as client:
        ids: list[str] = []
        for number in range(MAX_TASK_RESOURCES + 5):
            ids.append(
                structured(await client.call_tool("modify_video", ASK | {"prompt": f"take {number}"}))["task_id"]
            )
            await anyio.sleep(60)
        listed = await client.list_resources()
    assert listed.next_cursor is None
    tasks_entry, *entries = listed.resources
    assert (tasks_entry.uri, tasks_entry.mime_type) == (TASKS_URI, JSON)
    assert [entry.uri for entry in entries] == [task_uri(task_id) for task_id in reversed(ids[5:])]
    assert entries[0].title == f"take {MAX_TASK_RESOURCES + 4} (completed, 1 minute ago)"
    assert entries[-1].title == f"take 5 (completed, {MAX_TASK_RESOURCES} minutes ago)"
    assert [entry.name for entry in entries] == [f"task-{task_id}" for task_id in reversed(ids[5:])]
    for entry in entries:
        assert entry.mime_type == JSON
        assert entry.annotations is None


async def test_a_task_without_an_id_is_in_the_task_list_but_has_no_resource_of_its_own(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("401"))
    async with rig.client() as client:
        await client.call_tool("modify_video", ASK)
        assert [task["status"] for task in (await read(client, TASKS_URI))["tasks"]] == ["failed"]
        assert [resource.uri for resource in (await client.list_resources()).resources] == [TASKS_URI]


async def test_a_title_in_the_list_is_one_short_line(rig: Rig) -> None:
    prompt = "fog\n\tand\u2028\u202emist \x01 " + "over the hills " * 20
    async with rig.client() as client:
        await client.call_tool("modify_video", ASK | {"prompt": prompt})
        title = (await client.list_resources()).resources[1].title or ""
    assert title.startswith("fog and mist over the hills")
    assert title.isprintable()
    assert "… (" in title
    assert len(title) < 100


@pytest.mark.parametrize(
    ("task_id", "name"),
    [
        ("0f3-a_B", "task-0f3-a_B"),
        ("x" * 59, f"task-{'x' * 59}"),
        ("x" * 60, f"task-{'x' * 42}-"),
        ("task/1 é", "task-task1-"),
        ("霧", "task--"),
    ],
)
def test_a_name_is_a_plain_word_whatever_the_id_is(task_id: str, name: str) -> None:
    assert resource_name(task_id).startswith(name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", resource_name(task_id))
    assert len({resource_name(other) for other in (task_id, f"{task_id}!", f"{task_id}?", f"{task_id}xx")}) == 4


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "uri",
    [
        "luma://tasks/unknown",
        "luma://tasks/",
        "luma://tasks/a/b",
        "luma://tasks/%2e%2e",
        "luma://tasks?status=failed",
        "luma://other",
        "file:///etc/passwd",
        "https://example.com",
        "tasks",
        "",
        "luma://tasks/" + "x" * 4000,
    ],
)
async def test_an_unknown_resource_is_a_clear_error(rig: Rig, era: str, uri: str) -> None:
    async with rig.client(era) as client:
        with pytest.raises(MCPError, match="Resource not found") as refused:
            await client.read_resource(uri)
    assert refused.value.error.code == INVALID_PARAMS
    assert refused.value.error.data == {"uri": uri}
    assert TASKS_URI in refused.value.error.message
    assert len(refused.value.error.message) < 500


async def test_a_task_has_one_uri_and_no_other(rig: Rig) -> None:
    async with rig.client() as client:
        task_id = structured(await client.call_tool("modify_video", ASK))["task_id"]
        other = f"luma://tasks/%{ord(task_id[0]):x}{task_id[1:]}"
        assert task_id_of(other) == task_id
        with pytest.raises(MCPError, match="Resource not found"):
            await client.read_resource(other)


async def test_a_finished_task_whose_file_is_still_missing_may_not_be_kept(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("500", route="output", times=12))
    async with rig.client(ERAS[1]) as client:
        made = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 60}))
        assert (made["status"], made["video_path"]) == ("completed", "")
        assert (await client.read_resource(task_uri(made["task_id"]))).ttl_ms == 0


async def test_a_host_that_reads_resources_does_not_take_the_news_of_damage_from_the_model(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = rig.parts.ledger._store
    assert isinstance(store, LedgerFile)
    monkeypatch.setattr(store._notice, "pending_message", "The ledger was damaged.")
    async with rig.client() as client:
        await read(client, TASKS_URI)
        await client.list_resources()
        told = await client.call_tool("list_tasks", {})
        assert structured(told)["error"]["message"] == "The ledger was damaged."
        assert not (await client.call_tool("list_tasks", {})).is_error


async def test_only_what_is_settled_may_be_kept_and_by_its_reader_alone(rig: Rig) -> None:
    async with rig.client(ERAS[1]) as client:
        task_id = structured(await client.call_tool("modify_video", ASK))["task_id"]
        running = await client.read_resource(task_uri(task_id))
        await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 40})
        done = await client.read_resource(task_uri(task_id), cache_mode="bypass")
        every = await client.read_resource(TASKS_URI)
        listed = await client.list_resources()
        tools = await client.list_tools()
        fixed: list[CacheableResult] = [
            await client.list_prompts(),
            await client.list_resource_templates(),
        ]
    assert [(result.ttl_ms, result.cache_scope) for result in (running, every, listed)] == [(0, "private")] * 3
    assert done.ttl_ms > 0
    assert done.cache_scope == "private"
    assert all(result.ttl_ms > 0 and result.cache_scope == "public" for result in fixed)
    assert tools.ttl_ms > 0
    assert tools.cache_scope == "private"  # clients that show pages have one more


async def test_the_newest_tasks_are_the_callers_own(rig: Rig) -> None:
    async with rig.client() as client:
        await client.call_tool("modify_video", ASK)
        others = await rig.parts.ledger.search_tasks("somebody else", "", list(Status), 10)
    assert others == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86_399, "23 hours ago"),
        (200_000, "2 days ago"),
    ],
)
def test_ages_are_told_roughly(seconds: float, words: str) -> None:
    assert format_age(seconds) == words


@needs_frames
@pytest.mark.parametrize("era", ERAS)
async def test_a_preview_reads_as_a_jpeg(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        made = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 40}))
        uri = preview_uri(made["task_id"])
        (picture,) = (await client.read_resource(uri)).contents
        templates = {
            one.uri_template: one.mime_type for one in (await client.list_resource_templates()).resource_templates
        }
    assert isinstance(picture, BlobResourceContents)
    assert (picture.uri, picture.mime_type) == (uri, "image/jpeg")
    assert decoded_picture(base64.b64decode(picture.blob))[0] == (976, 372)
    assert templates["luma://tasks/{task_id}/preview"] == "image/jpeg"


@pytest.mark.parametrize("era", ERAS)
async def test_a_preview_that_there_is_not_is_refused(rig: Rig, era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "find_frame_reader", lambda: "")
    async with rig.client(era) as client:
        running = structured(await client.call_tool("modify_video", ASK))["task_id"]
        for uri in (preview_uri("unknown"), preview_uri(running), f"{TASKS_URI}/preview", f"{preview_uri(running)}/x"):
            with pytest.raises(MCPError) as caught:
                await client.read_resource(uri)
            assert caught.value.code == INVALID_PARAMS
        await client.call_tool("get_task", {"task_id": running, "wait_seconds": 40})
        with pytest.raises(MCPError, match="neither PyAV nor ffmpeg") as caught:
            await client.read_resource(preview_uri(running))
        assert caught.value.code == INTERNAL_ERROR
