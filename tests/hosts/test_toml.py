"""TOML that people keep by hand: changed in place, with its comments and its line ends."""

import pytest

from luma_mcp.hosts import toml
from luma_mcp.hosts.formats import changed, parse_document

BY_HAND = """# kept by hand
model = "x" # the best

[servers.files]
command = "npx"

# about tools
[tools]
on = true
"""
ENTRY = {"command": "x", "env": {"A": "b"}}
WRITTEN = '[servers.luma]\ncommand = "x"\n\n[servers.luma.env]\nA = "b"\n'


def test_a_new_table_goes_to_the_end_where_it_parts_no_comment_from_its_table() -> None:
    assert toml.set_value(BY_HAND, ("servers", "luma"), ENTRY).endswith(WRITTEN)
    assert toml.set_value(BY_HAND, ("servers", "luma"), ENTRY).startswith(BY_HAND)
    assert parse_document("toml", toml.set_value("", ("servers", "luma"), ENTRY)) == {"servers": {"luma": ENTRY}}


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("model",), "y", '"x" # the best', '"y" # the best'),
        (("servers", "files", "command"), "uvx", '"npx"', '"uvx"'),
        (("tools", "on"), False, "true", "false"),
    ],
)
def test_a_value_is_put_in_place_and_no_other_byte_moves(
    path: tuple[str, ...], value: object, old: str, new: str
) -> None:
    assert toml.set_value(BY_HAND, path, value) == BY_HAND.replace(old, new)


def test_the_line_ends_of_windows_stay_around_a_new_table() -> None:
    written = toml.set_value(BY_HAND.replace("\n", "\r\n"), ("servers", "luma"), ENTRY)
    assert written.count("\n") == written.count("\r\n") > BY_HAND.count("\n")


@pytest.mark.parametrize("text", ["servers = 1\n", "servers = []\n", "[[servers]]\na = 1\n"])
def test_servers_of_another_kind_are_not_written_over(text: str) -> None:
    with pytest.raises(ValueError, match="holds something else than was expected"):
        changed("toml", text, {("servers", "luma"): ENTRY})


def test_a_table_that_is_written_inline_takes_an_entry_or_is_left_alone() -> None:
    text = 'servers = {files = {command = "npx"}} # by hand\n'
    new = changed("toml", text, {("servers", "luma"): ENTRY})
    assert new.endswith("# by hand\n")
    assert parse_document("toml", new)["servers"] == {"files": {"command": "npx"}, "luma": ENTRY}
