"""The working directory: hosts start this server in folders of others, and nothing that lies there has any say."""

import io
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

from luma_mcp.hosts.entries import find_launch_command
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import make_pipe

WATCH = """
import os, sys
here, told = os.getcwd(), os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def watch(event, arguments):
    if event in {{"open", "sqlite3.connect", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "import"}}:
        place = arguments[1 if event == "import" else 0]
        path = os.fsdecode(place) if isinstance(place, (str, bytes)) and place != ":memory:" else ""
        inside = os.path.abspath(path).startswith(here + os.sep) or (event == "open" and not os.path.isabs(path))
        if path and inside:
            os.write(told, f"{{event}} {{path}}\\n".encode())

sys.addaudithook(watch)
"""
START = """
from luma_mcp.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
TRAP = "raise SystemExit('a file of the working directory was run')\n"
ENV = """RUNAPI_API_KEY=theirs
RUNAPI_BASE_URL=http://127.0.0.1:9
LUMA_MCP_DATA_DIR=/proc/self/cwd/.luma
LUMA_MCP_PORT=1
LUMA_MCP_TRANSPORT=http
LUMA_MCP_MEDIA_ROOTS=/
LUMA_MCP_SANDBOX=perhaps
"""
MODULES = (
    "httpx",
    "sitecustomize",
    "usercustomize",
    "dotenv",
    "pydantic",
    "anyio",
    "mcp",
    "platformdirs",
    "luma",
    "http",
)
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
LISTING = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_tasks", "arguments": {}}}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """Make a folder of somebody else's, full of files that programs like to read."""
    folder = tmp_path / "repository"
    for name in (".luma", ".config/runapi", "runapi", "luma", "Videos", ".local/share/luma-mcp"):
        (folder / name).mkdir(parents=True)
    for name in MODULES:
        (folder / f"{name}.py").write_text(TRAP)
    for name in ("config.json", ".config/runapi/config.json", "runapi/config.json"):
        (folder / name).write_text(json.dumps({"api_key": "theirs", "base_url": "http://127.0.0.1:9"}))
    for name in ("pyproject.toml", "luma.toml", "uv.toml", "mcp.json", ".mcp.json", "luma-mcp.json"):
        (folder / name).write_text("[tool.luma]\nport = 1\n")
    for name in ("tasks.sqlite3", ".luma/tasks.sqlite3", ".local/share/luma-mcp/tasks.sqlite3", "http-token"):
        (folder / name).write_text("theirs")
    (folder / ".env").write_text(ENV)
    return folder


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """Give an environment without anything of this machine's, but for what the tests themselves need."""
    kept = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_START") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(
    words: Sequence[str], trapped: Path, home: Path, said: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run this server in the folder of somebody else's."""
    environment = environment_of(home, **more)
    return subprocess.run(words, cwd=trapped, env=environment, input=said, capture_output=True, text=True, timeout=120)


@pytest.fixture
def home_elsewhere(tmp_path: Path) -> Path:
    """Make a home folder beside that folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


COMMANDS: dict[str, tuple[list[str], str]] = {
    "stdio": (["--sandbox"], "\n".join(map(json.dumps, (HELLO, INITIALIZED, LISTING))) + "\n"),
    "modify": (["modify", str(bundled_clip()), "fog", "--sandbox"], ""),
    "doctor": (["doctor", "--sandbox"], ""),
    "config": (["config", "cursor", "--write", "--sandbox"], ""),
    "token": (["token"], ""),
    "tasks": (["tasks"], ""),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_nothing_of_the_working_directory_is_opened(
    trapped: Path, home_elsewhere: Path, tmp_path: Path, words: tuple[list[str], str]
) -> None:
    watching = WATCH.format(log=str(tmp_path / "log")) + START
    ended = run([sys.executable, "-P", "-c", watching, *words[0]], trapped, home_elsewhere, words[1])
    assert ended.returncode == 0, ended.stderr
    assert "theirs" not in ended.stdout + ended.stderr
    assert (tmp_path / "log").read_text() == ""


def test_nothing_of_the_working_directory_is_opened_over_http(
    trapped: Path, home_elsewhere: Path, tmp_path: Path
) -> None:
    watching = WATCH.format(log=str(tmp_path / "log")) + START
    words = [sys.executable, "-P", "-c", watching, "--transport", "http", "--port", "0", "--sandbox"]
    environment = environment_of(home_elsewhere)
    with subprocess.Popen(words, cwd=trapped, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert "luma-mcp serves" in (process.stderr or io.StringIO()).readline()
        process.terminate()
        assert process.wait(60) == 0
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to a device"])
def test_a_server_starts_whatever_lies_there(trapped: Path, home_elsewhere: Path, kind: str) -> None:
    (trapped / ".env").unlink()
    if kind == "fifo":
        make_pipe(trapped / ".env")
    elif kind == "folder":
        (trapped / ".env").mkdir()
    else:
        (trapped / ".env").symlink_to("/dev/zero")
    ended = run([*command(), "tasks", "--sandbox"], trapped, home_elsewhere)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "There are no tasks yet" in ended.stderr


def command() -> list[str]:
    """Give the command that hosts are told."""
    start = find_launch_command()
    return [start.command, *start.args]


@pytest.mark.parametrize("flags", [["-P"], []])
def test_python_imports_nothing_from_there(trapped: Path, home_elsewhere: Path, flags: list[str]) -> None:
    words = [sys.executable, *flags, "-m", "luma_mcp", "modify", str(bundled_clip()), "fog", "--sandbox"]
    ended = run(words, trapped, home_elsewhere)
    assert ended.returncode == 0, ended.stderr
    assert Path(ended.stdout.strip()).is_relative_to(home_elsewhere)


def test_what_hosts_are_told_to_run_imports_nothing_from_there(
    trapped: Path, home_elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(_: str) -> str:
        return str(trapped)

    monkeypatch.setattr(sysconfig, "get_path", nowhere)
    assert command()[1:] == ["-P", "-m", "luma_mcp"]
    (trapped / "runpy.py").write_text(TRAP)
    assert run([*command(), "tasks", "--sandbox"], trapped, home_elsewhere).returncode == 0


def test_relative_folders_of_the_environment_lead_nowhere(trapped: Path, home_elsewhere: Path) -> None:
    for name in ("RUNAPI_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_VIDEOS_DIR", "CODEX_HOME"):
        ended = run([*command(), "doctor", "--json"], trapped, home_elsewhere, **{name: "."})
        found = {finding["check"]: finding for finding in json.loads(ended.stdout)["findings"]}
        assert found["key"]["message"] == "No RunAPI key is configured."
        assert str(trapped) not in ended.stdout


def test_a_file_that_the_environment_names_is_not_looked_for_there(trapped: Path, home_elsewhere: Path) -> None:
    ended = run([*command(), "tasks"], trapped, home_elsewhere, LUMA_MCP_ENV_FILE=".env")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "LUMA_MCP_ENV_FILE: accepts an absolute path\n"
    ended = run([*command(), "tasks", "--env-file", ".env"], trapped, home_elsewhere)
    assert ended.stderr == "LUMA_MCP_SANDBOX: accepts true or false\n", "a person who types it may"
