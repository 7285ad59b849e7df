"""`luma-mcp gallery` as a process of its own, and the browser that it opens."""

import os
import re
import signal
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli import gallery
from luma_mcp.cli.gallery import open_window

COMMAND = [sys.executable, "-m", "luma_mcp", "gallery"]
ADDRESS = re.compile(r"(http://127\.0\.0\.1:(\d+)/[\w-]{22}/)#token=([\w-]{43})\n")


@contextmanager
def running(*flags: str) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the command where there is no browser; give the process, and what it said up to then."""
    environment = {**os.environ, "BROWSER": str(Path(os.devnull))}
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *flags], text=True, env=environment, stdout=pipe, stderr=pipe) as process:
        assert process.stderr
        try:
            said = [process.stderr.readline()]
            while "by hand" not in said[-1]:
                said.append(process.stderr.readline())
                assert said[-1], "".join(said)
            yield process, said
        finally:
            process.kill()


def address_in(said: list[str]) -> tuple[str, str, str]:
    match = next(filter(None, map(ADDRESS.fullmatch, said)))
    return match[1], match[2], match[3]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
def test_it_serves_until_ctrl_c_and_ends_with_a_plain_line(home: Path) -> None:
    with running("--sandbox") as (process, said), httpx.Client(trust_env=False) as http:
        page, port, token = address_in(said)
        assert "sandbox" in said[0]
        assert "<html" in http.get(page).text
        headers = {"Origin": f"http://127.0.0.1:{port}"}
        assert http.post(f"{page}gallery/session", json={"token": token}, headers=headers).status_code == 204
        assert http.get(f"{page}gallery/api/tasks").json()["tasks"] == []
        again = http.post(f"{page}gallery/session", json={"token": token}, headers=headers)
        assert again.status_code == 401
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert rest.splitlines()[-1] == gallery.ENDED
    assert "a second time" in rest
    assert "Traceback" not in rest


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
def test_it_shows_what_the_command_line_made_and_only_in_its_own_ledger(home: Path) -> None:
    clip = home / "Videos" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes((Path(gallery.__file__).parents[1] / "sandbox" / "clip.mp4").read_bytes())
    assert main(["modify", str(clip), "A foggy morning", "--sandbox"]) == 0
    for flags, prompts in ((["--sandbox"], ["A foggy morning"]), ([], [])):
        with running(*flags) as (_, said), httpx.Client(trust_env=False) as http:
            page, port, token = address_in(said)
            headers = {"Origin": f"http://127.0.0.1:{port}"}
            assert http.post(f"{page}gallery/session", json={"token": token}, headers=headers).status_code == 204
            tasks = http.get(f"{page}gallery/api/tasks").json()["tasks"]
            assert [task["prompt"] for task in tasks] == prompts
            for task in tasks:
                for which, path in (("source", clip), ("result", Path(task["video_path"]))):
                    video = http.get(f"{page}gallery/api/videos/{task['task_id']}/{which}")
                    assert (video.status_code, video.content) == (200, path.read_bytes())


def test_a_port_that_is_taken_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        assert main(["gallery", "--listen", number]) == 2
    assert capsys.readouterr().err.startswith(f"--listen: port {number} cannot be used: ")


@pytest.mark.parametrize(
    ("name", "opened"), [("firefox", True), ("xdg-open", True), ("lynx", False), ("/usr/bin/w3m", False)]
)
def test_a_browser_without_windows_is_not_opened(monkeypatch: pytest.MonkeyPatch, name: str, opened: bool) -> None:
    seen: list[str] = []

    class Browser(webbrowser.GenericBrowser):
        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:  # noqa: FBT002 - as there
            seen.append(url)
            return True

    monkeypatch.setattr(webbrowser, "get", lambda: Browser(name))
    assert open_window("http://127.0.0.1:1/") is opened
    assert bool(seen) is opened
