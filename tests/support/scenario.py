"""What a client does with live tasks, step by step; `clients/scenario.mjs` does the same in TypeScript."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import INVALID_PARAMS, ResourceTemplateReference, TextContent, TextResourceContents

from luma_mcp.core.uris import TASK_TEMPLATE, TASKS_URI, task_uri
from tests.support.change_listener import LIST, ChangeRecorder, listening_to_changes, subscribe
from tests.support.rig import ERAS, SOURCE, result_text, structured

ASK: dict[str, Any] = {"prompt": "a foggy autumn morning", "source_video_url": SOURCE, "wait_seconds": 0}


async def live_tasks(
    client: Client, heard: ChangeRecorder, era: str, finish: Callable[[], None] = lambda: None
) -> None:
    """Follow one task from nothing to its end, through resources, notifications, completions and prompts.

    `finish` ends the task, if it does not end by itself.
    """
    assert [resource.uri for resource in (await client.list_resources()).resources] == [TASKS_URI]
    async with listening_to_changes(client, heard, era, [TASKS_URI]):
        made = structured(await client.call_tool("modify_video", ASK))
        uri = task_uri(made["task_id"])
        async with listening_to_changes(client, heard, era, [uri], the_list=False):
            await heard.expect(TASKS_URI, LIST)
            finish()
            done = await client.call_tool("get_task", {"task_id": made["task_id"], "wait_seconds": 40})
            assert structured(done)["status"] == "completed"
            await heard.expect(uri, TASKS_URI, LIST)
    assert json.loads(result_text(done)) == structured(done)
    await look_at_a_finished_task(client, uri, structured(done))
    await look_for_it_again(client, made["task_id"])
    await make_mistakes(client, era)


async def look_at_a_finished_task(client: Client, uri: str, task: dict[str, Any]) -> None:
    """Read the task as a resource, and find it in the list."""
    contents = (await client.read_resource(uri)).contents[0]
    assert isinstance(contents, TextResourceContents)
    assert json.loads(contents.text) == task
    newest = (await client.list_resources()).resources[1]
    assert (newest.uri, newest.name) == (uri, f"task-{task['task_id']}")
    assert (newest.title or "").startswith(f"{ASK['prompt']} (completed, ")


async def look_for_it_again(client: Client, task_id: str) -> None:
    """Find the task by words of its prompt, and continue from it."""
    template = ResourceTemplateReference(type="ref/resource", uri=TASK_TEMPLATE)
    found = await client.complete(template, {"name": "task_id", "value": "FOGGY"})
    assert found.completion.values == [task_id]
    assert "edit_again" in {prompt.name for prompt in (await client.list_prompts()).prompts}
    message = (await client.get_prompt("edit_again", {"task_id": task_id, "change": "snow"})).messages[0]
    assert isinstance(message.content, TextContent)
    assert f'source_video_url "{task_uri(task_id)}"' in message.content.text


async def make_mistakes(client: Client, era: str) -> None:
    """Ask for what there is not."""
    mistakes = [
        client.read_resource("luma://tasks/unknown"),
        client.read_resource("luma://tasks/a/b"),
        client.get_prompt("restyle", {}),
        *([subscribe(client, "https://example.com")] if era == ERAS[0] else []),
    ]
    for mistake in mistakes:
        with pytest.raises(MCPError) as refused:
            await mistake
        assert refused.value.error.code == INVALID_PARAMS
