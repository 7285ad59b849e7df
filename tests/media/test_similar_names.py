"""Files are found by the names that people and models write, when one file can be meant, and never outside."""

import os
import unicodedata
from pathlib import Path

import pytest

from luma_mcp.core.errors import SourceNotAllowed, SourceNotFound
from luma_mcp.media import similar_names
from luma_mcp.media.similar_names import find_similar_names, normalize_name
from luma_mcp.media.sources import resolve_allowed_file, resolve_typed_file
from tests.support.rig import make_pipe

SCREEN = "Screen Recording 2026-11-22 at 3.45.12\u202fPM.mov"
ALIKE = [
    (SCREEN, SCREEN.replace("\u202f", " ")),
    (SCREEN, SCREEN.replace("\u202f", "\u00a0").lower()),
    ("plain blank.mp4", "plain\u202fblank.mp4"),
    (unicodedata.normalize("NFD", "Vidéo été.mp4"), "Vidéo été.mp4"),
    ("Vidéo été.mp4", unicodedata.normalize("NFD", "Vidéo été.mp4")),
    ("GOPRO1.MP4", "gopro1.mp4"),
    ("Anna\u2019s \u201cbest\u201d clip.mov", 'Anna\'s "best" clip.mov'),
    ("Anna's.mov", "Anna\u2019s.mov"),
    ("a\u2013b \u2014 c.mp4", "a-b - c.mp4"),
    ("a-b.mp4", "a\u2011b.mp4"),
    ("wait\u2026.mp4", "wait....mp4"),
    ("\u200eWhatsApp Video.mp4", "WhatsApp Video.mp4"),
    ("two  blanks.mp4", "two blanks.mp4"),
]


@pytest.fixture
def root(home: Path) -> Path:
    (home / "Videos").mkdir()
    return home / "Videos"


@pytest.mark.parametrize(("there", "asked"), ALIKE)
def test_a_file_is_found_however_its_name_is_written(root: Path, there: str, asked: str) -> None:
    (root / there).touch()
    assert resolve_allowed_file(root / asked, [root]) == root / there
    assert resolve_typed_file(root / asked) == root / there


@pytest.mark.parametrize(("there", "asked"), ALIKE)
def test_so_are_the_folders_on_the_way(root: Path, there: str, asked: str) -> None:
    (root / there / "in").mkdir(parents=True)
    (root / there / "in" / there).touch()
    assert resolve_allowed_file(root / asked / "IN" / asked, [root]) == root / there / "in" / there
    assert resolve_allowed_file(root / asked / "in" / asked, [root / there]) == root / there / "in" / there
    assert resolve_typed_file(root / asked / "IN" / asked) == root / there / "in" / there


def test_a_file_of_exactly_that_name_is_the_one(root: Path) -> None:
    for name in ("clip.mp4", "CLIP.mp4", "Clip.mp4"):
        (root / name).touch()
        assert resolve_allowed_file(root / name, [root]) == root / name


def test_two_that_could_be_meant_are_asked_about_by_their_names(root: Path) -> None:
    for name in ("a\u202fb.mp4", "a\u00a0b.mp4"):
        (root / name).touch()
    for find in (lambda path: resolve_allowed_file(path, [root]), resolve_typed_file):
        with pytest.raises(SourceNotFound) as raised:
            find(root / "a b.mp4")
        assert all(name in raised.value.message for name in ("a\\u202fb.mp4", "a\\u00a0b.mp4"))


def test_two_names_of_one_file_are_one(root: Path) -> None:
    (root / "a\u202fb.mp4").touch()
    (root / "a\u00a0b.mp4").symlink_to(root / "a\u202fb.mp4")
    assert resolve_allowed_file(root / "a b.mp4", [root, root]) == root / "a\u202fb.mp4"


@pytest.mark.parametrize("asked", ["b.mp4", "clip.mov", "clip2.mp4", "cl ip.mp4", "c1ip.mp4", "take2.mp4", ""])
def test_another_name_is_another_file(root: Path, asked: str) -> None:
    for name in ("clip.mp4", "take\u00b2.mp4"):
        (root / name).touch()
    with pytest.raises((SourceNotFound, SourceNotAllowed)):
        resolve_allowed_file(root / asked, [root])


def test_nothing_outside_is_found(home: Path, root: Path) -> None:
    outside = home / "private"
    outside.mkdir()
    (outside / "A.mp4").touch()
    (home / "B.mp4").touch()
    (root / "Link.mp4").symlink_to(outside / "A.mp4")
    (root / "Folder").symlink_to(outside)
    for asked in ("link.mp4", "folder/a.mp4", "Folder/a.mp4", "../private/a.mp4", "../b.mp4", "x/../../private/a.mp4"):
        with pytest.raises((SourceNotFound, SourceNotAllowed)) as raised:
            resolve_allowed_file(root / asked, [root])
        assert "A.mp4" not in raised.value.message
    for path in (outside / "a.mp4", home / "b.mp4"):
        with pytest.raises(SourceNotAllowed):
            resolve_allowed_file(path, [root])


def test_a_folder_is_no_file_and_a_pipe_is_none(root: Path) -> None:
    (root / "Clip.mp4").mkdir()
    make_pipe(root / "Pipe.mp4")
    for asked in ("clip.mp4", "pipe.mp4"):
        with pytest.raises(SourceNotFound):
            resolve_allowed_file(root / asked, [root])


def test_only_so_many_names_are_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def counted(name: str) -> str:
        looked.append(name)
        return normalize_name(name)

    monkeypatch.setattr(similar_names, "MAX_SEARCHED_ENTRIES", 50)
    monkeypatch.setattr(similar_names, "normalize_name", counted)
    (root / "a").symlink_to(root)
    for number in range(60):
        (root / f"{number}.mp4").touch()
    assert find_similar_names(root.joinpath(*["A"] * 30, "x.mp4"), [root]) == []
    assert sum(name.endswith(".mp4") or name == "a" for name in looked) < 60


def test_a_file_that_vanishes_while_its_links_are_resolved_is_no_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "clip.mp4").touch()
    real = os.path.realpath

    def raced(path: Path) -> str:
        if str(path).endswith("clip.mp4"):
            raise FileNotFoundError(2, "No such file or directory")
        return real(path)

    monkeypatch.setattr(os.path, "realpath", raced)
    with pytest.raises(SourceNotFound, match="there is no file"):
        resolve_allowed_file(root / "clip.mp4", [root])
    assert resolve_typed_file(root / "clip.mp4") == root / "clip.mp4"
