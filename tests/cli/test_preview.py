"""A picture of a result in a file: its path on stdout, and words about it on stderr."""

import json
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.preview import write_picture
from luma_mcp.media import preview
from tests.support.rig import SOURCE
from tests.support.videos import decoded_picture, needs_frames


def task_made(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """Make a task, and give its id."""
    assert main(["modify", SOURCE, "fog", "--json", *flags]) == 0
    return str(json.loads(capsys.readouterr().out)["task_id"])


def pictured(capsys: pytest.CaptureFixture[str], *arguments: str) -> Path:
    assert main(["preview", *arguments]) == 0
    told = capsys.readouterr()
    assert "320x180 pixels" in told.err
    assert "tell the user" not in told.err
    (line,) = told.out.splitlines()
    assert decoded_picture(Path(line).read_bytes())[0] == (976, 372)
    return Path(line)


@needs_frames
def test_a_picture_is_put_where_the_person_says(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = task_made(capsys)
    first = pictured(capsys, task_id)
    assert (first.parent, first.suffix) == (home / "Videos" / "luma", ".jpg")
    assert pictured(capsys, task_id) == first, "the same picture again"
    (home / "there").mkdir()
    assert pictured(capsys, task_id, "--output", "fog.jpg") == home / "fog.jpg"
    assert pictured(capsys, task_id, "--output", "there") == home / "there" / first.name
    assert pictured(capsys, task_id, "--output", "new/folder/") == home / "new" / "folder" / first.name


@needs_frames
def test_no_file_is_overwritten(home: Path, configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "fog.jpg").write_text("mine")
    assert pictured(capsys, task_made(capsys), "--output", "fog.jpg") == home / "fog-2.jpg"
    assert (home / "fog.jpg").read_text() == "mine"


def test_what_cannot_be_pictured_is_told_in_a_persons_words(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "find_frame_reader", lambda: "")
    assert main(["preview", "nosuchtask"]) == 4
    task_id = task_made(capsys)
    assert main(["preview", task_id]) == 6
    told = capsys.readouterr()
    assert told.out == ""
    assert 'uv tool install --force ".[preview]"' in told.err


@needs_frames
def test_a_place_that_cannot_be_written_is_told(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "file").touch()
    assert main(["preview", task_made(capsys), "--output", "file/fog.jpg"]) == 4
    assert "cannot be written" in capsys.readouterr().err


def test_a_hundred_pictures_of_a_name_are_enough(home: Path) -> None:
    for number in range(1, 100):
        (home / (f"fog-{number}.jpg" if number > 1 else "fog.jpg")).touch()
    with pytest.raises(FileExistsError):
        write_picture(home / "fog.jpg", b"jpeg")
