"""What callers are told: facts and the next step of a task in each state, and lists that fit into every host."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import TextResourceContents

from luma_mcp.app.app import Outcome
from luma_mcp.app.tickets import VideoLink
from luma_mcp.core.errors import DownloadFailed, GenerationFailed, VideoUrlMissing
from luma_mcp.core.models import SANDBOX_ORIGIN, Limits, Status, Task, VideoRequest, new_key
from luma_mcp.core.uris import TASKS_URI
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import ContractVariant
from luma_mcp.server.resources import OLDER_TASKS_STEP
from luma_mcp.server.results import (
    PROMPT_PREVIEW_LENGTH,
    format_timestamp,
    is_failure,
    task_object,
    task_page,
    task_row,
    task_step,
)
from tests.support.model_texts import TASK
from tests.support.rig import EPOCH, ERAS, SOURCE, Rig, open_rig, sandbox_for, structured

pytestmark = pytest.mark.anyio
MOST_BYTES = 40_000
PROMPTS = {
    "plain": "a foggy autumn morning, the people unchanged ",
    "emoji": "\U0001f3ac",
    "escapes": '"\\\n\x01',
    "tiny": "f",
}
ROW = ("task_id", "status", "prompt", "take", "created_at", "video_path")
VIDEO = ("https://a.example/v.mp4",)
DRAFT = replace(TASK, task_id="", wants_file=True)
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}


def test_a_link_of_this_servers_takes_the_place_of_dead_ones_until_it_expires_itself() -> None:
    task = replace(TASK, status=Status.COMPLETED, video_urls=VIDEO, video_path="/out/fog.mp4", finished_at=EPOCH)
    link = VideoLink("https://luma.example.com/videos/ticket", EPOCH + 9_000_000)
    told = task_object(Outcome(task, video_link=link), EPOCH + 8_999_000, remote=True)
    assert told["video_urls"] == [link.url]
    assert told["expires_at"] == format_timestamp(link.expires_at)
    assert "first link in video_urls" in told["next_step"]
    assert "sandbox" not in told["next_step"]
    played = task_object(Outcome(replace(task, origin=SANDBOX_ORIGIN), video_link=link), EPOCH, remote=True)
    assert played["video_urls"] == [link.url, *VIDEO]
    assert "nothing was charged" in played["next_step"]


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
        await rig.parts.ledger.join_or_add(task, task.key, Limits())
    return [task.task_id for task in sorted(tasks, key=lambda task: (task.created_at, task.key), reverse=True)]


async def pages(client: Client, limit: int, cursor: str = "") -> list[dict[str, Any]]:
    """Read all pages, and look how large each is on the wire."""
    found: list[dict[str, Any]] = []
    while cursor or not found:
        result = await client.call_tool("list_tasks", {"limit": limit, "cursor": cursor})
        assert not result.is_error
        sent = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        assert max(len(json.dumps(sent)), len(json.dumps(sent, ensure_ascii=False).encode())) <= MOST_BYTES
        found.append(structured(result))
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
        assert newest.get("next_step") == (OLDER_TASKS_STEP if cursor else None)
        rest = await pages(client, 100, cursor) if cursor else []
    assert [row["task_id"] for page in (newest, *rest) for row in page["tasks"]] == full


def test_a_row_tells_a_task_in_short() -> None:
    task = replace(made(7, "fog "), status=Status.FAILED, error=GenerationFailed("no").failure())
    row = task_row(task)
    assert tuple(row) == (*ROW, "cost_usd", "error_code")
    assert row["prompt"] == task.request.prompt[:PROMPT_PREVIEW_LENGTH]
    assert row["error_code"] == "generation_failed"
    assert tuple(task_row(TASK)) == ROW


def test_a_row_that_is_too_large_by_itself_is_a_page_of_its_own() -> None:
    page = task_page([made(1, "fog", "/x" * 40_000), made(2, "fog")], "")
    assert len(page["tasks"]) == 1
    assert page["next_cursor"]


def test_an_empty_page_ends_the_list() -> None:
    assert task_page([], "") == {"tasks": [], "next_cursor": ""}


@pytest.mark.parametrize(
    ("changes", "failed", "step"),
    [
        ({}, False, "same modify_video call"),
        ({"status": Status.PENDING, "task_id": "id"}, False, 'get_task with task_id "id"'),
        ({"status": Status.COMPLETED, "video_urls": VIDEO}, False, "being saved"),
        ({"status": Status.COMPLETED, "video_urls": VIDEO, "wants_file": False}, False, "video_urls"),
        ({"status": Status.COMPLETED, "video_urls": VIDEO, "video_path": "/v.mp4"}, False, "/v.mp4"),
        (
            {"status": Status.COMPLETED, "video_urls": VIDEO, "error": DownloadFailed("x").failure()},
            True,
            "works until expires_at",
        ),
        (
            {"status": Status.COMPLETED, "charged": "yes", "error": VideoUrlMissing().failure()},
            True,
            "save_video later",
        ),
        ({"status": Status.FAILED, "error": GenerationFailed("x").failure()}, True, "Change the prompt"),
        ({"status": Status.FAILED}, False, "Nothing more"),
        ({"status": Status.UNCONFIRMED, "error": GenerationFailed("x").failure()}, True, "Change"),
    ],
)
def test_every_state_says_whether_it_is_a_failure_and_what_to_do_next(
    changes: dict[str, Any], failed: bool, step: str
) -> None:
    task = replace(DRAFT, **changes)
    assert (is_failure(task, task.created_at), step in task_step(task, task.created_at)) == (failed, True)


def test_what_is_not_known_is_absent_from_the_task_object() -> None:
    fresh = dict(task_object(Outcome(DRAFT), EPOCH + 1.26))
    assert fresh["elapsed_seconds"] == 1.3
    assert fresh["created_at"] == "2026-09-21T14:13:20.000Z"
    assert not fresh.keys() & {"finished_at", "expires_at", "cost_usd", "error"}
    done = replace(DRAFT, status=Status.COMPLETED, finished_at=EPOCH + 5, cost_usd=0.5, video_urls=VIDEO)
    told = dict(task_object(Outcome(done, joined=True, next_take=2), EPOCH + 60))
    assert (told["elapsed_seconds"], told["cost_usd"], told["joined"]) == (5, 0.5, True)
    assert told["expires_at"] == "2026-09-28T14:13:25.000Z"


@pytest.mark.parametrize(("own_clip", "what"), [(False, "a stand-in"), (True, "the user's own clip, unchanged")])
def test_a_video_of_the_sandbox_is_said_to_be_a_stand_in_or_the_users_own(*, own_clip: bool, what: str) -> None:
    done = replace(DRAFT, origin=SANDBOX_ORIGIN, status=Status.COMPLETED, video_path="/out/fog.mp4")
    told = task_object(Outcome(done, own_clip=own_clip), EPOCH)["next_step"]
    assert told.endswith(f"nothing was charged (cost_usd is simulated), and the video is {what}.")


async def test_a_call_that_sends_its_task_once_more_does_not_say_that_it_cost_nothing(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("drop_before", times=100))
    await rig.settle(await rig.submit())
    rig.sandbox.faults.clear()
    async with rig.client() as client:
        sends = structured(await client.call_tool("modify_video", ASK))
        again = structured(await client.call_tool("modify_video", ASK))
    assert (sends["joined"], again["joined"], rig.task_count()) == (True, True, 1)
    assert "This call adds no cost of its own" in sends["next_step"]
    assert "This call cost nothing" in again["next_step"]


async def test_a_free_failure_offers_no_take(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("fail", text="no"))
    await rig.submit(wait=0)
    joined = await rig.ask()
    assert (joined.joined, joined.task.status, joined.task.charged) == (True, Status.FAILED, "no")
    async with rig.client() as client:
        told = structured(await client.call_tool("get_task", {"task_id": joined.task.task_id}))
    assert "take 2" not in told["next_step"]


@pytest.mark.parametrize("charged", ["unknown", "yes"])
async def test_every_tool_says_the_same_of_the_charge_of_a_failure(rig: Rig, charged: str) -> None:
    ended = {"unknown": '{"status": "expired"}', "yes": '{"status": "failed", "usage": {"cost": 0.5}}'}[charged]
    rig.sandbox.faults.inject(Fault("answer", route="read", text=ended))
    task = await rig.submit()
    async with rig.client() as client:
        for name in ("get_task", "save_video"):
            told = await client.call_tool(name, {"task_id": task.task_id})
            assert told.is_error
            assert structured(told)["error"]["charged"] == charged
            assert structured(told).get("cost_usd") == (0.5 if charged == "yes" else None)
        account = structured(await client.call_tool("check_account", {}))
    assert account["server_spent_total_usd"] == (0.5 if charged == "yes" else 0.0)


@pytest.mark.parametrize(
    ("kind", "said", "unsaid"),
    [
        ("404", "does not know this task at the moment", "goes on at RunAPI"),
        ("401", "RUNAPI_API_KEY", "repeat"),
        ("402", "until done is true", "repeat the call"),
        ("503", "until done is true", "repeat the call"),
    ],
)
async def test_trouble_with_a_running_task_asks_for_no_other_submission(
    home: Path, inline_threads: None, kind: Any, said: str, unsaid: str
) -> None:
    sandbox = sandbox_for(home, seconds=3600, shape=ContractVariant(tells_seconds=False))
    async with open_rig(home, sandbox=sandbox) as rig, rig.client() as client:
        rig.sandbox.faults.inject(Fault(kind, route="read", times=1000))
        step = structured(await client.call_tool("modify_video", ASK))["next_step"]
    assert said in step
    assert unsaid not in step
    assert "call get_task" in step.replace("Call", "call")
