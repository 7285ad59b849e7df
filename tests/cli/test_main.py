"""The command line: what it prints where, and how it ends."""

import anyio
import pytest

from luma_mcp.__main__ import main
from tests.support.rig import SOURCE
from tests.support.terminals import ODD, steers


def test_an_interruption_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "run", interrupted)
    assert main(["modify", SOURCE, "fog", "--sandbox"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["--help"], ["modify", "--help"], ["tasks", "--help"], ["sandbox", "--help"]])
def test_help_is_for_newcomers(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "LUMA_MCP_SANDBOX" in text
    assert "--api-key" not in text
    assert "auth" not in text


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == "runapi-luma-mcp 0.1.0\n"


@pytest.mark.parametrize("arguments", [["tasks", ODD], [ODD], ["tasks", f"--{ODD}"], ["sandbox", "--listen", ODD]])
def test_arguments_that_are_not_understood_are_repeated_without_harm(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([argument.replace("\x00", "") for argument in arguments])
    assert not steers(capsys.readouterr().err)
