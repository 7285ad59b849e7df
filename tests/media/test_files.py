"""Files are read where their paths say that they lie, on systems that tell; they are published over no other."""

import sys
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.media.files import is_same_path, open_without_links, path_of_descriptor, publish, without_prefix
from tests.support.mp4_files import film

VIDEO = film()


def play_mac(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Let this be macOS, which says of every open file that it lies at a place."""

    def told(descriptor: int, question: int, room: bytes) -> bytes:
        assert (question, len(room)) == (50, 1024)
        return place.encode().ljust(1024, b"\0")

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_GETPATH", 50, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", told)


@pytest.mark.parametrize("there", ["{path}", "{upper}"])
def test_macos_tells_where_an_open_file_lies(home: Path, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    path = home / "clip.mp4"
    path.write_bytes(b"x")
    play_mac(monkeypatch, there.format(path=path, upper=str(path).upper()))
    open_without_links(path).close()


def test_a_file_that_lies_elsewhere_on_macos_is_not_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "clip.mp4"
    path.write_bytes(b"x")
    play_mac(monkeypatch, str(home / "private" / "clip.mp4"))
    with pytest.raises(OSError, match="was moved"):
        open_without_links(path)


def test_where_the_system_does_not_tell_the_path_is_trusted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> bytes:
        raise OSError(45, "Operation not supported")

    path = home / "clip.mp4"
    path.write_bytes(b"x")
    play_mac(monkeypatch, "")
    monkeypatch.setattr(pytest.importorskip("fcntl"), "fcntl", broken)
    assert path_of_descriptor(0) == ""
    open_without_links(path).close()


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
    assert is_same_path(without_prefix(told), path) is same


def test_elsewhere_case_matters() -> None:
    assert not is_same_path("/a/Clip.mp4", "/a/clip.mp4")


def test_a_name_that_a_killed_process_has_reserved_holds_nothing_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError

    def die(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (home / "part").write_bytes(VIDEO)
    target = home / "clip.mp4"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            publish(home / "part", target)
    published = publish(home / "part", target)
    assert (published.path.name, published.is_new) == ("clip-2.mp4", True)
    assert published.path.read_bytes() == VIDEO
