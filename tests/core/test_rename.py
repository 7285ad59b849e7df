"""A complete file gets its name, and never that of another file, with hard links or without."""

import os
import sys
from pathlib import Path
from unittest.mock import Mock, call

import pytest

from luma_mcp.core.rename import is_empty_file, rename_without_replacing


def test_a_file_gets_no_name_that_is_taken_where_renaming_refuses_that(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Mock()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.delattr(os, "link")
    rename_without_replacing(home / "a.part", home / "a.mp4")
    assert rename.call_args_list == [call(home / "a.part", home / "a.mp4")]


@pytest.fixture(params=["links", "no links"])
def folder(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be on a disk that has hard links, and on one that has none."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "no links":
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    (home / "a.part").write_text("new")
    return home


def test_a_free_name_is_given_with_all_that_is_in_the_file(folder: Path) -> None:
    rename_without_replacing(folder / "a.part", folder / "a.mp4")
    assert (folder / "a.mp4").read_text() == "new"


@pytest.mark.parametrize("content", ["old", ""])
def test_a_name_that_another_file_has_even_an_empty_one_is_refused(folder: Path, content: str) -> None:
    (folder / "a.mp4").write_text(content)
    with pytest.raises(FileExistsError):
        rename_without_replacing(folder / "a.part", folder / "a.mp4")
    assert ((folder / "a.mp4").read_text(), (folder / "a.part").read_text()) == (content, "new")


def test_a_link_that_leads_nowhere_has_its_name_too(folder: Path) -> None:
    (folder / "a.mp4").symlink_to(folder / "none")
    with pytest.raises(FileExistsError):
        rename_without_replacing(folder / "a.part", folder / "a.mp4")
    assert not (folder / "none").exists()


def test_a_name_that_a_killed_process_left_reserved_is_known_by_its_empty_file(home: Path) -> None:
    (home / "empty").touch()
    (home / "full").write_text("x")
    (home / "link").symlink_to(home / "empty")
    (home / "folder").mkdir()
    names = ("empty", "full", "link", "folder", "none")
    assert [name for name in names if is_empty_file(home / name)] == ["empty"]
