"""What models read about tools and arguments before they call one."""

import json
import re

import pytest

from luma_mcp.core.models import DAY_SECONDS, MAX_TAKES, OUTPUT_LIFETIME_SECONDS
from luma_mcp.server import tool_texts
from tests.support.model_texts import SENTENCE
from tests.support.surface import PINNED

SHOWN = json.loads(PINNED.read_text(encoding="utf-8"))["tools"]
LONGEST = {"tool": 800, "argument": 300, "first sentence": 170}


def test_descriptions_are_short_and_begin_with_when_to_use_the_tool() -> None:
    for tool in SHOWN:
        first = SENTENCE.split(tool["description"])[0]
        assert tool["description"].startswith("Use this ")
        assert len(first) <= LONGEST["first sentence"], first
        assert len(tool["description"]) <= LONGEST["tool"]
        for argument in tool["inputSchema"]["properties"].values():
            assert len(argument["description"]) <= LONGEST["argument"]
            assert argument["description"].endswith(".")


def test_texts_name_the_bounds_that_hold() -> None:
    assert f"RunAPI deletes videos {OUTPUT_LIFETIME_SECONDS // DAY_SECONDS} days after" in tool_texts.SAVE_VIDEO
    assert f"1 to {MAX_TAKES}." in tool_texts.TAKE


@pytest.mark.parametrize("name", tool_texts.TOOLS)
def test_a_description_has_no_field_but_the_price_and_this_servers_seconds(name: str) -> None:
    filled = tool_texts.TOOLS[name].format(price="0.50 USD", wait=11, bound=22, preview=33)
    assert not re.search("[{}]", filled)
