"""The bar on a terminal: what it shows, and when."""

import io

import pytest

from luma_mcp.cli.progress_bar import ProgressBar
from tests.support.terminals import ODD, Terminal, steers


@pytest.mark.anyio
async def test_the_bar_shows_what_is_going_on_and_nothing_else() -> None:
    terminal = Terminal()
    await ProgressBar(terminal).report(10, 100, f"{ODD}\nprocessing")
    assert not steers(terminal.getvalue().strip("\r"))
    assert "\n" not in terminal.getvalue()


@pytest.mark.anyio
async def test_the_bar_is_drawn_over_itself_on_a_terminal_and_nowhere_else() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        bar = ProgressBar(stream)
        await bar.report(25, 100, "processing, 12 s elapsed")
        await bar.report(100, 100, "completed, " + "x" * 40)
        await bar.report(100, 100, "x" * 500)
        bar.clear()
    first, second, long, last, end = terminal.getvalue().split("\r")[1:]
    assert first == "[######------------------]  25 %  processing, 12 s elapsed"
    assert second == "[" + "#" * 18 + "] 100 %  completed, " + "x" * 40, "the bar makes room for what it says"
    assert long.startswith("[######] 100 %  xxx")
    assert len(long) < 80
    assert (last, end) == (" " * len(long), ""), "what was drawn is written over, as old consoles know no other way"
    assert file.getvalue() == ""
