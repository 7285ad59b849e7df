"""Nothing that others wrote steers a terminal, hides from a person, or passes for a line of this program's own."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from luma_mcp.cli.console import (
    BAD_SETTING,
    EXIT_CODES,
    EXIT_HELP,
    ExitCode,
    exit_code,
    print_json,
    print_message,
    print_path,
    print_result,
)
from luma_mcp.cli.doctor.report import findings_json, format_findings, problem
from luma_mcp.cli.explanations import print_error, print_task_failure
from luma_mcp.core.errors import Failure, LumaError
from luma_mcp.core.models import Task, VideoRequest
from luma_mcp.core.settings_sources import BadSetting
from tests.support.rig import EPOCH, SOURCE
from tests.support.sandbox_process import SERVER
from tests.support.terminals import ODD, Terminal, steers


def test_errors_findings_and_words_are_fit_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_task_failure(
        Failure("network", f"no way {ODD}\ncharged: no.", "yes", retry_safe=False, hint=f"wait {ODD}\nx"),
        f"id{ODD}\n",
        lost=False,
    )
    print_error(BadSetting("--port", f"accepts {ODD}\nno"))
    print_message(ODD + "\n")
    print_result(ODD)
    print_result(format_findings([problem(f"host {ODD}", f"broken {ODD}\nok   all", f"mend {ODD}\nok   all")]))
    output = capsys.readouterr()
    assert not steers(output.out + output.err)
    assert len(output.out.splitlines()) == 1 + 3
    assert [line.split(":")[0] for line in output.err.splitlines()[:2]] == ["error", "  It was charged"]
    assert len(output.err.splitlines()) == 3 + 1 + 1


def test_json_stays_json_with_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(json.dumps({"prompt": ODD}, ensure_ascii=False, indent=2))
    print_json(findings_json([problem("a", ODD, ODD)]))
    first, second = capsys.readouterr().out.split("}\n", 1)
    assert not steers(first + second)
    assert json.loads(first + "}") == {"prompt": ODD}
    assert json.loads(second)["findings"][0]["message"] == ODD


def test_a_path_is_as_it_is_for_a_script_and_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode("/clips/霧\u200d\x1b\udce9.mp4".encode("utf-8", "surrogateescape"))
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding="utf-8", errors="backslashreplace"))
    print_path(odd)
    assert pipe.getvalue() == os.fsencode(odd) + b"\n"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_path(odd)
    assert terminal.getvalue() == "/clips/霧\\u200d\\x1b\\udce9.mp4\n"


def test_the_order_on_a_terminal_is_the_order_of_what_was_said(home: Path) -> None:
    words = (
        "import sys\nfrom luma_mcp.transports.stderr import install_nonblocking_stderr\ninstall_nonblocking_stderr()\n"
        "from luma_mcp.cli.console import print_message, print_result\n"
        "for number in range(200): print_message(f'said {number}'); print_result(f'shown {number}')"
    )
    ended = subprocess.run([SERVER[0], "-c", words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ended.stdout.splitlines() == [f"{what} {number}" for number in range(200) for what in ("said", "shown")]


def test_every_error_code_has_an_exit_code() -> None:
    assert BadSetting.code == BAD_SETTING
    assert {kind.code for kind in all_errors(LumaError)} == EXIT_CODES.keys()
    failure = Failure("no such code", "", "no", retry_safe=True, hint="")
    request = VideoRequest(prompt="fog", source=SOURCE)
    task = Task(key="k", caller="local", request=request, created_at=EPOCH, updated_at=EPOCH, error=failure)
    assert exit_code(task) == 1


def all_errors(kind: type[LumaError]) -> list[type[LumaError]]:
    return [found for child in kind.__subclasses__() for found in (child, *all_errors(child))]


def test_people_are_told_every_exit_code_that_a_command_can_mean() -> None:
    told = {int(number) for number in re.findall(r"\b\d+\b", EXIT_HELP)}
    assert told == set(ExitCode) - {ExitCode.BROKEN_PIPE}, "nobody reads what a broken pipe would be told"
