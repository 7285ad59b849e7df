"""Commands: what they print where, and how they end."""

import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from luma_mcp.__main__ import main
from luma_mcp.app.app import open_app
from luma_mcp.app.progress import Progress
from luma_mcp.core.models import VideoRequest
from luma_mcp.core.settings import load_settings
from luma_mcp.ledger.files import LEDGER_NAME
from luma_mcp.transports.auth import (
    ensure_local_token,
)
from tests.support.rig import SOURCE, settings_for, silent
from tests.support.terminals import ODD, steers


def test_the_whole_task_can_be_had_as_json(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modify", SOURCE, "snow", "--json", "--save", "never"]) == 0
    task = json.loads(capsys.readouterr().out)
    assert (task["status"], task["video_path"]) == ("completed", "")
    assert main(["tasks", "--json", "--status", "completed", "--limit", "1"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [found["task_id"] for found in listed["tasks"]] == [task["task_id"]]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["modify", "none.mp4", "fog"], 4),
        (["modify", "~nobody-of-that-name/a.mp4", "fog"], 4),
        (["modify", "circle.mp4", "fog"], 4),
        (["modify", "http://localhost/a.mp4", "fog"], 4),
        (["modify", SOURCE, " "], 4),
        (["tasks", "--status", "odd"], 4),
        (["tasks", "--limit", "0"], 4),
        (["modify", SOURCE, "fog", "--wait-seconds", "soon"], 2),
        (["--data-dir", "relative", "tasks"], 2),
    ],
)
def test_bad_input_is_explained_without_a_traceback(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    (home / "circle.mp4").symlink_to(home / "circle.mp4")
    assert main(arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err
    assert "Traceback" not in output.err


def test_a_port_for_other_machines_without_tokens_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUMA_MCP_TRANSPORT", "http")
    for host in ("0.0.0.0", "::"):
        assert main(["--host", host, "--port", "0"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("LUMA_MCP_AUTH_TOKENS: ")
        assert host in said


def test_no_tasks_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--sandbox"]) == 0
    assert capsys.readouterr().out == "No tasks.\n"


def test_a_port_that_is_taken_is_told_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        assert main(["sandbox", "--listen", number, "--data-dir", str(home)]) == 2
    assert capsys.readouterr().err.startswith(f"--listen: port {number} cannot be used: ")


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


def test_the_command_prints_the_token_and_nothing_else_on_stdout(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token"]) == 0
    told = capsys.readouterr()
    token = ensure_local_token(load_settings().data_dir).get_secret_value()
    assert (told.out, told.err) == (f"{token}\n", "")
    for tokens, word in (("none", "none"), ("ann:0123456789abcdef", "tokens of ann")):
        monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", tokens)
        assert main(["token"]) == 0
        told = capsys.readouterr()
        assert told.out == f"{token}\n"
        assert word in told.err
        assert "0123456789abcdef" not in told.err
