"""The table of hosts: which are here, which know this server, and whether they play."""

import json
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.hosts.registry import all_hosts, pasted_hosts
from tests.support.host_files import placed
from tests.support.rig import KEY


@pytest.fixture(autouse=True)
def without_programs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no command of a host be found."""
    monkeypatch.setenv("PATH", str(home / "bin"))


def listed(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Give the rows of the table, each with its name, whether the host is here, and how it is set up."""
    capsys.readouterr()
    assert main(["config"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    starts = [header.index(word) for word in ("HOST", "HERE", "SET UP")]
    return [
        [line[starts[0] : starts[1]].strip(), line[starts[1] : starts[2]].strip(), line[starts[2] :]] for line in lines
    ]


def test_every_host_has_a_line_and_the_next_commands_are_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert [name for name, *_ in rows] == [*all_hosts(), *pasted_hosts()]
    assert {(here, how) for name, here, how in rows if name in all_hosts()} == {("", "")}
    assert [how for name, _, how in rows if name == "jetbrains"] == ["paste it: luma-mcp config jetbrains"]
    assert main(["config"]) == 0
    assert "config HOST --write" in capsys.readouterr().err


def test_hosts_that_know_this_server_come_first_and_then_those_that_are_here(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".cursor").mkdir()
    for words in (
        ["goose"],
        ["zed", "--sandbox", "--daily-limit", "5", "--max-active", "2"],
        ["kiro", "--transport", "http"],
    ):
        assert main(["config", *words, "--write"]) == 0
    assert listed(capsys)[:5] == [
        ["kiro", "yes", "http: http://127.0.0.1:8000/mcp"],
        ["zed", "yes", "sandbox only, daily limit 5, max active 2"],
        ["goose", "yes", "real, no key: luma-mcp login"],
        ["cursor", "yes", ""],
        ["claude-desktop", "", ""],
    ]


@pytest.mark.parametrize(
    ("env", "has_file", "told"),
    [
        ({}, False, "real, no key: luma-mcp login"),
        ({"RUNAPI_API_KEY": "your key"}, False, "real, no key: luma-mcp login"),
        ({}, True, "real, key in RunAPI's own file"),
        ({"RUNAPI_API_KEY": KEY}, True, "real, key from its entry"),
    ],
)
def test_where_the_key_of_an_entry_comes_from_is_told_and_never_what_it_is(
    home: Path, env: dict[str, str], has_file: bool, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if has_file:
        (home / ".config" / "runapi").mkdir(parents=True)
        (home / ".config" / "runapi" / "config.json").write_text(json.dumps({"api_key": KEY}))
    placed(all_hosts()["cursor"], json.dumps({"mcpServers": {"luma": {"command": "luma-mcp", "env": env}}}))
    assert listed(capsys)[0] == ["cursor", "yes", told]


def test_a_long_line_is_cut_and_a_damaged_file_is_said_to_be_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"http://127.0.0.1:8000/{'x' * 90}/mcp"
    placed(all_hosts()["cursor"], json.dumps({"mcpServers": {"luma": {"url": address}}}))
    placed(all_hosts()["kiro"], "{broken")
    first, second, *_ = listed(capsys)
    assert first[2].endswith("…")
    assert second == ["kiro", "yes", "its file cannot be read: luma-mcp doctor"]
