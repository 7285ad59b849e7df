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
    assert changed("jsonc", text, {("d",): 1}) == text.replace("],\n}", '],\n  "d": 1,\n}')


def test_a_large_file_of_a_host_that_keeps_much_in_it_is_changed(home: Path) -> None:
    text = '{"history": [' + ", ".join(['{"display": "some words", "at": 1}'] * 60_000) + '], "mcpServers": {}}'
    new = changed("json", text, {("mcpServers", "luma"): {"command": "x"}})
    assert new.startswith(text[:-2])
    assert parse_document("json", new)["mcpServers"] == {"luma": {"command": "x"}}


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": "x"}', '{"a": [1]}', "[]"])
def test_what_is_no_object_on_the_way_takes_no_value(text: str) -> None:
    with pytest.raises(ValueError, match="something else stands where an object was expected"):
        jsonc.set_value(text, ("a", "b"), 1)


def test_of_two_values_of_one_name_the_one_that_counts_is_changed() -> None:
    assert jsonc.set_value('{"a": 1, "a": 2}', ("a",), 3) == '{"a": 1, "a": 3}'


def test_new_lines_are_indented_as_those_around_them() -> None:
    assert jsonc.set_value('{\n\t"a": {\n\t\t"b": 1\n\t}\n}', ("a", "c"), {"d": 2}) == (
        '{\n\t"a": {\n\t\t"b": 1,\n\t\t"c": {\n\t\t\t"d": 2\n\t\t}\n\t}\n}'
    )


def test_what_was_put_in_is_taken_out_without_a_trace() -> None:
    for text in (
        '{"s": {"b": 2}, "t": [1]}',
        '{\n  "s": {\n    "b": 2 // of b\n    // last\n  }\n}\n',
        '{\n\t"s": {\n\t\t"b": 2, // of b\n\t},\n}\n',
    ):
        one_line = changed("jsonc", text, {("s", "luma"): 1})
        assert formats.without("jsonc", one_line, [("s", "luma")]) in {text, text.replace("2}", "2\n}")}
    crlf = '{\r\n  "s": {\r\n    "b": 2\r\n  }\r\n}\r\n'
    assert formats.without("json", changed("json", crlf, {("s", "luma"): {"a": 1}}), [("s", "luma")]) == crlf


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"s": {"luma": {"a": 1}, "b": 2}}', '{"s": {"b": 2}}'),
        ('{"s": {"b": 2, "luma": {"a": 1}}}', '{"s": {"b": 2}}'),
        ('{"s": {"a": 1, "luma": 5, "b": 2}}', '{"s": {"a": 1, "b": 2}}'),
        ('{"s": { "luma": {} /* mine */ }}', '{"s": { /* mine */ }}'),
        ('{"s": {\n  "luma": {}\n}}', '{"s": {}}'),
        ('{"s": {\n  // one\n  "luma": {}, // ours\n  "b": 2\n}}', '{"s": {\n  // one\n  // ours\n  "b": 2\n}}'),
        ('{"s": {\n  "b": 2, // of b\n  "luma": {},\n  // last\n}}', '{"s": {\n  "b": 2, // of b\n  // last\n}}'),
        ('{"s": {\n  "b": 2,\n  "luma": {} // ours\n}}', '{"s": {\n  "b": 2\n  // ours\n}}'),
    ],
)
def test_a_value_is_taken_out_with_one_comma_and_without_any_comment(text: str, left: str) -> None:
    assert formats.without("jsonc", text, [("s", "luma")]) == left


def test_what_would_leave_another_value_of_the_name_is_not_taken_out() -> None:
    with pytest.raises(ValueError, match="cannot be changed without harm"):
        formats.without("json", '{"s": {"luma": 1, "luma": 2}}', [("s", "luma")])


@given(
    document=st.dictionaries(st.text() | st.just("s"), plain_values, max_size=4),
    servers=st.dictionaries(st.text(), plain_values, max_size=3),
    indent=st.sampled_from([None, 1, 4, "\t"]),
)
def test_any_json_document_gives_a_value_back_and_keeps_the_rest(document: Json, servers: Json, indent: Any) -> None:
    document["s"] = {**servers, "luma": {"a": 1}}
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    left = json.loads(formats.without("json", text, [("s", "luma")]))
    assert left == {**document, "s": {name: value for name, value in servers.items() if name != "luma"}}
