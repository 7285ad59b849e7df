"""Coming back to tasks from the command line, and leaving them."""

import json
import os
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.console import EXIT_CODES
from luma_mcp.cli.wait import NOTHING_RUNS
from tests.support.rig import SOURCE
from tests.support.sandbox_process import SERVER, sandbox_process

INTERRUPTED = 130


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([*SERVER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def newest(state: str = "") -> dict[str, str]:
    """Give the newest task as scripts see it; empty if there is none."""
    listed = subprocess.run([*SERVER, "tasks", "--json"], capture_output=True, text=True, check=True)
    tasks = [task for task in json.loads(listed.stdout)["tasks"] if state in ("", task["status"])]
    return tasks[0] if tasks else {}


def left_alone(prompt: str) -> tuple[dict[str, str], str]:
    """Interrupt a modification once RunAPI has named its task; give the task, and what was said."""
    with start("modify", SOURCE, prompt) as process:
        while not (task := newest()).get("task_id"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == INTERRUPTED
    return task, said


def test_ctrl_c_says_what_goes_on_and_how_to_come_back_which_works(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    with sandbox_process(home, seconds=6) as url:
        monkeypatch.setenv("RUNAPI_BASE_URL", url)
        task, said = left_alone("left alone")
        assert f"Task {task['task_id']} goes on at RunAPI" in said
        assert "0.50 USD if it succeeds" in said
        assert f"luma-mcp wait {task['task_id']}" in said
        assert "Traceback" not in said
        assert main(["wait", task["task_id"]]) == 0
        told = capsys.readouterr()
        assert Path(told.out.strip()).is_file()
        assert "Cost       0.50 USD" in told.err
        assert main(["wait"]) == 0
        assert capsys.readouterr().err == f"{NOTHING_RUNS}\n"


def test_a_second_ctrl_c_leaves_at_once_and_without_a_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with sandbox_process(home, seconds=60) as url:
        monkeypatch.setenv("RUNAPI_BASE_URL", url)
        httpx.post(f"{url}/sandbox/faults", json={"kind": "slow", "seconds": 30})
        with start("modify", SOURCE, "in a hurry") as process:
            assert process.stderr
            while not newest("submitting"):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline().startswith("Interrupted.")
            assert process.stderr.readline().endswith("nothing is paid twice.\n")
            process.send_signal(signal.SIGINT)
            assert process.wait() == INTERRUPTED
            assert process.stderr.read() == ""


def test_all_that_runs_is_waited_for_when_no_task_is_named(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    for prompt in ("one", "two"):
        with start("modify", SOURCE, prompt) as process:
            while newest().get("prompt") != prompt:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            process.communicate()
    assert main(["wait", "--json"]) == 0
    ended = json.loads(capsys.readouterr().out)
    assert all(task["status"] == "completed" and os.path.isfile(task["video_path"]) for task in ended)


def test_a_task_that_nobody_here_can_ask_for_is_not_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    with sandbox_process(home, seconds=60) as url:
        monkeypatch.setenv("RUNAPI_BASE_URL", url)
        task, _ = left_alone("with another key")
        for variable, value, code in (
            ("RUNAPI_API_KEY", "runapi_live_another", "invalid_api_key"),
            ("RUNAPI_API_KEY", "", "missing_api_key"),
            ("RUNAPI_BASE_URL", "http://127.0.0.1:9", "invalid_request"),
        ):
            with pytest.MonkeyPatch.context() as other:
                other.setenv(variable, value)
                assert main(["wait", task["task_id"][:8]]) == EXIT_CODES[code]


def test_a_task_that_there_is_not_is_told_as_that(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wait", "6c1f0000-0000-4000-8000-000000000000"]) == EXIT_CODES["task_not_found"]
    assert "luma-mcp tasks lists" in capsys.readouterr().err


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RUNAPI_API_KEY", "runapi_live_0123456789")
    return "runapi_live_0123456789"
