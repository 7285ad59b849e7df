"""Where a person wants the video: files and folders as people type them."""

from pathlib import Path

import pytest

from luma_mcp.cli.output import with_output
from luma_mcp.core.errors import InvalidRequest
from tests.support.rig import settings_for


def test_no_output_leaves_everything_as_it_is(home: Path) -> None:
    settings = settings_for(home)
    assert with_output(settings, "") == (settings, "")


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
    settings, chosen = with_output(settings_for(home), typed)
    assert (settings.output_dir.resolve(), chosen) == ((home / folder).resolve(), name)
    assert not (home / "new").exists()


def test_the_video_is_saved_there_whatever_a_server_would_do_and_earlier_files_are_still_found(home: Path) -> None:
    before = settings_for(home, save="never")
    settings, _ = with_output(before, "new/")
    assert settings.saves
    assert {home / "new", *before.saved_folders} == set(settings.saved_folders)


@pytest.mark.parametrize("typed", ["new/.hidden.mp4", "nul", "a|b.mp4", "a\nb.mp4", "x" * 200])
def test_what_no_file_can_be_called_everywhere_is_refused_in_the_words_of_the_flag(home: Path, typed: str) -> None:
    with pytest.raises(InvalidRequest, match="--output: the name of the file") as refused:
        with_output(settings_for(home), typed)
    assert "a folder" in refused.value.hint
