"""A drawn terminal shows what a real one would: the last of what was written over, in columns, wrapped."""

from xml.etree import ElementTree

import pytest

from luma_mcp.release.terminal import CELL_WIDTH, COLUMNS, MARGIN, draw_terminal, screen_rows


def lines(written: str) -> list[str]:
    return ["".join(character for character, _ in row) for row in screen_rows(written)]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        pytest.param("one\r\ntwo\r\n", ["one", "two"], id="lines"),
        pytest.param("[##--] 50 %\r           \rSaved\r\n", ["Saved      "], id="a bar that was written over"),
        pytest.param("a" * (COLUMNS + 2), ["a" * COLUMNS, "aa"], id="too long"),
        pytest.param("a" * COLUMNS + "\r\nb", ["a" * COLUMNS, "b"], id="just as long as the terminal is wide"),
        pytest.param("\x1b[1mAGE\x1b[0m  \x1b[32mdone\x1b[0m", ["AGE  done"], id="colours"),
    ],
)
def test_a_terminal_shows_what_was_written_last(written: str, shown: list[str]) -> None:
    assert lines(written) == shown


def test_words_are_drawn_at_their_columns_whatever_the_font() -> None:
    svg = ElementTree.fromstring(draw_terminal("\x1b[1mAGE\x1b[0m   a <b> & c\r\n"))  # noqa: S314 - our own
    heading, text = (element for element in svg.iter() if element.tag.endswith("}text"))
    assert (heading.text, heading.get("font-weight")) == ("AGE", "bold")
    assert (text.text, text.get("font-weight")) == ("a <b> & c", None)
    assert float(text.get("x", "0")) == pytest.approx(MARGIN + 6 * CELL_WIDTH, abs=0.1)
    assert float(text.get("textLength", "0")) == pytest.approx(9 * CELL_WIDTH, abs=0.1)


def test_nothing_is_loaded_from_elsewhere() -> None:
    svg = draw_terminal("text")
    assert svg.count("http") == svg.count('xmlns="http://www.w3.org/2000/svg"') == 1
    assert not any(word in svg for word in ("href", "url(", "@import", "<style", "<script"))
