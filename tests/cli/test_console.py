"""Nothing that others wrote steers a terminal, hides from a person, or passes for a line of this program's own."""

import io
import json
import logging
import os
import sqlite3
import subprocess
import sys
import unicodedata
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.__main__ import main
from luma_mcp.app.app import open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.console import ProgressBar, explain, say, show, show_json, show_path, table
from luma_mcp.cli.doctor.report import as_json, as_lines, problem
from luma_mcp.cli.logs import LONGEST_LINE, Redacting
from luma_mcp.cli.printable import printable, printable_json
from luma_mcp.core.errors import Failure
from luma_mcp.core.models import Task, VideoRequest
from luma_mcp.core.settings import load_settings
from luma_mcp.hosts.known import known_hosts
from luma_mcp.ledger.place import LEDGER_NAME
from tests.support.rig import EPOCH, SOURCE, settings_for, silent
from tests.support.served import SERVER
from tests.support.terminals import Terminal

ODD = "\x1b]0;owned\x07\x1b[2J\r\x00\x7f\x9b31m\x85\u2028\u2029\u202e\u2066\u200b\u200d\ufeff\u00ad\U000e0041\ud83d"
SEEN = "霧 é e\u0301 \u3000\u00a0 🎬\ufe0f a\\b"


def steers(text: str) -> bool:
    """Tell whether a text holds what a terminal would obey, or a person would not see."""
    return any(unicodedata.category(one)[0] == "C" or one in "\u2028\u2029" for one in text.replace("\n", ""))


@given(st.text(st.characters(codec=None)))
def test_whatever_comes_is_seen_and_json_keeps_its_values(words: str) -> None:
    assert not steers(printable(words))
    assert "\n" not in printable(words)
    document = json.dumps({"a": words, words: [1]}, ensure_ascii=False, indent=2)
    assert not steers(printable_json(document))
    assert json.loads(printable_json(document)) == json.loads(document)


def test_what_is_seen_stays_and_the_rest_is_written_out() -> None:
    assert printable(SEEN) == SEEN
    assert printable("a\x1b[31m\u202eb\ud83d\n") == r"a\x1b[31m\u202eb\ud83d\n"


def hostile_task() -> Task:
    request = VideoRequest(prompt=f"fog {ODD}\ncompleted", source=SOURCE)
    failure = Failure("network", f"no way {ODD}\ncharged: no.", "yes", retry_safe=False, hint=f"wait {ODD}\nx")
    task = Task(key="k", caller="local", request=request, created_at=EPOCH, updated_at=EPOCH)
    return replace(task, task_id=f"id{ODD}\n", error=failure)


def test_tables_errors_findings_and_words_are_fit_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    task = hostile_task()
    show(table([task, task]))
    assert task.error
    explain(task.error)
    say(ODD + "\n")
    show(ODD)
    show(as_lines([problem(f"host {ODD}", f"broken {ODD}\nok   all", f"mend {ODD}\nok   all")]))
    output = capsys.readouterr()
    assert not steers(output.out + output.err)
    assert len(output.out.splitlines()) == 2 + 1 + 3
    assert [line.split(":")[0] for line in output.err.splitlines()[:2]] == ["network", "charged"]
    assert len(output.err.splitlines()) == 3


def test_json_stays_json_with_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    show_json(json.dumps({"prompt": ODD}, ensure_ascii=False, indent=2))
    show_json(as_json([problem("a", ODD, ODD)]))
    first, second = capsys.readouterr().out.split("}\n", 1)
    assert not steers(first + second)
    assert json.loads(first + "}") == {"prompt": ODD}
    assert json.loads(second)["findings"][0]["message"] == ODD


@pytest.mark.anyio
async def test_the_bar_shows_what_is_going_on_and_nothing_else() -> None:
    terminal = Terminal()
    await ProgressBar(terminal).report(10, 100, f"{ODD}\nprocessing")
    assert not steers(terminal.getvalue().strip("\r"))
    assert "\n" not in terminal.getvalue()


def test_a_path_is_as_it_is_for_a_script_and_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode("/clips/霧\u200d\x1b\udce9.mp4".encode("utf-8", "surrogateescape"))
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding="utf-8", errors="backslashreplace"))
    show_path(odd)
    assert pipe.getvalue() == os.fsencode(odd) + b"\n"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    show_path(odd)
    assert terminal.getvalue() == "/clips/霧\\u200d\\x1b\\udce9.mp4\n"


def test_log_lines_are_lines_of_this_program_tracebacks_too() -> None:
    formatter = Redacting(load_settings())
    try:
        raise ValueError(f"{ODD}\n2026-11-29 INFO luma_mcp: forged" + "x" * 100_000)
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "went wrong %s", (ODD,), sys.exc_info())
    first, *others = formatter.format(record).split("\n")
    assert not steers(first + "".join(others))
    assert others[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") and len(line) <= LONGEST_LINE + 3 for line in others)


def test_tasks_of_a_hostile_ledger_are_listed_without_harm(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_for(home, sandbox=True)
    typed = ODD.replace("\ud83d", "").replace("\x00", "")  # what a command line and a database can hold

    async def submit() -> None:
        async with open_app(settings) as app:
            request = VideoRequest(prompt="fog", source=SOURCE)
            await app.modify_video(request, "local", wait_seconds=0, progress=Progress(silent))

    anyio.run(submit)
    with closing(sqlite3.connect(settings.data_dir / "sandbox" / LEDGER_NAME, isolation_level=None)) as ledger:
        ledger.execute("UPDATE tasks SET prompt = ?, source = ?", (typed, f"https://example.com/{typed}"))
    for arguments in (["tasks"], ["tasks", "--json"], ["tasks", "--status", typed], ["modify", typed, typed]):
        main([*arguments, "--sandbox", "--data-dir", str(settings.data_dir)])
        output = capsys.readouterr()
        assert output.out + output.err
        assert not steers(output.out + output.err), arguments


@pytest.mark.parametrize("arguments", [["tasks", ODD], [ODD], ["tasks", f"--{ODD}"], ["sandbox", "--listen", ODD]])
def test_arguments_that_are_not_understood_are_repeated_without_harm(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([argument.replace("\x00", "") for argument in arguments])
    assert not steers(capsys.readouterr().err)


def test_a_host_file_of_an_odd_name_and_content_is_told_of_without_harm(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "odd\x1b[31m\u202e\n"
    (home / name).write_text(f'{{"mcpServers": "{ODD[1:8]}"}}')
    for write in ([], ["--write"]):
        main(["config", "claude-desktop", "--file", str(home / name), *write])
        output = capsys.readouterr()
        assert not steers(output.out + output.err)
    path = known_hosts()["cursor"].file()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"mcpServers": {"luma": {"command": f"/usr/bin/luma-mcp{ODD}", "args": []}}}))
    main(["doctor", "--sandbox"])
    assert not steers(capsys.readouterr().out)


def test_the_order_on_a_terminal_is_the_order_of_what_was_said(home: Path) -> None:
    words = (
        "import sys\nfrom luma_mcp.transports.stderr import spare_stderr\nspare_stderr()\n"
        "from luma_mcp.cli.console import say, show\n"
        "for number in range(200): say(f'said {number}'); show(f'shown {number}')"
    )
    ended = subprocess.run([SERVER[0], "-c", words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ended.stdout.splitlines() == [f"{what} {number}" for number in range(200) for what in ("said", "shown")]
