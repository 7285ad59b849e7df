"""Without a command: a person is told what to type, and everybody else is served."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli import servers
from tests.support.sandbox_process import SERVER
from tests.support.terminals import Terminal


def test_a_person_at_a_terminal_is_told_what_it_is_and_what_to_type(home: Path) -> None:
    pty = pytest.importorskip("pty")
    outer, terminal = pty.openpty()
    ended = subprocess.run(SERVER, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, timeout=60, check=True)
    os.close(terminal)
    shown = os.read(outer, 65536).decode()
    os.close(outer)
    for words in ("modify CLIP.mp4", "--sandbox", "luma-mcp login", "luma-mcp config", "luma-mcp --help"):
        assert words in shown
    assert max(map(len, shown.splitlines())) < 80
    assert ended.stderr == b""


@pytest.mark.parametrize(
    ("stdin_is_terminal", "stdout_is_terminal", "flags"),
    [(True, False, []), (False, True, []), (False, False, []), (True, True, ["--transport", "http"])],
)
def test_everybody_else_is_served(
    monkeypatch: pytest.MonkeyPatch, stdin_is_terminal: bool, stdout_is_terminal: bool, flags: list[str]
) -> None:
    served = []

    def serve(settings: object) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr(servers, "serve", serve)
    if stdin_is_terminal:
        monkeypatch.setattr(sys, "stdin", Terminal())
    if stdout_is_terminal:
        monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(flags) == 0
    assert len(served) == 1
