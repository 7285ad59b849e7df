"""A file that lies elsewhere than its path says is not read, on every system that tells where an open file lies."""

import sys
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.media.file_places import is_same_place, place_of, without_prefix
from luma_mcp.media.files import open_real

fcntl = pytest.importorskip("fcntl")


def play_mac(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Let this be macOS, which says of every open file that it lies at a place."""

    def told(descriptor: int, question: int, room: bytes) -> bytes:
        assert (question, len(room)) == (50, 1024)
        return place.encode().ljust(1024, b"\0")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_GETPATH", 50, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", told)


@pytest.mark.parametrize("there", ["{path}", "{upper}"])
def test_macos_tells_where_an_open_file_lies(home: Path, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    path = home / "clip.mp4"
    path.write_bytes(b"x")
    play_mac(monkeypatch, there.format(path=path, upper=str(path).upper()))
    open_real(path).close()


def test_a_file_that_lies_elsewhere_on_macos_is_not_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "clip.mp4"
    path.write_bytes(b"x")
    play_mac(monkeypatch, str(home / "private" / "clip.mp4"))
    with pytest.raises(OSError, match="was moved"):
        open_real(path)


def test_where_the_system_does_not_tell_the_path_is_trusted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> bytes:
        raise OSError(45, "Operation not supported")

    path = home / "clip.mp4"
    path.write_bytes(b"x")
    play_mac(monkeypatch, "")
    monkeypatch.setattr(fcntl, "fcntl", broken)
    assert place_of(0) == ""
    open_real(path).close()


@pytest.mark.parametrize(
    ("told", "path", "same"),
    [
        (r"\\?\C:\Users\me\clip.mp4", r"C:\Users\me\clip.mp4", True),
        (r"\\?\C:\Users\me\Clip.mp4", r"c:\users\me\clip.mp4", True),
        (r"\\?\UNC\nas\films\clip.mp4", r"\\nas\films\clip.mp4", True),
        (r"\\?\C:\Users\me\private\clip.mp4", r"C:\Users\me\clip.mp4", False),
        (r"\\?\UNC\other\films\clip.mp4", r"\\nas\films\clip.mp4", False),
    ],
)
def test_paths_of_windows_are_compared_as_windows_does(
    monkeypatch: pytest.MonkeyPatch, told: str, path: str, same: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert is_same_place(without_prefix(told), path) is same


def test_elsewhere_case_matters() -> None:
    assert not is_same_place("/a/Clip.mp4", "/a/clip.mp4")
