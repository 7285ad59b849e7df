"""What a tool call is answered with: the same as text and as structure, and nothing beside."""

import json

import pytest
from mcp_types import TextContent

from tests.support.rig import ERAS, SOURCE, Rig, structured

pytestmark = pytest.mark.anyio
PROMPT = 'a "狐" & <fog>\nnext line'


@pytest.mark.parametrize("era", ERAS)
async def test_a_result_says_the_same_as_text_and_as_structure_and_has_no_link(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        made = await client.call_tool("modify_video", {"prompt": PROMPT, "source_video_url": SOURCE})
        asked = {"task_id": structured(made)["task_id"]}
        others = [
            await client.call_tool("get_task", asked),
            await client.call_tool("save_video", asked),
            await client.call_tool("list_tasks", {}),
            await client.call_tool("check_account", {}),
            await client.call_tool("get_task", {"task_id": "unknown"}),
        ]
    assert (structured(made)["status"], structured(made)["prompt"]) == ("completed", PROMPT)
    for result in (made, *others):
        (text,) = result.content
        assert isinstance(text, TextContent)
        assert (text.annotations, text.meta) == (None, None)
        assert json.loads(text.text) == result.structured_content
