"""JSON with comments and last commas: changed in place, however it is written."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.core.text import Json
from luma_mcp.hosts import formats, jsonc
from luma_mcp.hosts.entries import EntryOptions, LaunchCommand, new_entry_changes
from luma_mcp.hosts.formats import changed, parse_document
from luma_mcp.hosts.registry import ENTRY_NAME, all_hosts

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(
    document=st.dictionaries(st.text() | st.just("mcpServers"), plain_values, max_size=4),
    servers=st.none() | st.dictionaries(st.text(), st.just({"command": "x"}), max_size=3),
    indent=st.sampled_from([None, 1, 4, "\t"]),
    line=st.sampled_from(["\n", "\r\n"]),
)
def test_any_json_document_takes_an_entry_and_keeps_the_rest(
    document: Json, servers: Json | None, indent: Any, line: str
) -> None:
    document["mcpServers"] = servers or {}
    text = json.dumps(document, indent=indent, ensure_ascii=False).replace("\n", line)
    wish = EntryOptions(LaunchCommand("/x", []), {"A": "b"})
    changed = formats.changed("json", text, new_entry_changes(all_hosts()["claude-desktop"], wish))
    assert json.loads(changed) == document | {"mcpServers": {**(servers or {}), ENTRY_NAME: wanted(wish)}}


def wanted(wish: EntryOptions) -> Json:
    """Give the plain entry."""
    return {"command": wish.launch.command, "args": wish.launch.args, "env": wish.variables}


def test_a_comment_that_does_not_end_is_no_end_of_a_document() -> None:
    with pytest.raises(ValueError, match="a comment does not end"):
        parse_document("jsonc", '{"a": 1} /* and so on')


def test_texts_in_which_comments_only_seem_to_begin_are_read_and_changed() -> None:
    text = '{\n  "a": "https://x.example/*", // "open\n  "b": "\\"//\\\\", /* , } */\n  "c": [1, 2,],\n}\n'
    assert parse_document("jsonc", text) == {"a": "https://x.example/*", "b": '"//\\', "c": [1, 2]}
    assert changed("jsonc", text, {("d",): 1}) == text.replace("],\n}", '],\n  "d": 1\n}')


def test_a_large_file_of_a_host_that_keeps_much_in_it_is_changed(home: Path) -> None:
    text = '{"history": [' + ", ".join(['{"display": "some words", "at": 1}'] * 60_000) + '], "mcpServers": {}}'
    new = changed("json", text, {("mcpServers", "luma"): {"command": "x"}})
    assert new.startswith(text[:-2])
    assert parse_document("json", new)["mcpServers"] == {"luma": {"command": "x"}}


@pytest.mark.parametrize(
    ("text", "path", "new"),
    [
        ('{"list": [1, 2,] /* x */}', ("list",), [1, 2, 3]),
        ('{"list": []}', ("list",), [3]),
        ('{"list": null}', ("list",), [3]),
        ("// nothing yet", ("a", "list"), [3]),
    ],
)
def test_an_item_is_appended_to_a_list_that_is_made_if_there_is_none(
    text: str, path: tuple[str, ...], new: list[int]
) -> None:
    found: Any = jsonc.parse_jsonc(jsonc.append_item(text, path, 3))
    for name in path:
        found = found[name]
    assert found == new


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": "x"}', '{"a": [1]}', "[]"])
def test_what_is_no_object_on_the_way_takes_no_value(text: str) -> None:
    with pytest.raises(ValueError, match="something else stands where an object or a list was expected"):
        jsonc.set_value(text, ("a", "b"), 1)


def test_of_two_values_of_one_name_the_one_that_counts_is_changed() -> None:
    assert jsonc.set_value('{"a": 1, "a": 2}', ("a",), 3) == '{"a": 1, "a": 3}'


def test_new_lines_are_indented_as_those_around_them() -> None:
    assert jsonc.set_value('{\n\t"a": {\n\t\t"b": 1\n\t}\n}', ("a", "c"), {"d": 2}) == (
        '{\n\t"a": {\n\t\t"b": 1,\n\t\t"c": {\n\t\t\t"d": 2\n\t\t}\n\t}\n}'
    )
