"""The whole surface that hosts and models see, as one JSON document.

`tests/support/surface.json` is pinned: a change there is a change for every host and saved prompt. After a wanted one,
write it anew with `python -m tests.support.surface`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.extension import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp_types import DiscoverRequest, DiscoverResult
from pydantic import BaseModel

from luma_mcp.app.app import App, open_app
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.server.prompts import PromptInput, luma_prompts
from luma_mcp.server.server import build_server
from tests.support.rig import ERAS, SOURCE, settings_for

TOOLS = ("modify_video", "get_task", "list_tasks", "save_video", "preview_video", "check_account")
FORMS = {
    "restyle": {"source_video_url": SOURCE, "style": "film noir"},
    "relight": {"source_video_url": SOURCE, "light": "moonlit night", "keep": "the logo"},
    "change_weather": {"source_video_url": SOURCE, "weather": "heavy rain"},
    "compare_takes": {"source_video_url": SOURCE, "prompts": "in fog\nin snow | at night"},
    "edit_again": {"task_id": "earlier-task", "change": "more birds"},
}
EARLIER = Task(
    key="",
    caller="",
    request=VideoRequest(prompt="fog", source=SOURCE),
    created_at=0,
    updated_at=0,
    task_id="earlier-task",
    status=Status.PROCESSING,
)
PINNED = Path(__file__).with_name("surface.json")


async def surface(app: App, era: str) -> dict[str, Any]:
    """Ask a server for everything that it shows to a client of one era before there are tasks."""
    async with Client(build_server(app), mode=era) as client:
        introduction: BaseModel | None = client.session.initialize_result
        if introduction is None:
            introduction = await client.session.send_request(DiscoverRequest(), DiscoverResult)
        told = plain(introduction)
        return {
            "instructions": told["instructions"],
            "capabilities": told["capabilities"],
            "tools": [plain(tool) for tool in (await client.list_tools()).tools],
            "pageTools": await page_tools(app, era),
            "resources": [plain(resource) for resource in (await client.list_resources()).resources],
            "resourceTemplates": [
                plain(template) for template in (await client.list_resource_templates()).resource_templates
            ],
            "prompts": [plain(prompt) for prompt in (await client.list_prompts()).prompts],
        }


async def page_tools(app: App, era: str) -> list[dict[str, Any]]:
    """List the tools that only clients see which show pages in the chat."""
    shows_pages = advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})
    async with Client(build_server(app), mode=era, extensions=[shows_pages]) as client:
        return [plain(tool) for tool in (await client.list_tools()).tools if tool.name not in TOOLS]


async def surfaces(app: App) -> dict[str, Any]:
    """Give the surface of both eras, which differ at most in their capabilities, and each prompt filled in."""
    legacy, modern = [await surface(app, era) for era in ERAS]
    texts = {
        name: prompt.render(PromptInput(FORMS[name], sandbox=False, earlier=EARLIER))
        for name, prompt in luma_prompts().items()
    }
    capabilities = {era: shown.pop("capabilities") for era, shown in zip(ERAS, (legacy, modern), strict=True)}
    assert legacy == modern
    return {"capabilities": capabilities, **legacy, "promptTexts": texts}


def plain(shown: BaseModel) -> dict[str, Any]:
    return shown.model_dump(mode="json", by_alias=True, exclude_none=True)


async def write() -> None:
    with tempfile.TemporaryDirectory() as home:
        async with open_app(settings_for(Path(home))) as app:
            PINNED.write_text(json.dumps(await surfaces(app), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    anyio.run(write)
