"""RunAPI's own file is changed as its own tools would, or left alone."""

import json
import multiprocessing
import os
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from luma_mcp.core import failpoints
from luma_mcp.core.runapi_file import RunAPIFileUnusable, check_runapi_file, remove_key, store_key
from tests.system.crashing import KILL, arm

USUAL = "https://runapi.ai"
KEY = SecretStr("sk-new")


@pytest.fixture
def file(home: Path) -> Path:
    found = home / ".config" / "runapi" / "config.json"
    found.parent.mkdir(parents=True)
    return found


def content(file: Path) -> object:
    return json.loads(file.read_text(encoding="utf-8"))


def test_what_else_the_file_holds_stays(file: Path) -> None:
    file.write_text('{"apiKey": "sk-old", "theme": "dark", "baseUrl": "https://old.example"}', encoding="utf-8")
    assert store_key(KEY, USUAL, USUAL) == file
    assert content(file) == {"theme": "dark", "api_key": "sk-new"}


def test_a_key_stays_with_its_address(file: Path) -> None:
    store_key(KEY, "https://runapi.example", USUAL)
    assert content(file) == {"api_key": "sk-new", "base_url": "https://runapi.example"}
    assert remove_key() == file
    assert content(file) == {}
    assert remove_key() is None


def test_the_folder_is_made_and_nobody_else_reads_the_file(home: Path) -> None:
    path = store_key(KEY, USUAL, USUAL)
    if sys.platform != "win32":
        assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert [each.name for each in path.parent.iterdir()] == ["config.json"]


def test_a_link_to_the_file_stays_one(file: Path, home: Path) -> None:
    real = home / "dotfiles.json"
    real.write_text("{}", encoding="utf-8")
    file.symlink_to(real)
    store_key(KEY, USUAL, USUAL)
    assert file.is_symlink()
    assert content(real) == {"api_key": "sk-new"}


@pytest.mark.parametrize("text", ["no JSON", "[1]", '"text"', "\x00", "[" * 100_000])
def test_a_file_that_is_not_understood_is_left_as_it_is(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    for change in (check_runapi_file, remove_key):
        with pytest.raises(RunAPIFileUnusable):
            change()
    with pytest.raises(RunAPIFileUnusable):
        store_key(KEY, USUAL, USUAL)
    assert file.read_text(encoding="utf-8") == text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bits")
def test_a_file_that_others_can_write_is_not_added_to(file: Path) -> None:
    file.write_text("{}", encoding="utf-8")
    file.chmod(0o666)
    with pytest.raises(RunAPIFileUnusable, match="other users"):
        store_key(KEY, USUAL, USUAL)


def test_a_folder_in_place_of_the_file_is_told(file: Path) -> None:
    file.mkdir()
    with pytest.raises(RunAPIFileUnusable, match="regular file"):
        check_runapi_file()


def names(file: Path) -> list[str]:
    return sorted(found.name for found in file.parent.iterdir())


def killed_login(home: str, at: str) -> None:
    """Be a login that is killed when its file is written and has not got its name."""
    os.environ["HOME"] = home
    arm(at)
    store_key(SecretStr("sk-of-the-killed"), USUAL, USUAL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("held", ["", '{"api_key": "sk-old", "theme": "dark"}'])
@pytest.mark.parametrize("change", [lambda: store_key(KEY, USUAL, USUAL), remove_key])
def test_what_a_killed_login_left_behind_goes_with_the_next_change(
    file: Path, home: Path, held: str, change: Callable[[], object]
) -> None:
    if held:
        file.write_text(held, encoding="utf-8")
    others = [file.with_name(name) for name in (".config.json.1.2.tmp", ".config.json.swp", "notes")]
    for other in others:
        other.touch()
    context: Any = multiprocessing.get_context("forkserver")
    process = context.Process(target=killed_login, args=(str(home), "runapi_file.written"))
    process.start()
    process.join()
    assert process.exitcode == -KILL
    (left,) = [found for found in file.parent.iterdir() if "sk-of-the-killed" in found.read_text(encoding="utf-8")]
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert (file.read_text(encoding="utf-8") if file.exists() else "") == held
    change()
    assert left.exists(), "it may still be written"
    os.utime(left, (0, 0))
    change()
    assert not left.exists()
    assert all(other.exists() for other in others)


def test_of_two_logins_at_once_the_last_one_counts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def meanwhile(point: str) -> None:
        begun.append(point)
        if len(begun) == 1:
            store_key(SecretStr("sk-second"), USUAL, USUAL)

    monkeypatch.setattr(failpoints, "reach", meanwhile)
    assert store_key(SecretStr("sk-first"), USUAL, USUAL) == file
    assert content(file) == {"api_key": "sk-first"}, "it was told to be stored, after the other"
    assert names(file) == ["config.json"]


def test_many_logins_at_once_leave_a_whole_file_of_one_of_them(file: Path) -> None:
    keys = [SecretStr(f"sk-{number}-{'x' * 5000}") for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(store_key, keys, [USUAL] * len(keys), [USUAL] * len(keys))) == {file}
    assert content(file) in [{"api_key": key.get_secret_value()} for key in keys]
    assert names(file) == ["config.json"]


def test_a_link_to_another_disk_stays_one_and_leaves_nothing_there(file: Path, home: Path) -> None:
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    file.symlink_to(elsewhere / "runapi.json")
    store_key(KEY, USUAL, USUAL)
    assert content(elsewhere / "runapi.json") == {"api_key": "sk-new"}
    assert (names(file), [found.name for found in elsewhere.iterdir()]) == (["config.json"], ["runapi.json"])
