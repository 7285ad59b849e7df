"""Every command of ours on the pages for people works as it stands there, in the sandbox where it would cost."""

import io
import json
import re
import shlex
import subprocess
import sys
import webbrowser
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest

from luma_mcp.__main__ import main
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.login_page import serving_login_page
from tests.support.rig import KEY
from tests.support.sandbox_process import SERVER, sandbox_process, server_environment

CHECKOUT = Path(__file__).parents[2]
PAGES = ("README.md", "luma_mcp/server/TOOLS.md", "luma_mcp/media/FILES.md", "luma_mcp/transports/HTTP.md")
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
SERVES = {"--transport": "serves at", "sandbox": "plays RunAPI at", "gallery": "opens in your browser"}
FINDS_FAULTS = (0, 2, 6)  # what the doctor says without a key, or without the internet
CLIPS = ("walk.mp4", "run.mp4", "luma_mcp/sandbox/clip.mp4")


def commands() -> list[str]:
    """List the commands in sentences, tables and blocks for a shell, without what stands before them."""
    found: list[str] = []
    for page in PAGES:
        text = (CHECKOUT / page).read_text(encoding="utf-8")
        lines = "".join(SHELL.findall(text)).splitlines()
        found += [
            re.sub(r"^.*?\bluma-mcp ", "luma-mcp ", line)
            for line in lines
            if re.search(r"(^|[ /])luma-mcp -?-?\w", line) and not line.startswith("docker ")
        ]
        found += re.findall(r"`(luma-mcp [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return sorted({" ".join(command.split()) for command in found})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with sandbox_process(tmp_path_factory.mktemp("sandbox"), seconds=0.2) as url:
        yield url


@pytest.fixture
def folder(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a working directory with the clips and files that the pages speak of, and a RunAPI that costs nothing."""
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    for name in CLIPS:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(bundled_clip().read_bytes() + name.encode())
    (home / "tokens.env").write_text(f"LUMA_MCP_AUTH_TOKENS=ann:{'a' * 32}\n")
    (home / "tokens.env").chmod(0o600)
    return home


@pytest.mark.parametrize("command", [command for command in commands() if not command.startswith("luma-mcp login")])
def test_a_command_on_a_page_works(command: str, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command.replace("HOST", "zed"))[1:]
    if starts := [said for word, said in SERVES.items() if word in words[:1]]:
        assert starts[0] in first_line_of_server(words, folder, url)
        return
    if "TASK_ID" in words:
        words[words.index("TASK_ID")] = finished_task(capsys)
    if "--remove" in words:
        main(["config", words[1], "--write"])
    assert exit_code(words) in (FINDS_FAULTS if words[0] == "doctor" else (0,)), capsys.readouterr().err
    saved = capsys.readouterr().out.splitlines() if words[0] in {"modify", "save"} else []
    assert all(Path(path).stat().st_size for path in saved)
    assert bool(saved) == (words[0] in {"modify", "save"})


def exit_code(words: list[str]) -> int:
    """Run a command in this process; what argparse refuses, and `--help`, end it."""
    try:
        return main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


def finished_task(capsys: pytest.CaptureFixture[str]) -> str:
    """Have a clip modified, and give the task's id."""
    assert main(["modify", "walk.mp4", "in dense fog", "--json"]) == 0
    task_id: str = json.loads(capsys.readouterr().out)["task_id"]
    return task_id


def first_line_of_server(words: list[str], folder: Path, url: str) -> str:
    """Start a server on a free port, read stderr up to where it says that it serves, and end it."""
    free = ["--port", "0"] if words[0] == "--transport" else ["--listen", "0"]
    environment = server_environment(folder, url)
    with subprocess.Popen(
        [*SERVER, *words, *free], stderr=subprocess.PIPE, env=environment, cwd=folder, text=True
    ) as process:
        lines = iter(process.stderr or ())
        line = next((line for line in lines if any(said in line for said in SERVES.values())), "")
        process.terminate()
    return line


@pytest.mark.parametrize("words", [["login"], ["login", "--with-key"]], ids=" ".join)
def test_a_key_is_got_as_readme_says_and_removed_again(
    words: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"luma-mcp {' '.join(words)}" in commands()
    file = home / ".config" / "runapi" / "config.json"
    with serving_login_page() as page:
        monkeypatch.setenv("RUNAPI_BASE_URL", page.url)
        page.keys.append(KEY)
        monkeypatch.setattr(webbrowser, "_tryorder", ["a person's"])
        monkeypatch.setattr(webbrowser, "get", lambda _: SimpleNamespace(open=lambda url, *_: page.browse(url)))
        monkeypatch.setattr(sys, "stdin", io.StringIO(KEY))
        assert main(words) == 0
    assert json.loads(file.read_text())["api_key"]
    assert main(["logout"]) == 0
    assert "api_key" not in json.loads(file.read_text() if file.exists() else "{}")
