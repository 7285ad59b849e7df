"""What hosts and models send as arguments: odd forms are understood, odd meanings are refused in plain words."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import MODEL
from luma_mcp.server.tool_arguments import (
    MAX_ARGUMENT_NAME,
    MAX_IGNORED_NAMES,
    coerce_arguments,
    edit_distance,
    ignored_names,
    is_near,
    parse_flag,
    parse_integer,
)
from tests.support.rig import ERAS, SOURCE, Rig, result_text, structured

pytestmark = pytest.mark.anyio
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}
DEFAULTS = {"model": MODEL, "watermark": False, "callback_url": "", "wait_seconds": -1, "take": 1}
OWN = ("prompt", "source_video_url", *DEFAULTS)
PROPERTIES = {
    **{name: {"type": "string"} for name in ("prompt", "source_video_url", "model", "callback_url")},
    **{name: {"type": "boolean"} for name in ("watermark",)},
    **{name: {"type": "integer"} for name in ("wait_seconds", "take")},
}
ODD_NUMBERS = (
    "soon",
    "null",
    "40.5",
    "1e2",
    "1e400",
    "NaN",
    "٤٠",
    "4 0",
    40.5,
    True,
    [40],
    {"a": 1},
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("nothing", [None, "", "  "])
@pytest.mark.parametrize("era", ERAS)
async def test_null_and_blank_stand_for_the_default_of_every_optional_argument(
    rig: Rig, era: str, nothing: str | None
) -> None:
    async with rig.client(era) as client:
        done = await client.call_tool("modify_video", ASK | dict.fromkeys(DEFAULTS, nothing))
        assert structured(done)["status"] == "completed"
        assert "ignored_arguments" not in structured(done)
        asked = {"task_id": structured(done)["task_id"]}
        for name, arguments in (
            ("get_task", asked | {"wait_seconds": nothing}),
            ("save_video", asked | {"filename": nothing}),
            ("list_tasks", {"status": nothing, "limit": nothing, "cursor": nothing}),
        ):
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result_text(result)
        assert len(structured(await client.call_tool("list_tasks", {"status": nothing}))["tasks"]) == 1
    (body,) = [generation.body for generation in rig.sandbox.state.generations()]
    assert "watermark" not in body


@pytest.mark.parametrize(
    ("tool", "arguments", "complaint"),
    [
        ("modify_video", {"prompt": None, "source_video_url": SOURCE}, "modify_video needs the argument prompt."),
        ("modify_video", {"prompt": "fog", "source_video_url": None}, "It must not be null."),
        ("modify_video", {"prompt": "fog"}, "modify_video needs the argument source_video_url."),
        ("modify_video", {"prompt": "fog", "video": SOURCE}, "It has no argument 'video'."),
        ("modify_video", {}, "modify_video needs the argument prompt."),
        ("get_task", {"taskId": "x"}, "get_task has no argument 'taskId': it is called task_id."),
        ("save_video", {"task-id": "x"}, "save_video has no argument 'task-id': it is called task_id."),
        ("get_task", {}, "get_task needs the argument task_id."),
        ("modify_video", ASK | {"prompt": ["fog"]}, "prompt must be text."),
        ("modify_video", ASK | {"prompt": True}, "prompt must be text."),
        ("modify_video", ASK | {"watermark": "perhaps"}, "watermark must be true or false."),
        ("modify_video", ASK | {"watermark": 2}, "watermark must be true or false."),
        ("modify_video", ASK | {"new_take": {}}, "take: 2, 3"),
        ("modify_video", ASK | {"new_take": "null"}, "take: 2, 3"),
        ("modify_video", ASK | {"wait_seconds": 10**400}, "wait_seconds must be from 0 to 3600"),
        ("list_tasks", {"limit": 10**400}, "limit must be from 1 to 100."),
        ("list_tasks", {"limit": 1e300}, "limit must be from 1 to 100."),
        *(("list_tasks", {"limit": odd}, "limit must be a whole number.") for odd in ODD_NUMBERS),
        *(("modify_video", ASK | {"wait_seconds": odd}, "wait_seconds must be a whole number.") for odd in ODD_NUMBERS),
    ],
)
async def test_what_means_nothing_is_refused_in_plain_words_before_anything_is_sent(
    rig: Rig, tool: str, arguments: dict[str, Any], complaint: str
) -> None:
    async with rig.client() as client:
        result = await client.call_tool(tool, arguments)
    error = structured(result)["error"]
    assert result.is_error
    assert complaint in error["message"]
    assert (error["code"], error["charged"]) == ("invalid_request", "no")
    assert rig.sandbox.recorded_requests == []


@pytest.mark.parametrize("value", [40, 40.0, "40", " 40 ", "40.0", "40.", "+40", "040"])
def test_a_whole_number_may_be_written_in_any_way(value: object) -> None:
    assert parse_integer("wait_seconds", value) == 40


@pytest.mark.parametrize("value", [*ODD_NUMBERS, math.nan, math.inf, -math.inf, "9" * 21, "9" * 10_000, None])
def test_anything_else_is_no_whole_number(value: object) -> None:
    with pytest.raises(InvalidRequest, match=r"wait_seconds must be a whole number\."):
        parse_integer("wait_seconds", value)


@pytest.mark.parametrize(
    ("values", "meaning"),
    [((True, "true", "True", " TRUE ", "1", 1, 1.0, "yes", "on"), True), ((False, "False", "0", 0, 0.0, "no"), False)],
)
def test_a_flag_may_be_written_in_any_way(values: tuple[object, ...], meaning: bool) -> None:
    assert {parse_flag("watermark", value) for value in values} == {meaning}


async def test_an_id_that_looks_like_a_number_may_come_as_one(rig: Rig) -> None:
    async with rig.client() as client:
        result = await client.call_tool("get_task", {"task_id": 123456})
    assert structured(result)["error"]["message"] == "There is no task '123456' in this server's ledger."


@pytest.mark.parametrize("era", ERAS)
async def test_arguments_that_hosts_add_are_ignored_by_every_tool_and_listed_by_the_one_that_spends(
    rig: Rig, era: str
) -> None:
    added: dict[str, Any] = {"wait_for_previous": False, "_meta": {"a": 1}, "seed": 7}
    async with rig.client(era) as client:
        done = await client.call_tool("modify_video", ASK | added)
        assert structured(done)["ignored_arguments"] == ["wait_for_previous", "_meta", "seed"]
        assert json.loads(result_text(done)) == structured(done)
        again = structured(await client.call_tool("modify_video", ASK))
        asked = {"task_id": structured(done)["task_id"]}
        for name in ("get_task", "save_video", "list_tasks", "check_account"):
            plain, more = [await client.call_tool(name, asked | extra) for extra in ({}, added)]
            assert not more.is_error, result_text(more)
            assert structured(more) == structured(plain)
    assert "ignored_arguments" not in again
    assert "seed" not in rig.sandbox.state.generations()[0].body


async def test_a_refusal_lists_them_too(rig: Rig) -> None:
    async with rig.client() as client:
        refused = await client.call_tool("modify_video", ASK | {"prompt": " ", "seed": 7})
    assert (refused.is_error, structured(refused)["ignored_arguments"]) == (True, ["seed"])


def test_what_is_listed_is_bounded_and_fit_to_be_read() -> None:
    many = {f"argument {number}": 1 for number in range(1000)}
    assert len(ignored_names(many, OWN)) == MAX_IGNORED_NAMES
    odd = {"x" * 1000: 1, "a\nb\u202e\x1b[0m": 1, "<b>bold</b>": 1, "": 1, "prompt": 1, "\ud83d": 1}
    assert ignored_names(odd, OWN) == ["x" * MAX_ARGUMENT_NAME, "a b [0m", "bold"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sourceVideoUrl", "source_video_url"),
        ("SOURCE-VIDEO-URL", "source_video_url"),
        ("source_video_uri", "source_video_url"),
        ("sorce_vidoe_url", "source_video_url"),
        ("promt", "prompt"),
        ("Prompt", "prompt"),
        ("waterMark", "watermark"),
        ("waitSeconds", "wait_seconds"),
        ("callbackUrl", "callback_url"),
        ("takes", "take"),
        ("modell", "model"),
    ],
)
async def test_a_name_that_is_almost_right_is_refused_with_the_right_one(rig: Rig, given: str, meant: str) -> None:
    arguments = {name: value for name, value in ASK.items() if name != meant} | {given: "x"}
    async with rig.client() as client:
        result = await client.call_tool("modify_video", arguments)
    assert structured(result)["error"]["message"] == f"modify_video has no argument {given!r}: it is called {meant}."
    assert rig.sandbox.recorded_requests == []


async def test_a_name_that_is_almost_right_is_refused_beside_the_right_one_too(rig: Rig) -> None:
    async with rig.client() as client:
        for near in ("prompts", "sourceVideoUrl"):
            refused = await client.call_tool("modify_video", ASK | {near: "x"})
            assert f"has no argument {near!r}" in structured(refused)["error"]["message"]
    assert rig.sandbox.recorded_requests == []


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("", "ab", 2), ("ab", "ba", 1), ("prompt", "prompt", 0), ("kitten", "sitting", 3), ("abcd", "badc", 2)],
)
def test_edits_are_counted_with_neighbours_swapped(one: str, other: str, count: int) -> None:
    assert (edit_distance(one, other), edit_distance(other, one)) == (count, count)


@given(st.text(max_size=2000))
def test_any_name_is_compared_at_once(name: str) -> None:
    assert is_near(name, "prompt") in (True, False)


@given(st.dictionaries(st.sampled_from(OWN) | st.text(max_size=9), JSON_VALUES, max_size=5))
def test_whatever_is_given_is_understood_or_refused_in_plain_words(given_: dict[str, Any]) -> None:
    schema = {"properties": PROPERTIES, "required": ["prompt"]}
    try:
        known = coerce_arguments("modify_video", schema, given_)
    except InvalidRequest:
        return
    kinds = {"string": str, "integer": int, "boolean": bool}
    assert all(type(value) is kinds[PROPERTIES[name]["type"]] for name, value in known.items())
