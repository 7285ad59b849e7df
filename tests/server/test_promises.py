"""What the texts promise is what happens."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.sandbox.faults import Fault
from tests.support.rig import ERAS, SOURCE, Rig, open_rig, sandbox_for, structured
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
        "preview_video": {"task_id": task_id},
        "check_account": {},
    }


async def test_the_tools_that_say_that_they_cost_nothing_submit_nothing(rig: Rig) -> None:
    async with rig.client() as client:
        task = structured(await client.call_tool("modify_video", ASK))
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
    assert rig.sandbox.recorded_requests == []


@pytest.mark.parametrize("repeated_after", [1, 20])
async def test_a_repeated_call_joins_before_its_task_has_ended_and_afterwards(
    home: Path, inline_threads: None, repeated_after: float
) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=30)) as rig, rig.client() as client:
        await client.call_tool("modify_video", ASK | {"wait_seconds": 0})
        await anyio.sleep(repeated_after)
        assert structured(await client.call_tool("modify_video", ASK))["joined"]
        assert rig.task_count() == 1
        assert structured(await client.call_tool("modify_video", ASK))["joined"]
        assert rig.task_count() == 1


@pytest.mark.parametrize(("wait", "bound"), [(-1, 40), (0, 5), (7, 7)])
async def test_the_answer_comes_when_the_texts_say(home: Path, inline_threads: None, wait: int, bound: float) -> None:
    async with open_rig(home) as rig, rig.client() as client:
        rig.sandbox.faults.inject(Fault("slow", seconds=100))
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
            task = structured(await client.call_tool("modify_video", ASK))
            told.append(task["next_step"])
            told.append(str((await client.get_prompt("restyle", FORMS["restyle"])).messages[0].content))
    text = " ".join(told)
    assert f"about {bound} seconds" in text
    assert f"wait_seconds {advised}" in task["next_step"]
    assert f"after {advised} seconds" in text
    assert ("wait_seconds 40" in text) is (advised == 40)
    assert "about 40 seconds" not in text
