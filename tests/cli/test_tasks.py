"""Earlier tasks as a person and a script see them."""

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.__main__ import main
from luma_mcp.app.app import open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.printable import fit, text_width
from luma_mcp.cli.tasks import (
    HEADER,
    age_text,
    cost_text,
    format_table,
    place_text,
    task_cells,
)
from luma_mcp.core.errors import Failure
from luma_mcp.core.models import SANDBOX_ORIGIN, Status, Task, VideoRequest
from luma_mcp.ledger.files import LEDGER_NAME
from tests.support.rig import EPOCH, SOURCE, settings_for, silent
from tests.support.terminals import ODD, Terminal, steers

TASK_ID = "550e8400-e29b-41d4-a716-446655440000"
FAILURE = Failure("generation_failed", "RunAPI says: no motion", "no", retry_safe=True, hint="")


def made(prompt: str = "a foggy autumn morning by the sea", take: int = 1, **more: Any) -> Task:
    request = VideoRequest(prompt=prompt, source=SOURCE, take=take)
    task = Task(key="k", caller="local", request=request, created_at=EPOCH, updated_at=EPOCH, task_id=TASK_ID)
    return replace(task, **more)


SAVED = made(status=Status.COMPLETED, charged="yes", cost_usd=0.5, video_path="/v/2026-11-22-a-foggy-550e8400.mp4")
WIDE = made("霧の秋の朝" * 12, take=2, status=Status.FAILED, error=FAILURE)
TASKS = (SAVED, WIDE, made(status=Status.PROCESSING))


def table(columns: int | None, *, colour: bool = False) -> list[str]:
    rows = [task_cells(task, EPOCH + 200, whole_path=columns is None) for task in TASKS]
    return format_table(rows, columns, colour=colour)


@pytest.mark.parametrize("columns", [70, 80, 100, 118, 120, 200])
def test_the_table_fits_the_terminal_and_keeps_each_id_whole(columns: int) -> None:
    lines = table(columns)
    assert max(map(text_width, lines)) <= columns
    assert sum(TASK_ID in line for line in lines) == len(TASKS)
    assert " ".join(lines[0].split() + lines[1].split()).startswith(" ".join(HEADER[:4]))


def test_a_wide_terminal_has_one_line_a_task_and_a_narrow_one_two() -> None:
    assert len(table(120)) == 1 + len(TASKS)
    assert len(table(80)) == 2 * (1 + len(TASKS))
    assert table(200)[1].split()[-1] == "2026-11-22-a-foggy-550e8400.mp4"
    assert SAVED.request.prompt in table(80)[3]


def test_without_a_terminal_each_task_is_one_line_and_nothing_is_cut() -> None:
    lines = table(None)
    assert len(lines) == 1 + len(TASKS)
    assert "…" not in "".join(lines)
    assert "\t" not in "".join(lines)
    assert lines[1].endswith(SAVED.video_path)
    assert f"(take 2) {WIDE.request.prompt}" in lines[2]


def test_columns_stand_under_their_names_also_behind_wide_characters() -> None:
    lines = table(120)
    place = lines[0].index("WHERE")
    for line in lines[1:]:
        at = next(n for n in range(len(line)) if text_width(line[:n]) == place)
        assert line[at - 1] == " "
        assert line[at] != " "


def test_colours_only_mark_what_the_words_say() -> None:
    plain, coloured = table(100), table(100, colour=True)
    assert "\x1b[32mcompleted\x1b[0m" in coloured[2]
    assert "\x1b[31mfailed\x1b[0m" in coloured[4]
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"):
        coloured = [line.replace(code, "") for line in coloured]
    assert coloured == plain


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7300, "2 h"),
        (86_400, "1 d"),
        (86_400 * 400, "400 d"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert age_text(seconds) == words


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (made(status=Status.PROCESSING, charged="unknown"), "-"),
        (SAVED, "0.50 USD"),
        (replace(SAVED, cost_usd=None), "charged"),
        (replace(SAVED, origin=SANDBOX_ORIGIN), "nothing"),
        (made(status=Status.FAILED, charged="no"), "nothing"),
        (made(status=Status.FAILED, charged="unknown"), "unknown"),
        (made(status=Status.UNCONFIRMED, charged="unknown"), "unknown"),
    ],
)
def test_a_cost_is_what_is_known_of_it(task: Task, words: str) -> None:
    assert cost_text(task) == words


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (SAVED, "2026-11-22-a-foggy-550e8400.mp4"),
        (WIDE, FAILURE.message),
        (made(status=Status.PROCESSING), "not finished"),
        (made(source_bytes=1), "being uploaded"),
        (made(status=Status.COMPLETED, wants_file=True, video_urls=(SOURCE,)), "being saved"),
        (made(status=Status.COMPLETED, video_urls=(SOURCE,), finished_at=EPOCH), "not saved, kept until 2026-"),
        (made(status=Status.COMPLETED, finished_at=EPOCH - 8 * 86_400), "not saved"),
    ],
)
def test_where_says_where_the_video_is_or_why_there_is_none(task: Task, words: str) -> None:
    assert place_text(task, EPOCH, whole_path=False).startswith(words)


