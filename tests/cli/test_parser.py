"""Reading words: which of them is the command, and what a mistyped one was meant to be."""

import pytest

from luma_mcp.cli.main import build_parser
from luma_mcp.cli.parser import first_word, guess, value_flags


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ([], None),
        (["tasks"], "tasks"),
        (["--sandbox", "tasks"], "tasks"),
        (["--data-dir", "tasks"], None),
        (["--data-dir=/x", "tasks"], "tasks"),
        (["--data-dir", "/x", "--sandbox", "tasks", "fog"], "tasks"),
        (["--unknown", "tasks"], "tasks"),
    ],
)
def test_the_command_is_the_first_word_that_belongs_to_no_flag(words: list[str], first: str | None) -> None:
    assert first_word(words, value_flags(build_parser())) == first


def test_a_guess_is_made_only_where_something_is_alike() -> None:
    assert guess("modfy", ["modify", "wait"]) == ": did you mean modify?"
    assert guess("xyzzy", ["modify", "wait"]) == ""
