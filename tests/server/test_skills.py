"""The skill: served as its extension says, true for this server, and unseen by clients that do not ask for it."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import TextResourceContents
from ruamel.yaml import YAML

from luma_mcp.server import tool_texts
from luma_mcp.server.prompts import luma_prompts
from luma_mcp.server.results import PRICE
from luma_mcp.server.skills import EXTENSION_ID, SKILL_NAME, SKILL_URI, frontmatter, skill_text
from tests.support.model_texts import known_names
from tests.support.rig import ERAS, Rig, ask_raw
from tests.support.surface import PINNED

pytestmark = pytest.mark.anyio
README = Path(__file__).parents[2] / "README.md"
LEGACY, MODERN = ERAS
SHOWN = json.loads(PINNED.read_text(encoding="utf-8"))
MENTIONED = re.compile(r"`([a-z_.]+)`")
LONGEST_SKILL = 6000  # of characters: a model reads all of it


async def test_the_skill_is_listed_and_its_file_is_the_one_that_is_described(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        listed = await ask_raw(client, MODERN, "skills/list")
        got = await ask_raw(client, MODERN, "skills/get", uri=SKILL_URI)
        (file,) = (await client.read_resource(SKILL_URI)).contents
    assert isinstance(file, TextResourceContents)
    content = file.text.encode()
    described = {"uri": SKILL_URI, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}
    assert listed["skills"] == [got["skill"]]
    assert got["skill"]["uri"] == SKILL_URI
    assert got["skill"]["resources"] == [described]
    assert file.mime_type == "text/markdown"
    for answer in (listed, got):
        assert (answer["resultType"], answer["ttlMs"], answer["cacheScope"]) == ("complete", 300_000, "public")


async def test_an_unknown_skill_and_a_made_up_page_are_refused(rig: Rig) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("skills/get", {"uri": "skill://other/SKILL.md"}),
        ("skills/get", {}),
        ("skills/list", {"cursor": "made up"}),
    ]
    async with rig.client(MODERN) as client:
        for method, params in wrong:
            with pytest.raises(MCPError) as refused:
                await ask_raw(client, MODERN, method, **params)
            assert refused.value.error.code == -32602


@pytest.mark.parametrize("method", ["skills/list", "skills/get"])
async def test_clients_of_the_handshake_era_are_told_what_they_are_told_of_any_unknown_method(
    rig: Rig, method: str
) -> None:
    told = []
    async with rig.client(LEGACY) as client:
        for asked in (method, "skills/made_up"):
            with pytest.raises(MCPError) as refused:
                await ask_raw(client, LEGACY, asked, uri=SKILL_URI)
            told.append(refused.value.error.model_dump_json().replace(asked, "METHOD"))
    assert told[0] == told[1]


async def test_only_the_modern_era_is_told_of_the_extension_and_no_list_changes(rig: Rig) -> None:
    capabilities = SHOWN["capabilities"]
    assert EXTENSION_ID in capabilities[MODERN]["extensions"]
    assert EXTENSION_ID not in str(capabilities[LEGACY])
    for era in ERAS:
        async with rig.client(era) as client:
            listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert SKILL_URI not in listed


@pytest.mark.parametrize("era", ERAS)
async def test_whoever_knows_its_address_can_read_it(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        (file,) = (await client.read_resource(SKILL_URI)).contents
    assert isinstance(file, TextResourceContents)
    assert file.text == skill_text()


def test_its_head_is_what_yaml_makes_of_it() -> None:
    head = skill_text().split("---\n")[1]
    assert frontmatter(skill_text()) == YAML(typ="safe", pure=True).load(head)
    assert frontmatter(skill_text())["name"] == SKILL_NAME
    assert len(frontmatter(skill_text())["description"]) <= 1024


def test_every_tool_argument_and_field_that_it_names_is_there() -> None:
    fields = {name for tool in SHOWN["tools"] for name in every_property(tool)}
    mentioned = {part for name in MENTIONED.findall(skill_text()) for part in name.split(".")}
    assert {"modify_video", "preview_video", "take", "charged"} <= mentioned
    assert mentioned - fields - known_names() == set()
    assert not mentioned & set(luma_prompts())


def test_it_names_the_price_and_is_short() -> None:
    assert PRICE in skill_text()
    assert len(skill_text()) < LONGEST_SKILL


def test_it_promises_no_more_than_is_known_of_the_sound_and_of_the_picture() -> None:
    words = " ".join(skill_text().split())
    assert "sound does is not documented" in words
    assert "sound | not documented" in README.read_text(encoding="utf-8")
    assert "below frames of the source if the server has that" in words
    assert "where the source cannot be had" in tool_texts.TOOLS["preview_video"]


def every_property(tool: dict[str, Any]) -> set[str]:
    """Name a tool, its arguments, and the fields of its answers at any depth."""
    found = set(re.findall(r"'(\w+)': \{", str([tool["inputSchema"], tool.get("outputSchema")])))
    return found | {tool["name"]}
