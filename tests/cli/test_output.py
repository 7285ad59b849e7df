"""Where a person wants the video: files and folders as people type them."""

from pathlib import Path

import pytest

from luma_mcp.cli.output import Output, read_output
from luma_mcp.core.errors import InvalidRequest


def test_nothing_typed_asks_for_no_copy() -> None:
    assert read_output("") is None


@pytest.mark.parametrize(
    ("typed", "folder", "name"),
    [
        ("fog.mp4", "", "fog.mp4"),
        ("fog", "", "fog.mp4"),
        ("clips/fog.mov", "clips", "fog.mov"),
        ("../fog.mp4", "..", "fog.mp4"),
        ("~/fog.mp4", "", "fog.mp4"),
        ("there", "there", ""),
        ("there/", "there", ""),
        ("new/", "new", ""),
        (".", "", ""),
        ("there/../a b.mp4", "", "a b.mp4"),
    ],
)
def test_a_file_or_folder_is_meant_from_where_the_person_is(home: Path, typed: str, folder: str, name: str) -> None:
    (home / "there").mkdir()
    asked = read_output(typed)
    assert asked == Output((asked or Output(home)).folder, name)
    assert asked.folder.resolve() == (home / folder).resolve()
    assert not (home / "new").exists()


@pytest.mark.parametrize("typed", ["new/.hidden.mp4", "nul", "a|b.mp4", "a\nb.mp4", "x" * 200])
def test_what_no_file_can_be_called_everywhere_is_refused_in_the_words_of_the_flag(typed: str) -> None:
    with pytest.raises(InvalidRequest, match="--output: the name of the file") as refused:
        read_output(typed)
    assert "a folder" in refused.value.hint
