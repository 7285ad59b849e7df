"""The page in a chat: told to hosts that show pages, harmless to all others, in both eras of the protocol."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mcp.client.extension import ClientExtension, advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp_types import TextResourceContents

from luma_mcp.sandbox.requests import bundled_clip
from luma_mcp.server import tools
from luma_mcp.server.apps import PAGE_URI, PIECE_BYTES
from luma_mcp.viewer.page import page_html
from tests.support.rig import ERAS, SOURCE, Rig, result_text, structured
from tests.support.surface import TOOLS

pytestmark = pytest.mark.anyio
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}
READER = "read_video_bytes"
VIDEO = bundled_clip().read_bytes()


def shows_pages(*mime_types: str) -> Sequence[ClientExtension]:
    return [advertise(EXTENSION_ID, {"mimeTypes": [*mime_types]})]


@pytest.mark.parametrize("era", ERAS)
async def test_the_tool_of_the_page_is_listed_for_hosts_that_show_pages_alone(rig: Rig, era: str) -> None:
    listed = {}
    for name, extensions in {"plain": (), "other": shows_pages("text/x"), "apps": shows_pages(APP_MIME_TYPE)}.items():
        async with rig.client(era, extensions=extensions) as client:
            listed[name] = [tool.name for tool in (await client.list_tools()).tools]
    assert listed == {"plain": [*TOOLS], "other": [*TOOLS], "apps": [*TOOLS, READER]}


@pytest.mark.parametrize("era", ERAS)
async def test_only_the_tool_that_makes_a_task_has_a_page_and_the_page_may_not_call_it(rig: Rig, era: str) -> None:
    async with rig.client(era, extensions=shows_pages(APP_MIME_TYPE)) as client:
        told = {tool.name: tool.meta for tool in (await client.list_tools()).tools if tool.meta}
    modify = {"resourceUri": PAGE_URI, "visibility": ["model"]}
    assert told == {
        "modify_video": {"ui": modify, "ui/resourceUri": PAGE_URI},
        READER: {"ui": {"visibility": ["app"]}},
    }


@pytest.mark.parametrize("era", ERAS)
async def test_the_page_is_read_as_the_specification_wants_it(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        (page,) = (await client.read_resource(PAGE_URI)).contents
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
    assert isinstance(page, TextResourceContents)
    assert page.mime_type == "text/html;profile=mcp-app"
    assert page.text == page_html("app")
    csp = {"resourceDomains": ["https://*.runapi.ai"], "connectDomains": []}
    assert page.meta == {"ui": {"csp": csp, "prefersBorder": True}}
    assert PAGE_URI not in listed  # people have no use for it in a picker


@pytest.mark.parametrize("era", ERAS)
async def test_a_saved_video_comes_in_pieces_whose_base64_can_be_joined(
    rig: Rig, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PIECE_BYTES <= 500_000
    assert PIECE_BYTES % 3 == 0
    monkeypatch.setattr(tools, "PIECE_BYTES", 3000)
    pieces: list[dict[str, Any]] = [{"offset": 0, "byte_count": 0, "has_more": True}]
    told = ""
    async with rig.client(era, extensions=shows_pages(APP_MIME_TYPE)) as client:
        task_id = structured(await client.call_tool("modify_video", ASK))["task_id"]
        await client.list_tools()  # so that the client checks answers against their schema
        while pieces[-1]["has_more"]:
            asked = {"task_id": task_id, "offset": pieces[-1]["offset"] + pieces[-1]["byte_count"]}
            answer = await client.call_tool(READER, asked)
            pieces.append(structured(answer))
            told = result_text(answer)
    assert base64.b64decode("".join(piece["bytes"] for piece in pieces[1:])) == VIDEO
    assert {piece["total_bytes"] for piece in pieces[1:]} == {len(VIDEO)}
    assert told == f"Bytes {pieces[-1]['offset']} to {len(VIDEO)} of {len(VIDEO)}."


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"task_id": "unknown"}, "task_not_found"),
        ({"which": "source"}, "source_not_found"),
        ({"which": "../../etc/passwd"}, "invalid_request"),
        ({"offset": 10**9}, "invalid_request"),
        ({"offset": -1}, "invalid_request"),
    ],
)
async def test_what_cannot_be_read_is_an_error_in_our_form(rig: Rig, asked: dict[str, Any], code: str) -> None:
    async with rig.client() as client:
        task_id = structured(await client.call_tool("modify_video", ASK))["task_id"]
        answer = await client.call_tool(READER, {"task_id": task_id} | asked)
    assert answer.is_error
    assert structured(answer)["error"]["code"] == code


async def test_a_model_that_calls_an_unknown_tool_is_not_offered_that_of_the_page(rig: Rig) -> None:
    async with rig.client() as client:
        answer = await client.call_tool("make_coffee", {})
    assert READER not in result_text(answer)


async def test_a_local_source_comes_in_pieces_too(home: Path, rig: Rig) -> None:
    clip = home / "out" / "clip.mp4"
    clip.parent.mkdir(exist_ok=True)
    clip.write_bytes(VIDEO)
    async with rig.client() as client:
        task_id = structured(await client.call_tool("modify_video", ASK | {"source_video_url": str(clip)}))["task_id"]
        answer = structured(await client.call_tool(READER, {"task_id": task_id, "which": "source"}))
    assert base64.b64decode(answer["bytes"]) == VIDEO
    assert not answer["has_more"]