def test_text_is_cut_by_columns_and_accents_take_none() -> None:
    assert fit("霧霧霧", 4) == "霧… "
    assert fit("霧霧", 4) == "霧霧"
    assert fit("e\u0301a", 3) == "e\u0301a "
    assert fit("abc", 1) == "…"


def add_task(home: Path, prompt: str) -> None:
    """Submit a task in the sandbox."""

    async def submit() -> None:
        async with open_app(settings_for(home, sandbox=True)) as app:
            request = VideoRequest(prompt=prompt, source=SOURCE)
            await app.modify_video(request, "local", wait_seconds=0, progress=Progress(silent))

    anyio.run(submit)


def test_words_find_the_tasks_that_have_each_of_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_task(home, "a foggy morning")
    add_task(home, "a foggy night")
    shared = ["--sandbox", "--data-dir", str(home / "data"), "--output-dir", str(home / "out")]
    assert main(["tasks", "NIGHT", "fog", *shared]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), "a foggy night" in lines[1]) == (2, True)
    assert main(["tasks", "fog", "--limit", "1", *shared]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["tasks", "fog", "--status", "failed", *shared]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "luma-mcp tasks --sandbox" in told.err


def test_without_tasks_the_way_to_the_first_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--sandbox"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert 'luma-mcp modify CLIP.mp4 "in snow" --sandbox' in told.err


def test_tasks_of_the_sandbox_are_mentioned_where_they_are_not_listed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--data-dir", str(home / "data")]
    assert main(["tasks", *shared]) == 0
    assert "Tasks in the sandbox" not in capsys.readouterr().err
    add_task(home, "fog")
    add_task(home, "snow")
    assert main(["tasks", *shared]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1] == "Tasks in the sandbox: 2. To list them: luma-mcp tasks --sandbox"
    assert main(["tasks", "--sandbox", *shared]) == 0
    assert "Tasks in the sandbox" not in capsys.readouterr().err


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("NO_COLOR", False), ("TERM", False)])
def test_a_terminal_has_colours_unless_the_person_wants_none(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, coloured: bool
) -> None:
    add_task(home, "fog")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((90, 24)))
    if variable:
        monkeypatch.setenv(variable, "dumb")
    main(["tasks", "--sandbox", "--limit", "1", "--data-dir", str(home / "data")])
    assert ("\x1b[1m" in terminal.getvalue()) is coloured
    assert max(map(text_width, terminal.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines())) <= 90


def test_tasks_of_a_hostile_ledger_are_listed_without_harm(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_task(home, "fog")
    typed = ODD.replace("\ud83d", "").replace("\x00", "")  # what a command line and a database can hold
    data = home / "data"
    with closing(sqlite3.connect(data / "sandbox" / LEDGER_NAME, isolation_level=None)) as ledger:
        ledger.execute("UPDATE tasks SET prompt = ?, source = ?", (f"{typed}\nforged", f"https://example.com/{typed}"))
    for arguments in (["tasks"], ["tasks", "--json"], ["tasks", typed], ["modify", typed, typed], ["save", typed]):
        main([*arguments, "--sandbox", "--data-dir", str(data)])
        output = capsys.readouterr()
        assert output.out + output.err
        assert not steers(output.out + output.err), arguments
    main(["tasks", "--sandbox", "--data-dir", str(data)])
    assert len(capsys.readouterr().out.splitlines()) == 2
