"""Lists of tasks are short enough for every host, and lose and repeat nothing on the way from page to page."""

import json
from dataclasses import replace
from typing import Any

import pytest
from mcp import Client
from mcp_types import TextResourceContents

from luma_mcp.core.errors import GenerationFailed
from luma_mcp.core.models import Limits, Status, Task, VideoRequest, new_key
from luma_mcp.core.uris import TASKS_URI
from luma_mcp.server.resources import OLDER
from luma_mcp.server.results import SHOWN_OF_PROMPT, task_page, task_row
from tests.support.rig import EPOCH, ERAS, SOURCE, Rig, facts
from tests.support.texts import TASK

pytestmark = pytest.mark.anyio
MOST_BYTES = 40_000
PROMPTS = {
    "plain": "a foggy autumn morning, the people unchanged ",
    "emoji": "\U0001f3ac",
    "escapes": '"\\\n\x01',
    "tiny": "f",
}
ROW = ("task_id", "status", "prompt", "take", "created_at", "video_path")


def made(number: int, prompt: str, path: str = "") -> Task:
    """Make the task of a number, with a long prompt."""
    request = VideoRequest(prompt=(prompt * 20_000)[: 20_000 - 6] + f"{number:6}", source=SOURCE)
    at = EPOCH + number // 3  # several are as old as each other
    return replace(
        TASK, key=new_key(), request=request, created_at=at, task_id=f"{number:036}", video_path=path, cost_usd=0.5
    )


@pytest.fixture(params=PROMPTS)
async def full(rig: Rig, request: pytest.FixtureRequest) -> list[str]:
    """Fill the ledger, and give the ids in the order in which they are to be listed."""
    tasks = [made(number, PROMPTS[request.param], f"/videos/{PROMPTS[request.param] * 40}") for number in range(60)]
    for task in tasks:
        await rig.app.ledger.join_or_add(task, task.key, Limits())
    return [task.task_id for task in sorted(tasks, key=lambda task: (task.created_at, task.key), reverse=True)]


async def pages(client: Client, limit: int, cursor: str = "") -> list[dict[str, Any]]:
    """Read all pages, and look how large each is on the wire."""
    found: list[dict[str, Any]] = []
    while cursor or not found:
        result = await client.call_tool("list_tasks", {"limit": limit, "cursor": cursor})
        assert not result.is_error
        sent = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        assert max(len(json.dumps(sent)), len(json.dumps(sent, ensure_ascii=False).encode())) <= MOST_BYTES
        found.append(facts(result))
        cursor = found[-1]["next_cursor"]
    return found


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("limit", [100, 7])
async def test_a_page_ends_before_it_is_too_large_and_the_next_goes_on_there(
    rig: Rig, full: list[str], era: str, limit: int
) -> None:
    async with rig.client(era) as client:
        found = await pages(client, limit)
    assert [row["task_id"] for page in found for row in page["tasks"]] == full
    assert all(1 <= len(page["tasks"]) <= limit for page in found)


async def test_the_resource_is_no_larger_and_says_how_to_get_at_the_rest(rig: Rig, full: list[str]) -> None:
    async with rig.client() as client:
        contents = (await client.read_resource(TASKS_URI)).contents
        assert len(json.dumps(contents[0].model_dump(mode="json"))) <= MOST_BYTES
        assert isinstance(contents[0], TextResourceContents)
        newest = json.loads(contents[0].text)
        cursor = newest["next_cursor"]
        assert newest.get("next_step") == (OLDER if cursor else None)
        rest = await pages(client, 100, cursor) if cursor else []
    assert [row["task_id"] for page in (newest, *rest) for row in page["tasks"]] == full


def test_a_row_tells_a_task_in_short() -> None:
    task = replace(made(7, "fog "), status=Status.FAILED, error=GenerationFailed("no").failure())
    row = task_row(task)
    assert tuple(row) == (*ROW, "cost_usd", "error_code")
    assert row["prompt"] == task.request.prompt[:SHOWN_OF_PROMPT]
    assert row["error_code"] == "generation_failed"
    assert tuple(task_row(TASK)) == ROW


def test_a_row_that_is_too_large_by_itself_is_a_page_of_its_own() -> None:
    page = task_page([made(1, "fog", "/x" * 40_000), made(2, "fog")], "")
    assert len(page["tasks"]) == 1
    assert page["next_cursor"]


def test_an_empty_page_ends_the_list() -> None:
    assert task_page([], "") == {"tasks": [], "next_cursor": ""}
