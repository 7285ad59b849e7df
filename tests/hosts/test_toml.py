"""TOML that people keep by hand: changed in place, with its comments and its line ends."""

import pytest

from luma_mcp.hosts import toml
from luma_mcp.hosts.formats import changed, parse_document, without

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


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (BY_HAND + "\n" + WRITTEN, BY_HAND),
        (WRITTEN + "# about b\n[servers.b]\nc = 1\n", "# about b\n[servers.b]\nc = 1\n"),
        ('[servers.b]\nc = 1\n\n[servers."luma"] # ours\na = 1\n', "[servers.b]\nc = 1\n"),
        ('[servers.luma]\na = """\n[servers.b]\n"""\nb = [\n  ["y"],\n]\n# tail\n', "# tail\n"),
        ("[servers]\nluma = {a = 1} # ours\nb = 2 # b\n", "[servers]\nb = 2 # b\n"),
        ("[servers]\nluma.a = 1\nluma.b = 2\nc = 3\n", "[servers]\nc = 3\n"),
        ("a = 1\r\n\r\n[servers.luma]\r\nb = 2\r\n", "a = 1\r\n"),
    ],
)
def test_a_table_is_taken_out_with_its_lines_and_no_comment_of_another(text: str, left: str) -> None:
    assert without("toml", text, [("servers", "luma")]) == left
