"""YAML that people keep by hand: changed in place, and refused where it stands for too much."""

from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.hosts import yaml
from luma_mcp.hosts.formats import changed, parse_document, without
from luma_mcp.hosts.registry import all_hosts

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
    "too many names": "".join(f"k{number}: v\n" for number in range(yaml.MAX_NODES)),
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
    assert parse_document("yaml", usual)["extensions"]["b"] == {"timeout": 30, "cmd": "y"}


def test_the_doctor_looks_at_a_bomb_and_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = all_hosts()["goose"].config_path()
    path.parent.mkdir(parents=True)
    path.write_text(BOMB)
    assert main(["doctor", "--sandbox"]) != 0
    told = capsys.readouterr().out
    assert "Goose: " in told
    assert "stands for more than" in told


BY_HAND = """# kept by hand
model: 'x'   # the best
servers:
    # first
    files: {cmd: npx}

# about tools
tools: &tools [a, b]
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("model",), "y", "'x'   # the best", '"y"   # the best'),
        (("servers", "files", "cmd"), "uvx", "{cmd: npx}", '{cmd: "uvx"}'),
        (("servers", "files", "args"), ["-y"], "{cmd: npx}", '{cmd: npx, "args": ["-y"]}'),
        (("servers", "luma"), {"cmd": "x"}, "servers:\n", "servers:\n    luma:\n      cmd: x\n"),
        (("limits", "seconds"), 5, BY_HAND, BY_HAND + "limits:\n  seconds: 5\n"),
    ],
)
def test_a_value_is_put_in_place_and_no_other_byte_moves(
    path: tuple[str, ...], value: object, old: str, new: str
) -> None:
    assert changed("yaml", BY_HAND, {path: value}) == BY_HAND.replace(old, new)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "servers:\n", "servers: ~\n", "servers: null # none yet\n"])
def test_what_holds_nothing_yet_is_filled(text: str) -> None:
    assert parse_document("yaml", changed("yaml", text, {("servers", "luma"): {"cmd": "x"}})) == {
        "servers": {"luma": {"cmd": "x"}}
    }


def test_a_value_that_other_places_share_is_not_changed_for_all_of_them() -> None:
    shared = "a: &a {x: 1}\nb: *a\n"
    with pytest.raises(ValueError, match="cannot be changed without harm"):
        changed("yaml", shared, {("b", "x"): 2})


def test_an_error_names_the_line_and_nothing_that_stands_there() -> None:
    with pytest.raises(ValueError, match=r"^something is wrong in line 3$"):
        yaml.parse_yaml("a: 1\nsecret: [x\n  y: }\n")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("s:\n  luma:\n    a: 1 # ours\n  # about b\n  b: 2\n", "s:\n  # about b\n  b: 2\n"),
        ("s:\n  b: 2\n  luma:\n    a: |\n      text\n      more\n# end\n", "s:\n  b: 2\n# end\n"),
        ("s:\n  luma:\n    args:\n    - a\n    - b\n  c: 1", "s:\n  c: 1"),
        ("s:\n  luma:\n    key:\n  # about b\n  b: 1\n", "s:\n  # about b\n  b: 1\n"),
        ("s: # c\n  luma:\n    a: 1\n", "s: {} # c\n"),
        ("s: {luma: {a: 1}, b: 2}\n", "s: {b: 2}\n"),
        ("s: {b: 2, luma: {a: 1}}\n", "s: {b: 2}\n"),
        ("s:\r\n  luma:\r\n    a: 1\r\n  b: 2\r\n", "s:\r\n  b: 2\r\n"),
    ],
)
def test_a_pair_is_taken_out_with_its_lines_and_no_comment_of_another(text: str, left: str) -> None:
    assert without("yaml", text, [("s", "luma")]) == left


def test_a_pair_that_other_places_share_is_not_taken_out() -> None:
    with pytest.raises(ValueError, match="cannot be changed without harm"):
        without("yaml", "s:\n  luma: &x\n    a: 1\n  b: *x\n", [("s", "luma")])
