"""RunAPI's own file is changed as its own tools would, or left alone."""

import json
import stat
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from luma_mcp.core.runapi_file import RunAPIFileUnusable, check_runapi_file, remove_key, store_key

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
