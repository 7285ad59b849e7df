"""Where paths lead: links resolved, and folders compared as the file system compares them."""

import os
from pathlib import Path

import pytest

from luma_mcp.core.paths import hidden_parts, is_inside, is_same_folder, real_path, try_resolve


def test_what_lies_in_a_folder_is_inside_and_a_neighbour_with_a_longer_name_is_not(home: Path) -> None:
    folder = home / "clips"
    assert is_inside(folder / "a" / "b.mp4", folder)
    assert is_inside(folder, folder)
    assert not is_inside(home / "clips-of-others" / "b.mp4", folder)
    assert not is_inside(home, folder)


def test_a_folder_of_another_name_is_the_same_where_the_file_system_says_so(home: Path) -> None:
    (home / "clips").mkdir()
    (home / "Clips").symlink_to(home / "clips")
    assert is_same_folder(home / "Clips", home / "clips")
    assert is_inside(home / "Clips" / "b.mp4", home / "clips")
    assert hidden_parts(home / "Clips" / ".b" / "c.mp4", home / "clips") == [".b"]
    assert not is_same_folder(home / "none", home / "clips")
    assert not is_same_folder(home / "x\0y", home / "clips")


def test_hidden_parts_are_those_below_the_folder(home: Path) -> None:
    folder = home / ".config" / "clips"
    assert hidden_parts(folder / ".a" / "b" / ".c.mp4", folder) == [".a", ".c.mp4"]
    assert hidden_parts(folder / "b.mp4", folder) == []


def test_links_are_followed_and_a_circle_stays_as_it_is(home: Path) -> None:
    (home / "clips").mkdir()
    (home / "link").symlink_to(home / "clips")
    (home / "circle").symlink_to(home / "circle")
    assert real_path(home / "link" / "b.mp4") == home / "clips" / "b.mp4"
    assert real_path(home / "circle") == home / "circle"


def test_a_path_that_somebody_changes_meanwhile_is_none_and_one_that_cannot_be_written_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(_: Path) -> str:
        raise FileNotFoundError

    def unwritable(_: Path) -> str:
        raise UnicodeEncodeError("ascii", "霧", 0, 1, "ordinal not in range(128)")

    monkeypatch.setattr(os.path, "realpath", vanish)
    assert (try_resolve(home / "a"), real_path(home / "a")) == (None, home / "a")
    monkeypatch.setattr(os.path, "realpath", unwritable)
    assert try_resolve(home / "霧") == home / "霧"
