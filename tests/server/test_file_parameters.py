"""A video attached in ChatGPT: an argument for OpenAI's hosts over HTTP, and a clip uploaded within the call."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import Tool

from luma_mcp.app.account import PRICE_WAIT_SECONDS
from luma_mcp.core.models import Status
from luma_mcp.core.settings import DEFAULT_WAIT_SECONDS
from luma_mcp.core.uris import clip_digest_of
from luma_mcp.media.attachments import FETCH_SECONDS
from luma_mcp.media.uploads import BRING_SECONDS
from luma_mcp.server.file_parameters import ATTACHED
from tests.support.attached_files import (
    CHATGPT,
    CLIP,
    LINK,
    AttachedFiles,
    Handler,
    attached,
    body,
    left_behind,
    linked_files,
)
from tests.support.http_server import PAIRS, Hosted, hosted
from tests.support.persons import NO, YES, Person, said
from tests.support.rig import ERAS, SOURCE, open_rig, structured
from tests.support.surface import PINNED

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
PROPERTIES = {"download_url", "file_id", "mime_type", "file_name"}


@asynccontextmanager
async def chatgpt(
    home: Path, era: str = ERAS[0], *, asks: Person | None = None, **more: Any
) -> AsyncGenerator[tuple[Client, Hosted, AttachedFiles]]:
    """Serve over HTTP, and connect as ChatGPT does."""
    async with (
        hosted(home, runs=True, **more) as server,
        linked_files(server.parts) as files,
        server.client("/mcp", era, client_info=CHATGPT, elicitation_callback=asks) as client,
    ):
        yield client, server, files


def puts(server: Hosted) -> int:
    return sum(seen.method == "PUT" for seen in server.sandbox.recorded_requests)


async def modify_tool(client: Client) -> Tool:
    return next(tool for tool in (await client.list_tools()).tools if tool.name == "modify_video")


@pytest.mark.parametrize("era", ERAS)
async def test_chatgpt_is_shown_one_object_beside_the_address(home: Path, era: str) -> None:
    async with chatgpt(home, era) as (client, _, _):
        tool = await modify_tool(client)
    taken = tool.input_schema["properties"]
    assert tool.meta is not None
    assert tool.meta["openai/fileParams"] == [ATTACHED]
    assert tool.meta["ui/resourceUri"]
    assert set(taken[ATTACHED]["properties"]) == PROPERTIES
    assert taken[ATTACHED]["required"] == ["download_url", "file_id"]
    assert tool.input_schema["required"] == ["prompt"]
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))["tools"][0]["inputSchema"]["properties"]
    assert [name for name in taken if name != ATTACHED] == list(pinned)


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("openai-mcp", True),
        ("openai-mcp (Codex)", True),
        ("openai-mcp (a product to come)", True),
        ("openai-mcp-proxy", False),
        ("not openai-mcp (ChatGPT)", False),
        ("ChatGPT", False),
    ],
)
async def test_hosts_of_openai_are_known_whichever_product_their_name_tells(home: Path, name: str, sees: bool) -> None:
    about = CHATGPT.model_copy(update={"name": name})
    async with hosted(home) as server, server.client("/mcp", ERAS[0], client_info=about) as client:
        assert (ATTACHED in (await modify_tool(client)).input_schema["properties"]) is sees


@pytest.mark.parametrize("era", ERAS)
async def test_no_other_host_sees_or_is_served_by_that_argument(home: Path, era: str) -> None:
    async with hosted(home) as server, server.client("/mcp", era) as client:
        tool = await modify_tool(client)
        answer = structured(await client.call_tool("modify_video", {"prompt": "fog", ATTACHED: attached()}))
        assert "needs the argument source_video_url" in answer["error"]["message"]
        whole = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 0, ATTACHED: attached()}
        assert structured(await client.call_tool("modify_video", whole))["ignored_arguments"] == [ATTACHED]
    assert ATTACHED not in tool.input_schema["properties"]
    assert "openai" not in tool.model_dump_json()


async def test_on_stdio_not_even_chatgpt_sees_it(home: Path) -> None:
    async with open_rig(home) as rig, rig.client(client_info=CHATGPT) as client:
        assert "openai" not in (await modify_tool(client)).model_dump_json()


@pytest.mark.parametrize("era", ERAS)
async def test_an_attached_video_is_uploaded_within_the_call_and_kept_nowhere(home: Path, era: str) -> None:
    async with chatgpt(home, era) as (client, server, files):
        asked = {"prompt": "fog", ATTACHED: attached(), "wait_seconds": 0}
        task = structured(await client.call_tool("modify_video", asked))
        assert task["task_id"]
        assert (puts(server), server.task_count(), left_behind(server.parts)) == (1, 1, [])
        assert clip_digest_of(task["source_video_url"]).endswith(f":{len(CLIP)}")
        assert (task["source_size_bytes"], task["source_duration_seconds"]) == (len(CLIP), 4.0)
        done = structured(await client.call_tool("get_task", {"task_id": task["task_id"], "wait_seconds": 30}))
        assert done["status"] == Status.COMPLETED
        assert files.asked == [LINK]
        assert "secret" not in json.dumps([task, done])
        kept = [path for path in home.rglob("*") if path.is_file() and path.suffix == ".mp4"]
        assert not [path for path in kept if "attached" in str(path)]


async def test_the_same_video_by_another_link_is_the_same_request_even_after_months(home: Path) -> None:
    async with chatgpt(home) as (client, server, files):
        first = {"prompt": "fog", ATTACHED: attached(), "wait_seconds": 30}
        task = structured(await client.call_tool("modify_video", first))
        again = attached(LINK + "&other", file_id="file_2", file_name="other.mp4")
        second = structured(await client.call_tool("modify_video", {"prompt": "fog", ATTACHED: again}))
        by_name = structured(
            await client.call_tool("modify_video", {"prompt": "fog", "source_video_url": task["source_video_url"]})
        )
        assert (second["task_id"], by_name["task_id"]) == (task["task_id"],) * 2
        assert second["joined"]
        assert (puts(server), server.task_count(), len(files.asked)) == (1, 1, 2)
        other = structured(await client.call_tool("modify_video", {"prompt": "snow", ATTACHED: again}))
        assert other["task_id"] != task["task_id"]
        assert (puts(server), server.task_count()) == (1, 2), "the upload is still there"


async def test_an_attached_video_cannot_be_named_by_those_who_have_not_attached_it(home: Path) -> None:
    async with (
        hosted(home, runs=True, auth_tokens=PAIRS) as server,
        linked_files(server.parts),
        server.client("/mcp", ERAS[1], "ann", client_info=CHATGPT) as ann,
        server.client("/mcp", ERAS[1], "bob", client_info=CHATGPT) as bob,
    ):
        asked = {"prompt": "fog", ATTACHED: attached(), "wait_seconds": 0}
        source = structured(await ann.call_tool("modify_video", asked))["source_video_url"]
        error = structured(await bob.call_tool("modify_video", {"prompt": "fog", "source_video_url": source}))["error"]
        assert (error["code"], error["charged"]) == ("source_not_found", "no")
        assert server.task_count() == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs the clip"),
        ({ATTACHED: None}, "needs the clip"),
        ({ATTACHED: attached(), "source_video_url": SOURCE}, "not both"),
        ({ATTACHED: LINK}, "must be an object"),
        ({ATTACHED: [attached(), attached()]}, "must be an object"),
        ({ATTACHED: {"file_id": "file_1"}}, "one attached video"),
        ({ATTACHED: attached(download_url=[LINK, LINK])}, "one attached video"),
        ({ATTACHED: attached(file_id="")}, "one attached video"),
        ({ATTACHED: attached(file_id={"a": 1})}, "one attached video"),
        ({ATTACHED: attached("https://a.example/ x")}, "one attached video"),
        ({ATTACHED: attached("https://127.0.0.1/clip.mp4")}, "is private"),
        ({ATTACHED: attached("no address")}, "one attached video"),
        ({ATTACHED: attached("no-address")}, "has the scheme"),
        ({ATTACHED: attached(), "wait_seconds": 3601}, "wait_seconds must be from 0"),
        ({ATTACHED: attached(), "wait_seconds": -2}, "wait_seconds must be from 0"),
    ],
)
async def test_junk_in_place_of_a_video_is_refused_before_anything_is_asked(
    home: Path, arguments: dict[str, Any], words: str
) -> None:
    async with chatgpt(home) as (client, server, files):
        answer = await client.call_tool("modify_video", {"prompt": "fog", **arguments})
        error = structured(answer)["error"]
        assert words in error["message"]
        assert (answer.is_error, error["charged"], files.asked, server.task_count()) == (True, "no", [], 0)


async def test_what_is_no_whole_video_costs_nothing_and_leaves_nothing(home: Path) -> None:
    async with chatgpt(home) as (client, server, files):
        for content in (b"<html>" * 99, CLIP[: len(CLIP) // 2], b""):
            files.answer = answering(content)
            error = structured(await client.call_tool("modify_video", {"prompt": "fog", ATTACHED: attached()}))["error"]
            assert (error["code"], error["charged"]) == ("source_not_found", "no")
        assert (puts(server), server.task_count(), left_behind(server.parts)) == (0, 0, [])


def test_a_call_that_fetches_prices_and_uploads_as_slowly_as_it_may_still_ends_in_time() -> None:
    assert FETCH_SECONDS + PRICE_WAIT_SECONDS + BRING_SECONDS <= DEFAULT_WAIT_SECONDS


def answering(content: bytes) -> Handler:
    return lambda _: body(content)


async def test_a_repetition_needs_no_key_and_a_new_request_without_one_is_not_uploaded(home: Path) -> None:
    async with chatgpt(home, api_key="") as (client, server, _):
        error = structured(await client.call_tool("modify_video", {"prompt": "fog", ATTACHED: attached()}))["error"]
        assert error["code"] == "missing_api_key"
        assert (server.sandbox.recorded_requests, left_behind(server.parts)) == ([], [])


async def test_what_the_limits_do_not_allow_is_not_uploaded(home: Path) -> None:
    async with chatgpt(home, daily_limit=1) as (client, server, _):
        await client.call_tool("modify_video", {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 0})
        error = structured(await client.call_tool("modify_video", {"prompt": "fog", ATTACHED: attached()}))["error"]
        assert error["code"] == "limit_reached"
        assert (puts(server), server.task_count(), left_behind(server.parts)) == (0, 1, [])


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("answer", "sent"), [(YES, 1), (NO, 0)])
async def test_an_attached_video_is_uploaded_after_a_persons_yes_alone(
    home: Path, era: str, answer: dict[str, Any], sent: int
) -> None:
    uploaded: list[int] = []

    async def look() -> None:
        uploaded.append(puts(server))

    person = Person(said(answer), meanwhile=look)
    async with chatgpt(home, era, confirm="ask", asks=person) as (client, server, files):
        tool = await modify_tool(client)
        asked = {"prompt": "fog", ATTACHED: attached(), "wait_seconds": 0}
        told = structured(await client.call_tool("modify_video", asked))
        assert ("error" in told, uploaded) == (not sent, [0])
        assert (puts(server), server.task_count(), left_behind(server.parts)) == (sent, sent, [])
        assert len(files.asked) == (1 if era == ERAS[0] else 2), "between calls nothing is kept"
    (words,) = [line for line in person.questions[0].splitlines() if line.startswith("Clip: ")]
    assert re.fullmatch(r"Clip: the attached video \(\d+\.\d MB, \d+\.\d s\)", words)
    assert tool.meta is not None
    assert tool.meta["anthropic/requiresUserInteraction"] is True


async def test_a_yes_to_one_attached_video_is_none_to_another_behind_the_same_link(home: Path) -> None:
    async def exchange() -> None:
        files.answer = answering(CLIP + b"\0\0\0\x08free")

    person = Person(meanwhile=exchange)
    async with chatgpt(home, ERAS[1], confirm="ask", asks=person) as (client, server, files):
        answer = await client.call_tool("modify_video", {"prompt": "fog", ATTACHED: attached()})
        assert structured(answer)["error"]["code"] == "confirmation_declined"
        assert (puts(server), server.task_count(), len(person.questions)) == (0, 0, 1)


async def test_two_calls_with_the_same_video_at_once_upload_it_once(home: Path) -> None:
    async with chatgpt(home) as (client, server, _), anyio.create_task_group() as group:
        for prompt in ("fog", "rain"):
            asked = {"prompt": prompt, ATTACHED: attached(), "wait_seconds": 0}
            group.start_soon(client.call_tool, "modify_video", asked)
    assert (puts(server), server.task_count(), left_behind(server.parts)) == (1, 2, [])


async def test_an_address_still_works_in_chatgpt(home: Path) -> None:
    async with chatgpt(home) as (client, server, files):
        asked = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 0}
        assert structured(await client.call_tool("modify_video", asked))["source_video_url"] == SOURCE
        assert (files.asked, server.task_count()) == ([], 1)
