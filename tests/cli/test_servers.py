"""Serving, and the token for it."""

import socket
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.core.settings import load_settings
from luma_mcp.transports.auth import (
    ensure_local_token,
)


def test_a_port_for_other_machines_without_tokens_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUMA_MCP_TRANSPORT", "http")
    for host in ("0.0.0.0", "::"):
        assert main(["--host", host, "--port", "0"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("LUMA_MCP_AUTH_TOKENS: ")
        assert host in said


def test_a_port_that_is_taken_is_told_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        assert main(["sandbox", "--listen", number, "--data-dir", str(home)]) == 2
    assert capsys.readouterr().err.startswith(f"--listen: port {number} cannot be used: ")


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
