"""Waiting for tasks from the command line."""

import pytest

from luma_mcp.__main__ import main


def test_a_task_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wait", "nosuchtask", "--sandbox"]) == 4
    assert capsys.readouterr().out == ""
