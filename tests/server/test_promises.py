"""What the texts promise is what happens."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.sandbox.faults import Fault
from luma_mcp.server.server import instructions
from tests.support.rig import ERAS, SOURCE, Rig, facts, open_rig, sandbox_for, settings_for
from tests.support.surface import FORMS, PINNED, surface

pytestmark = pytest.mark.anyio
TOOLS = {tool["name"]: tool for tool in json.loads(PINNED.read_text(encoding="utf-8"))["tools"]}
FREE = "It costs nothing"
ASK = {"prompt": "fog", "source_video_url": SOURCE}


def calls(task_id: str) -> dict[str, dict[str, Any]]:
    """Give arguments for each tool that is said to cost nothing."""
    return {
        "get_task": {"task_id": task_id, "wait_seconds": 40},
        "list_tasks": {},
        "save_video": {"task_id": task_id},
        "check_account": {},
    }


async def test_the_tools_that_say_that_they_cost_nothing_submit_nothing(rig: Rig) -> None:
    async with rig.client() as client:
        task = facts(await client.call_tool("modify_video", ASK))
        for name, arguments in calls(task["task_id"]).items():
            assert FREE in TOOLS[name]["description"]
            assert not (await client.call_tool(name, arguments)).is_error
    assert rig.creates() == 1
    assert {name for name, tool in TOOLS.items() if FREE not in tool["description"]} == {"modify_video"}
    assert {"modify_video", *calls("")} == TOOLS.keys()
    assert "0.50 USD, charged only if it succeeds" in TOOLS["modify_video"]["description"]


async def test_the_list_asks_nobody(rig: Rig) -> None:
    assert "asks nobody" in TOOLS["list_tasks"]["description"]
    async with rig.client() as client:
        await client.call_tool("list_tasks", {})
    assert rig.sandbox.seen == []


@pytest.mark.parametrize("repeated_after", [1, 20])
async def test_a_repeated_call_joins_before_its_task_has_ended_and_afterwards(
    home: Path, inline_threads: None, repeated_after: float
) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=30)) as rig, rig.client() as client:
        await client.call_tool("modify_video", ASK | {"wait_seconds": 0})
        await anyio.sleep(repeated_after)
        assert facts(await client.call_tool("modify_video", ASK))["joined"]
        assert rig.charges() == 1
        assert facts(await client.call_tool("modify_video", ASK))["joined"]
        assert rig.charges() == 1


@pytest.mark.parametrize(("wait", "bound"), [(-1, 40), (0, 5), (7, 7)])
async def test_the_answer_comes_when_the_texts_say(home: Path, inline_threads: None, wait: int, bound: float) -> None:
    async with open_rig(home) as rig, rig.client() as client:
        rig.sandbox.faults.order(Fault("slow", seconds=100))
        begun = anyio.current_time()
        await client.call_tool("modify_video", ASK | {"wait_seconds": wait})
        assert anyio.current_time() - begun == pytest.approx(bound)


@pytest.mark.parametrize(("wait", "bound", "advised"), [(20, "20", 20), (300, "300", 300), (0, "5", 40)])
async def test_the_texts_name_the_wait_that_this_server_is_set_to(
    home: Path, inline_threads: None, wait: int, bound: str, advised: int
) -> None:
    async with open_rig(home, wait_seconds=wait, sandbox=sandbox_for(home, seconds=3600)) as rig:
        shown = await surface(rig.app, ERAS[0])
        told = [shown["instructions"], *(tool["description"] for tool in shown["tools"])]
        async with rig.client() as client:
            task = facts(await client.call_tool("modify_video", ASK))
            told.append(task["next_step"])
            told.append(str((await client.get_prompt("restyle", FORMS["restyle"])).messages[0].content))
    text = " ".join(told)
    assert f"about {bound} seconds" in text
    assert f"wait_seconds {advised}" in task["next_step"]
    assert f"after {advised} seconds" in text
    assert ("wait_seconds 40" in text) is (advised == 40)
    assert "about 40 seconds" not in text


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
    async with open_rig(home, sandbox=sandbox_for(home, seconds=3600)) as rig, rig.client() as client:
        rig.sandbox.faults.order(Fault(kind, route="read", times=1000))
        step = facts(await client.call_tool("modify_video", ASK))["next_step"]
    assert said in step
    assert unsaid not in step
    assert "call get_task" in step.replace("Call", "call")


def test_only_a_server_that_saves_on_the_users_disk_says_so(home: Path) -> None:
    disk = "saved on the user's disk"
    assert disk in instructions(settings_for(home))
    assert disk not in instructions(settings_for(home, save="never"))
    assert disk not in instructions(settings_for(home, transport="http", save="auto"))
