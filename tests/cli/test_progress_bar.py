"""The bar on a terminal: what it shows, and when; lines where there is none."""

import io
import os
from dataclasses import replace

import anyio
import pytest

from luma_mcp.cli.progress_bar import (
    LINE_SECONDS,
    ProgressBar,
    ProgressLines,
    TaskDisplay,
    TaskWords,
    clock_time,
    display_on,
)
from luma_mcp.core.errors import NetworkFailure
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.media.transfers import Transfer
from luma_mcp.worker.polling import DOCUMENTED
from tests.support.rig import EPOCH, SOURCE
from tests.support.terminals import ODD, Terminal, steers

pytestmark = pytest.mark.anyio
REQUEST = VideoRequest(prompt="fog", source=SOURCE)
TASK = Task(key="k", caller="local", request=REQUEST, created_at=EPOCH, updated_at=EPOCH, wants_file=True)
RUNNING = TASK.accepted("id", Status.PROCESSING, EPOCH)


async def test_the_bar_shows_what_is_going_on_and_nothing_else() -> None:
    terminal = Terminal()
    await ProgressBar(terminal).report(10, 100, f"{ODD}\nprocessing")
    assert not steers(terminal.getvalue().strip("\r"))
    assert "\n" not in terminal.getvalue()


async def test_the_bar_is_drawn_over_itself() -> None:
    terminal = Terminal()
    bar = ProgressBar(terminal)
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


async def test_a_terminal_that_becomes_narrower_keeps_what_it_wrapped_and_goes_on_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, columns = Terminal(), [100, 100, 40, 40]
    monkeypatch.setattr(terminal, "fileno", lambda: 7)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns.pop(0), 24)))
    bar = ProgressBar(terminal)
    for _ in range(4):
        await bar.report(50, 100, "x" * 200)
    wide, narrow = terminal.getvalue().split("\n")
    assert [len(line) for line in wide.split("\r")[1:]] == [99, 99]
    assert [len(line) for line in narrow.split("\r")[1:]] == [39, 39]


async def test_without_a_terminal_a_line_comes_every_half_minute() -> None:
    log = io.StringIO()
    lines = display_on(log)
    assert isinstance(lines, ProgressLines)
    for second in range(100):
        await lines.report(second, 100, f"at {second}")
        await anyio.sleep(1)
    lines.clear()
    assert log.getvalue().splitlines() == [f"at {LINE_SECONDS * count:.0f}" for count in (1, 2, 3)]


async def test_transfers_are_told_with_bytes_and_speed() -> None:
    words = TaskWords()
    uploading = replace(TASK, source_bytes=10_000_000)
    moved = Transfer(total=10_000_000)
    assert words.describe(uploading, DOCUMENTED, EPOCH, moved) == "Uploading 0.0 of 10.0 MB"
    moved.done = 3_000_000
    assert words.describe(uploading, DOCUMENTED, EPOCH + 2, moved) == "Uploading 3.0 of 10.0 MB, 1.5 MB/s"
    again = Transfer(done=8_000_000)
    saving = replace(RUNNING, status=Status.COMPLETED, video_urls=(SOURCE,))
    assert words.describe(saving, DOCUMENTED, EPOCH + 60, again) == "Saving 8.0 MB", "what was there before is no speed"
    again.done = 9_000_000
    assert words.describe(saving, DOCUMENTED, EPOCH + 62, again) == "Saving 9.0 MB, 0.5 MB/s"


async def test_a_generation_is_told_with_its_time_and_the_usual() -> None:
    words = TaskWords()
    assert words.describe(RUNNING, DOCUMENTED, EPOCH + 65) == "Generating 1:05, usually 0:30 to 2:00"
    assert words.task is RUNNING
    failure = NetworkFailure("runapi.ai could not be reached.").failure()
    troubled = replace(RUNNING, failures=2).troubled(failure, EPOCH + 66)
    assert words.describe(troubled, DOCUMENTED, EPOCH + 70) == (
        "Generating 1:10, try 3: runapi.ai could not be reached"
    ), "what fails, and which try it is"


async def test_several_tasks_share_one_bar_that_says_how_many_are_done() -> None:
    terminal = Terminal()
    display = TaskDisplay(ProgressBar(terminal), 2)
    one, two = (display.progress(number, TaskWords().describe) for number in (0, 1))
    await one.report_if_due(RUNNING, EPOCH)
    await two.report_if_due(RUNNING, EPOCH + 30)
    display.end(0)
    await two.report_if_due(RUNNING, EPOCH + 31)
    drawn = [line.split(" %  ")[1].strip() for line in terminal.getvalue().split("\r") if line.startswith("[")]
    assert drawn[0].startswith("0 of 2 done  Generating 0:00")
    assert drawn[-1].startswith("1 of 2 done  Generating 0:31")


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (65.9, "1:05"), (3723, "1:02:03")])
async def test_times_are_written_as_clocks_do(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown
