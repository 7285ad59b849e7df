"""Small files that have a say in what this program does: read whole, never waited for, and bounded."""

import os
import sys
from pathlib import Path

import pytest

from luma_mcp.core.small_files import MAX_SMALL_FILE_BYTES, OTHERS_TOUCH, OTHERS_WRITE, read_small
from tests.support.rig import make_pipe

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")


def test_a_file_of_the_largest_size_is_read_whole_and_one_byte_more_is_too_much(home: Path) -> None:
    path = home / "file"
    path.write_bytes(b"x" * MAX_SMALL_FILE_BYTES)
    assert len(read_small(path)) == MAX_SMALL_FILE_BYTES
    path.write_bytes(b"x" * (MAX_SMALL_FILE_BYTES + 1))
    with pytest.raises(OSError, match="larger than 256 KiB"):
        read_small(path)


def test_a_pipe_a_folder_and_an_endless_device_are_no_files_and_not_waited_for(home: Path) -> None:
    make_pipe(home / "pipe")
    for path in (home / "pipe", home, Path("/dev/zero")):
        with pytest.raises(OSError, match="regular file"):
            read_small(path)


def test_a_link_is_followed_and_nothing_there_is_said(home: Path) -> None:
    (home / "file").write_bytes(b"x")
    (home / "link").symlink_to(home / "file")
    assert read_small(home / "link") == b"x"
    with pytest.raises(FileNotFoundError):
        read_small(home / "none")


@posix
@pytest.mark.parametrize(
    ("mode", "bits", "why"),
    [
        (0o620, OTHERS_WRITE, "may write it"),
        (0o602, OTHERS_WRITE, "may write it"),
        (0o640, OTHERS_TOUCH, "may open it"),
        (0o601, OTHERS_TOUCH, "may open it"),
        (0o644, OTHERS_WRITE, ""),
        (0o600, OTHERS_TOUCH, ""),
        (0o666, 0, ""),
    ],
)
def test_only_what_is_asked_for_is_refused_to_others(home: Path, mode: int, bits: int, why: str) -> None:
    path = home / "file"
    path.write_bytes(b"x")
    path.chmod(mode)
    if why:
        with pytest.raises(PermissionError, match=why):
            read_small(path, refused_bits=bits)
    else:
        assert read_small(path, refused_bits=bits) == b"x"


@posix
def test_whose_a_file_is_counts_only_where_its_bits_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "file"
    path.write_bytes(b"x")
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 4321)
    if owner:
        with pytest.raises(PermissionError, match="another user"):
            read_small(path, refused_bits=OTHERS_WRITE)
    else:
        assert read_small(path, refused_bits=OTHERS_WRITE) == b"x", "root may have made it"
    assert read_small(path) == b"x"
