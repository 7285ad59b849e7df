"""The command line: what it understands, what it guesses, and help that fits a screen."""

import inspect
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import anyio
import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.main import COMMANDS, Command, build_parser, parse_command_line
from luma_mcp.cli.setting_flags import FLAGS, NO_SPEND, flag_name
from tests.support.rig import SOURCE
from tests.support.terminals import ODD, steers

every_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
LEAST = {
    "modify": [SOURCE, "fog"],
    "save": ["1"],
    "preview": ["1"],
    "completion": ["zsh"],
}  # what a command must be given


def help_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()


def refusal(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Give the one line that a command line is refused with."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    [line] = told.err.splitlines()
    return line


def test_an_interruption_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "run", interrupted)
    assert main(["modify", SOURCE, "fog", "--sandbox"]) == 130
    assert capsys.readouterr().err == ""


def test_the_front_page_fits_a_small_screen_and_shows_each_command_by_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = help_of("--help", capsys=capsys)
    assert len(lines) <= 24
    assert max(map(len, lines)) < 80
    for command in COMMANDS:
        assert any(line.startswith(f"  {command.example} ") for line in lines)
        parse_command_line(command.example.replace('"fog at dawn"', "fog").split())


@every_command
def test_the_help_of_a_command_fits_a_screen_and_has_an_example(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = help_of(command.name, "--help", capsys=capsys)
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  ") and f"luma-mcp {command.name}" in line for line in lines)
    flags = {line.split()[0] for line in lines if line.startswith("  --")}
    assert flags & {*map(flag_name, FLAGS)} == {*map(flag_name, command.settings)}


def test_help_of_settings_has_each_with_its_values_and_never_a_flag_for_a_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = help_of("--help-settings", capsys=capsys)
    told = [line.split()[0] for line in lines if line.startswith("  --")]
    assert [flag for flag in told if flag != NO_SPEND] == [flag_name(name) for name in FLAGS]
    assert told[told.index("--daily-limit") + 1] == NO_SPEND
    text = "\n".join(lines)
    for word in ("{stdio,sse,streamable-http,http}", "{auto,never}", "LUMA_MCP_OUTPUT_DIR", "RUNAPI_API_KEY"):
        assert word in text
    assert "--api-key" not in text


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert help_of("--version", capsys=capsys) == ["luma-mcp 0.1.0"]


@every_command
def test_a_command_gets_the_arguments_that_its_function_takes(command: Command) -> None:
    given = parse_command_line([command.name, *LEAST.get(command.name, [])])
    assert given.pop("takes") == command.takes
    function = resolve_name(given.pop("run"))
    inspect.signature(function).bind({}, **given)


@every_command
def test_a_command_takes_its_own_settings_before_and_behind_it_and_no_others(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, flag in FLAGS.items():
        typed = [flag_name(name), *(["1"] if flag.value else [])]
        words = [command.name, *LEAST.get(command.name, [])]
        if name in (*command.settings, *command.unshown):
            assert parse_command_line([*words, *typed])[name]
            assert parse_command_line([*typed, *words])[name]
        else:
            assert "means nothing" in refusal(*words, *typed, capsys=capsys)
            assert "means nothing" in refusal(*typed, *words, capsys=capsys)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["modfy", SOURCE, "fog"], "'modfy': did you mean modify?"),
        (["--sandbox", "acount"], "'acount': did you mean account?"),
        (["--data-dir", "/x", "acount"], "'acount': did you mean account?"),
        (["tasks", "--sandbx"], "'--sandbx': did you mean --sandbox?"),
        (["modify", SOURCE, "fog", "--tkae", "2"], "'--tkae': did you mean --take?"),
        (["modify", SOURCE, "fog", "--new-take"], "'--new-take': did you mean --take?"),
        (["tasks", "--limt=3"], "'--limt': did you mean --limit?"),
        (["--sandbx"], "'--sandbx': did you mean --sandbox?"),
        (["xyzzy"], "no command 'xyzzy' (help: luma-mcp --help)"),
        (["save"], "TASK_ID"),
        (["save", "1", "2"], "'2' is one word too many"),
        (["completion", "tcsh"], "'tcsh'"),
        (["tasks", "--status", "odd"], "completed"),
        (["tasks", "--json", "--sand"], "did you mean --sandbox?"),
    ],
)
def test_a_mistyped_command_line_is_answered_in_one_line_with_what_was_probably_meant(
    typed: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert meant in refusal(*typed, capsys=capsys)


@pytest.mark.parametrize(
    ("typed", "name", "words"),
    [
        (["modify", "a.mp4", "fog"], "arguments", ["a.mp4", "fog"]),
        (["modify", "a.mp4", "--take", "2", "fog"], "arguments", ["a.mp4", "fog"]),
        (["modify", "--take", "2", "a.mp4", "b.mp4", "--json", "fog"], "arguments", ["a.mp4", "b.mp4", "fog"]),
        (["modify", "a.mp4", "--json", "--", "-dark", "--x"], "arguments", ["a.mp4", "-dark", "--x"]),
        (["modify", "--", "a.mp4", "-dark"], "arguments", ["a.mp4", "-dark"]),
        (["modify", "a.mp4", "--prompt", "x", "b.mp4", "--prompt", "y"], "prompts", ["x", "y"]),
        (["tasks", "fog", "--json", "dawn"], "words", ["fog", "dawn"]),
        (["tasks", "--json"], "words", []),
    ],
)
def test_words_are_taken_in_order_wherever_flags_stand(typed: list[str], name: str, words: list[str]) -> None:
    assert parse_command_line(typed)[name] == words
    assert parse_command_line(typed)[name] == words, "nothing is left from the time before"


@pytest.mark.parametrize("arguments", [["tasks", f"--{ODD}"], [ODD], ["save", ODD, ODD], ["sandbox", "--listen", ODD]])
def test_arguments_that_are_not_understood_are_repeated_without_harm(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not steers(refusal(*(argument.replace("\x00", "") for argument in arguments), capsys=capsys))


def test_without_a_command_the_server_is_meant_with_all_its_settings(home: Path) -> None:
    given: dict[str, Any] = parse_command_line(["--transport", "http", "--port", "0", "--data-dir", str(home)])
    assert (given["transport"], given["port"], given["takes"]) == ("http", "0", "server_settings")
    assert build_parser().parse_args([]).run == given["run"]
