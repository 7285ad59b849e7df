"""Saving once more, and elsewhere."""

import json
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.sandbox.requests import foggy_clip
from tests.support.rig import SOURCE

CLIP = foggy_clip().read_bytes()


def task_made(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """Make a task, and give its id."""
    assert main(["modify", SOURCE, "fog", "--json", *flags]) == 0
    return str(json.loads(capsys.readouterr().out)["task_id"])


def saved(capsys: pytest.CaptureFixture[str], *arguments: str) -> Path:
    assert main(["save", *arguments]) == 0
    told = capsys.readouterr()
    assert "nothing now" in told.err
    path = Path(told.out.removesuffix("\n"))
    assert path.read_bytes() == CLIP
    return path


def test_a_result_is_saved_where_it_was_and_a_second_time_for_nothing(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = task_made(capsys, "--save", "never")
    first = saved(capsys, task_id)
    assert saved(capsys, task_id) == first
    first.unlink()
    assert saved(capsys, task_id) == first


def test_a_result_is_put_where_the_person_says(home: Path, configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    task_id = task_made(capsys)
    (home / "there").mkdir()
    assert saved(capsys, task_id, "--output", "fog.mp4") == home / "fog.mp4"
    assert saved(capsys, task_id, "--output", "there").parent == home / "there"
    assert saved(capsys, task_id, "--output", "new/folder/") == home / "new" / "folder" / saved(capsys, task_id).name
    assert saved(capsys, task_id, "--output", "there/fog") == home / "there" / "fog.mp4"


def test_a_copy_elsewhere_leaves_the_saved_one_where_every_server_finds_it(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = task_made(capsys, "--save", "never")
    assert saved(capsys, task_id, "--output", "here/fog.mp4") == home / "here" / "fog.mp4"
    (home / "here" / "fog.mp4").unlink()
    assert main(["tasks", "--json"]) == 0
    [task] = json.loads(capsys.readouterr().out)["tasks"]
    assert Path(task["video_path"]).parent == home / "Videos" / "luma"


def test_no_file_is_overwritten(home: Path, configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "fog.mp4").write_bytes(b"mine")
    task_id = task_made(capsys)
    assert saved(capsys, task_id, "--output", "fog.mp4") == home / "fog-2.mp4"
    assert saved(capsys, task_id, "--output", "fog.mp4") == home / "fog-2.mp4"
    assert (home / "fog.mp4").read_bytes() == b"mine"


def test_a_stand_in_of_the_sandbox_is_saved_too_and_called_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task_id = task_made(capsys, "--sandbox")
    assert main(["save", task_id, "--output", "fog.mp4", "--sandbox"]) == 0
    told = capsys.readouterr()
    assert "stand-in" in told.err
    assert told.out == f"{home / 'fog.mp4'}\n"


def test_a_script_gets_the_whole_task(home: Path, configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    task_id = task_made(capsys)
    assert main(["save", task_id, "--output", "fog.mp4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["video_path"] == str(home / "fog.mp4")
    assert main(["save", "nosuchtask", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "task_not_found"
