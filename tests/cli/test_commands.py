"""Running commands: what is imported for which, how settings come to them, and how they end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.commands import load_command_settings
from luma_mcp.core.settings_sources import BadSetting
from tests.support.rig import SOURCE

SLOW = ("mcp", "httpx", "pydantic", "starlette", "uvicorn", "luma_mcp.app", "luma_mcp.core.settings")
LOADED = "import sys\nfrom luma_mcp.__main__ import main\ntry: main({words})\nexcept SystemExit: pass\n"


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["--help-settings"], ["modify", "--help"], ["modfy"], ["completion", "zsh"]]
)
def test_what_needs_no_settings_imports_nothing_that_takes_long(words: list[str]) -> None:
    show = "print(*sys.modules, file=sys.stderr)"
    program = LOADED.format(words=words) + show
    ended = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(ended.stderr.splitlines()[-1].split())
    assert "luma_mcp.cli.main" in loaded
    assert loaded.isdisjoint(SLOW)


def test_a_bad_value_is_told_by_the_flag_that_gave_it_or_else_by_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data-dir", "relative", "tasks"]) == 2
    assert capsys.readouterr().err == "--data-dir: accepts an absolute path\n"
    monkeypatch.setenv("LUMA_MCP_DATA_DIR", "relative")
    assert main(["account", "--max-active", "3"]) == 2
    assert capsys.readouterr().err == "LUMA_MCP_DATA_DIR: accepts an absolute path\n"


def test_a_person_is_at_this_machine_whatever_a_server_of_theirs_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_TRANSPORT", "http")
    assert not load_command_settings({}, at_a_server=False).serves_http
    assert load_command_settings({}, at_a_server=True).serves_http
    with pytest.raises(BadSetting, match="--port"):
        load_command_settings({"port": "99999"}, at_a_server=True)


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
        (["tasks", "--limit", "0"], 4),
        (["save", "x", "--output", "nul"], 4),
        (["modify", SOURCE, "fog", "--max-active", "soon"], 2),
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
