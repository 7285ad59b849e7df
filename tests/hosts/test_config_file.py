"""Files of hosts: read whole or not at all, replaced whole with a backup, and left alone in doubt."""

import os
import stat
import sys
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.hosts import config_file
from luma_mcp.hosts.config_file import HostFileUnusable, read_file, read_limited, replace_file
from luma_mcp.hosts.registry import ENTRY_NAME, all_hosts
from tests.support.host_files import STRICT, backups, placed


def make_pipe(path: Path) -> None:
    """Put a pipe at a path."""
    if sys.platform != "win32":
        os.mkfifo(path)


def test_a_file_that_is_too_large_is_neither_read_nor_changed(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "large.json"
    with path.open("wb") as file:
        file.truncate(config_file.MAX_FILE_BYTES + 1)
    for name in ("claude-code", "codex", "goose"):
        assert main(["config", name, "--write", "--file", str(path)]) == 4
        assert "is larger than 16 MB, so it was left as it is." in capsys.readouterr().err
    assert list(home.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="such files are POSIX's")
@pytest.mark.parametrize("name", ["goose", "claude-code", "codex"])
def test_pipes_and_devices_are_no_files_of_hosts(home: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    make_pipe(home / "pipe")
    (home / "link").symlink_to("/dev/zero")
    for path in (home / "pipe", home / "link", Path("/dev/zero"), Path("/dev/tty")):
        assert main(["config", name, "--write", "--file", str(path)]) == 4
        assert "is no file." in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="such files are POSIX's")
def test_a_file_that_becomes_a_pipe_at_the_last_moment_is_not_waited_for(home: Path) -> None:
    make_pipe(home / "pipe")
    with pytest.raises(HostFileUnusable, match="is no file"):
        read_limited(home / "pipe")


UNUSABLE = {
    "not JSON": "{'a': 1",
    "JSON of another kind": "[]",
    "comments where the host reads none": '{} // "x"',
    "servers of another kind": '{"mcpServers": ["x"]}',
    "an entry of another kind": '{"mcpServers": {"luma": "x"}}',
    "an entry with an address": '{"mcpServers": {"luma": {"url": "https://x.example"}}}',
    "variables of another kind": '{"mcpServers": {"luma": {"command": "luma-mcp", "env": []}}}',
    "not UTF-8": b'{"a": "\xff"}',
    "nested too deeply": '{"a":' * 100_000,
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_file_that_cannot_be_used_is_left_as_it_is(
    home: Path, capsys: pytest.CaptureFixture[str], content: str | bytes
) -> None:
    path = placed(all_hosts()["claude-desktop"], content)
    before = path.read_bytes()
    assert main(["config", "claude-desktop", "--write"]) == 4
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err
    assert "Traceback" not in told.err
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_read_only_file_is_left_as_it_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = placed(all_hosts()["claude-desktop"], STRICT)
    path.chmod(0o444)
    assert main(["config", "claude-desktop", "--write"]) == 4
    assert "read-only" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == STRICT
    assert backups(path) == []


def test_a_file_behind_a_link_is_written_where_it_lies(home: Path) -> None:
    real = home / "dotfiles.json"
    real.write_text("{}")
    link = all_hosts()["cursor"].config_path()
    link.parent.mkdir()
    link.symlink_to(real)
    assert main(["config", "cursor", "--write"]) == 0
    assert link.is_symlink()
    assert ENTRY_NAME in real.read_text(encoding="utf-8")


def test_a_file_that_changes_meanwhile_is_not_overwritten(home: Path) -> None:
    path = placed(all_hosts()["claude-code"], "{}")
    old = read_file(path)
    path.write_text('{"a": 1}')
    with pytest.raises(HostFileUnusable, match="by another program"):
        replace_file(old, "{}")
    assert path.read_text() == '{"a": 1}'
    assert list(path.parent.glob(f".{path.name}*.new")) == []


def test_backups_and_new_files_are_for_their_owner_only(home: Path) -> None:
    path = placed(all_hosts()["cursor"], "{}")
    path.chmod(0o644)
    assert main(["config", "cursor", "--write"]) == 0
    [backup] = backups(path)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_of_somebody_else_is_left_alone_or_stays_theirs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = placed(all_hosts()["cursor"], "{}")
    given: list[tuple[int, int]] = []

    def chown(_: Path, owner: int, group: int) -> None:
        given.append((owner, group))
        raise PermissionError(1, "Operation not permitted")

    real = Path.stat

    def stat_of(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = real(self, follow_symlinks=follow_symlinks)
        return os.stat_result((*found[:4], 4321, 4321, *found[6:])) if self == path else found

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(Path, "stat", stat_of)
    assert main(["config", "cursor", "--write"]) == 4
    assert given == [(4321, 4321)]
    assert path.read_text() == "{}"
    assert list(path.parent.iterdir()) == [path], "no backup of what did not change"


def test_the_mark_and_the_line_ends_of_windows_stay(home: Path) -> None:
    path = placed(all_hosts()["claude-desktop"], ("\ufeff" + STRICT).replace("\n", "\r\n"))
    assert main(["config", "claude-desktop", "--write"]) == 0
    text = path.read_bytes().decode()
    assert text.startswith("\ufeff{")
    assert text.count("\n") == text.count("\r\n") > STRICT.count("\n")
