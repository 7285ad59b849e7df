"""Files of hosts that would take for ever: refused in one line before anything is made of them, and left alone."""

import os
import sys
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.hosts import files, yaml_text
from luma_mcp.hosts.documents import Form, changed, read
from luma_mcp.hosts.files import HostFileUnusable, bounded_bytes
from luma_mcp.hosts.known import known_hosts


def make_pipe(path: Path) -> None:
    """Put a pipe at a path."""
    if sys.platform != "win32":
        os.mkfifo(path)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE_YAML = {
    "a bomb of aliases": BOMB,
    "a bomb of merges": MERGED,
    "a bomb below the servers": "extensions:\n  luma: {cmd: luma-mcp}\n" + BOMB,
    "a list that holds itself": "a: &a [*a]\n",
    "a mapping that holds itself": "a: &a\n  b: *a\n",
    "an alias of nothing": "a: *b\n",
    "too many names": "".join(f"k{number}: v\n" for number in range(yaml_text.MOST_NODES)),
    "brackets": "a: " + "[" * 50_000,
    "braces": "a: " + "{a: " * 50_000,
    "steps": "".join(" " * depth + "a:\n" for depth in range(500)),
    "lists in lists": "a:\n" + "- " * 50_000,
    "questions": "? " * 50_000,
    "a large text": "a: " + "x" * 300_000,
    "a large comment": "#" * 300_000,
    "a long number": "a: " + "9" * 100_000,
    "a tag of Python": "a: !!python/object/apply:os.system ['echo no']\n",
}


@pytest.mark.parametrize("name", ["goose", "hermes"])
@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML.keys())
def test_yaml_that_stands_for_too_much_is_refused_in_a_line(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    path = home / "config.yaml"
    path.write_text(text)
    assert main(["config", name, "--write", "--file", str(path)]) == 4
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0].startswith(f"{path} ")
    assert len(told.err) < 1000
    assert path.read_text() == text
    assert list(home.iterdir()) == [path]


def test_aliases_that_stand_for_little_are_fine() -> None:
    usual = "defaults: &d\n  timeout: 30\nextensions:\n  a:\n    <<: *d\n    cmd: x\n  b:\n    <<: *d\n    cmd: y\n"
    assert read("yaml", usual)["extensions"]["b"] == {"timeout": 30, "cmd": "y"}


HOSTILE: list[tuple[str, Form, str]] = [
    ("comments that do not end", "jsonc", "/* " * 300_000),
    ("comments that nearly end", "jsonc", "/*/ " * 300_001),
    ("quotes", "jsonc", '"' * 300_001),
    ("escaped quotes", "jsonc", '"' + '\\"' * 300_000),
    ("backslashes", "jsonc", '"' + "\\" * 300_001),
    ("commas", "jsonc", "[" + "," * 300_000),
    ("blanks", "jsonc", "[1," + " " * 300_000 + "x"),
    ("blanks and commas", "jsonc", "[" + ", " * 300_000),
    ("brackets", "json", "[" * 300_000),
    ("braces", "jsonc", '{"a":' * 300_000),
    ("a long number", "json", '{"a": ' + "9" * 300_000 + "}"),
    ("brackets in TOML", "toml", "a = " + "[" * 100_000),
    ("inline tables in TOML", "toml", "a = " + "{a = " * 50_000),
    ("a large text", "toml", "a = '" + "x" * 300_000 + "'\n"),
    ("many tables", "toml", "".join(f"[a.b{number}]\n" for number in range(40_000))),
]


@pytest.mark.parametrize(("form", "text"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_other_forms_are_refused_in_a_line_too(form: Form, text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{1,300}$"):
        read(form, text)


def test_a_comment_that_does_not_end_is_no_end_of_a_document() -> None:
    with pytest.raises(ValueError, match="a comment does not end"):
        read("jsonc", '{"a": 1} /* and so on')


def test_texts_in_which_comments_only_seem_to_begin_are_read_and_changed() -> None:
    text = '{\n  "a": "https://x.example/*", // "open\n  "b": "\\"//\\\\", /* , } */\n  "c": [1, 2,],\n}\n'
    assert read("jsonc", text) == {"a": "https://x.example/*", "b": '"//\\', "c": [1, 2]}
    assert changed("jsonc", text, {("d",): 1}) == text.replace("],\n}", '],\n  "d": 1\n}')


def test_a_large_file_of_a_host_that_keeps_much_in_it_is_changed(home: Path) -> None:
    text = '{"history": [' + ", ".join(['{"display": "some words", "at": 1}'] * 60_000) + '], "mcpServers": {}}'
    new = changed("json", text, {("mcpServers", "luma"): {"command": "x"}})
    assert new.startswith(text[:-2])
    assert read("json", new)["mcpServers"] == {"luma": {"command": "x"}}


def test_a_file_that_is_too_large_is_neither_read_nor_changed(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "large.json"
    with path.open("wb") as file:
        file.truncate(files.LARGEST_BYTES + 1)
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
        bounded_bytes(home / "pipe")


@pytest.mark.skipif(sys.platform == "win32", reason="such files are POSIX's")
def test_a_pipe_in_place_of_lm_studios_pointer_is_not_waited_for(home: Path) -> None:
    make_pipe(home / ".lmstudio-home-pointer")
    assert known_hosts()["lm-studio"].file() == home / ".lmstudio" / "mcp.json"


def test_the_doctor_looks_at_a_bomb_and_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = known_hosts()["goose"].file()
    path.parent.mkdir(parents=True)
    path.write_text(BOMB)
    assert main(["doctor", "--sandbox"]) != 0
    told = capsys.readouterr().out
    assert "Goose: " in told
    assert "stands for more than" in told
