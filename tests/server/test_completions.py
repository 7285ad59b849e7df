"""What is offered while a person types: earlier tasks by id or prompt, and looks."""

from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import INVALID_PARAMS, Completion, PromptReference, ResourceTemplateReference

from luma_mcp.core.uris import PREVIEW_TEMPLATE, TASK_TEMPLATE, task_uri
from luma_mcp.sandbox.faults import Fault
from tests.support.rig import ERAS, SOURCE, Rig, structured

pytestmark = pytest.mark.anyio
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 40}
TEMPLATE = ResourceTemplateReference(type="ref/resource", uri=TASK_TEMPLATE)


@pytest.mark.parametrize("era", ERAS)
async def test_tasks_are_completed_by_id_or_prompt_newest_first(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        ids = [
            structured(await client.call_tool("modify_video", ASK | {"prompt": prompt}))["task_id"]
            for prompt in ("Morning FOG", "rain", "evening fog", "ÄRGER 100%_")
        ]
        for ref, name in ((TEMPLATE, "task_id"), (PromptReference(type="ref/prompt", name="edit_again"), "task_id")):
            for typed, expected in {
                "": [3, 2, 1, 0],
                " fog ": [2, 0],
                "RAIN": [1],
                "ärger": [3],
                "fog  evening": [2],
                "fog rain": [],
                f"rain {ids[1][:8]}": [1],
                "100%_": [3],
                "%": [3],
                "snow": [],
                ids[1][:13]: [1],
                ids[1].upper(): [1],
                task_uri(ids[2]): [2],
                "luma": [],
                f"luma://tasks/%{ord(ids[0][0]):x}{ids[0][1:]}": [0],
            }.items():
                found = (await client.complete(ref, {"name": name, "value": typed})).completion
                assert found.values == [ids[number] for number in expected], typed
                assert (found.total, found.has_more) == (len(expected), False)


async def test_a_source_is_completed_as_the_uri_of_an_earlier_task(rig: Rig) -> None:
    async with rig.client() as client:
        uri = task_uri(structured(await client.call_tool("modify_video", ASK))["task_id"])
        await client.call_tool("modify_video", ASK | {"prompt": "still running fog", "wait_seconds": 0})
        for typed in ("", "l", "luma://tasks/", uri[:20], "fog"):
            assert (await complete(client, "restyle", "source_video_url", typed)).values == [uri]
        for typed in ("https://example.com", "/home/me/clip.mp4"):
            assert (await complete(client, "restyle", "source_video_url", typed)).values == []


async def test_no_more_than_a_hundred_values_are_offered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig.client() as client:
        task = await rig.submit()
        tasks = [task] * 101

        async def matching(*_: object, **__: object) -> list[Any]:
            return tasks

        monkeypatch.setattr(rig.parts.ledger, "search_tasks", matching)
        found = (await client.complete(TEMPLATE, {"name": "task_id", "value": ""})).completion
        assert (len(found.values), found.total, found.has_more) == (100, None, True)
        tasks.pop()
        found = (await client.complete(TEMPLATE, {"name": "task_id", "value": ""})).completion
        assert (len(found.values), found.total, found.has_more) == (100, 100, False)


@pytest.mark.parametrize(
    ("prompt", "name", "typed", "expected"),
    [
        ("restyle", "style", "FILM", ["film noir, black and white", "1970s film stock"]),
        ("relight", "light", "candle", ["candlelight"]),
        ("change_weather", "weather", "snow", ["light snowfall", "snow-covered winter"]),
        ("restyle", "style", "nothing like it", []),
        ("restyle", "keep", "", []),
        ("edit_again", "change", "", []),
    ],
)
async def test_looks_are_suggested(rig: Rig, prompt: str, name: str, typed: str, expected: list[str]) -> None:
    async with rig.client() as client:
        assert (await complete(client, prompt, name, typed)).values == expected


async def test_what_cannot_be_completed_is_refused(rig: Rig) -> None:
    async with rig.client() as client:
        for prompt, name in (("animate", "style"), ("restyle", "speed")):
            with pytest.raises(MCPError) as refused:
                await complete(client, prompt, name, "")
            assert refused.value.error.code == INVALID_PARAMS
        for uri, name in (("luma://other/{task_id}", "task_id"), (TASK_TEMPLATE, "name")):
            with pytest.raises(MCPError) as refused:
                await client.complete(
                    ResourceTemplateReference(type="ref/resource", uri=uri), {"name": name, "value": ""}
                )
            assert refused.value.error.code == INVALID_PARAMS


async def complete(client: Client, prompt: str, name: str, value: str) -> Completion:
    ref = PromptReference(type="ref/prompt", name=prompt)
    return (await client.complete(ref, {"name": name, "value": value})).completion


async def test_a_failed_task_is_offered_to_be_looked_at_and_not_to_be_continued_from(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("fail"))
    async with rig.client() as client:
        failed = structured(await client.call_tool("modify_video", ASK))["task_id"]
        assert (await complete(client, "edit_again", "task_id", "")).values == []
        template = (await client.complete(TEMPLATE, {"name": "task_id", "value": "fog"})).completion
        assert template.values == [failed]


async def test_a_preview_is_completed_from_tasks_that_have_a_result(rig: Rig) -> None:
    ref = ResourceTemplateReference(type="ref/resource", uri=PREVIEW_TEMPLATE)
    async with rig.client() as client:
        done = structured(await client.call_tool("modify_video", ASK))["task_id"]
        await client.call_tool("modify_video", ASK | {"prompt": "running", "wait_seconds": 0})
        found = (await client.complete(ref, {"name": "task_id", "value": ""})).completion
    assert found.values == [done]
