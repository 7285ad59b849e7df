"""The command that lets a host know this server: what it prints, what it refuses, and what is left to do."""

import json
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.hosts import formats
from luma_mcp.hosts.entries import find_launch_command
from luma_mcp.hosts.registry import ENTRY_NAME, KEY_PLACEHOLDER, Host, all_hosts
from tests.support.rig import KEY
from tests.support.terminals import ODD, steers

HOSTS = list(all_hosts().values())


def by_name(host: Host) -> str:
    """Name a test by its host."""
    return host.name


every_host = pytest.mark.parametrize("host", HOSTS, ids=by_name)


def placed(host: Host, text: str | bytes) -> Path:
    """Put a file where a host keeps it."""
    path = host.config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@every_host
def test_without_write_the_entry_is_printed_in_the_form_of_the_host(
    host: Host, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", host.title.upper()]) == 0
    told = capsys.readouterr()
    assert not host.config_path().exists()
    assert ENTRY_NAME in str(formats.parse_document(host.file_format, told.out))
    assert str(host.config_path()) in told.err


@every_host
def test_a_key_is_neither_printed_nor_written(
    host: Host, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    assert main(["config", host.name]) == 0
    assert main(["config", host.name, "--write"]) == 0
    told = capsys.readouterr()
    assert KEY not in told.out + told.err + host.config_path().read_text(encoding="utf-8")


def test_no_entry_needs_a_key_that_is_in_runapis_own_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"api_key": KEY}))
    assert main(["config", "claude-desktop"]) == 0
    told = capsys.readouterr()
    assert "RUNAPI_API_KEY" not in told.out
    assert str(own) in told.err


def test_a_key_that_is_there_is_not_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    placed(
        all_hosts()["cursor"],
        json.dumps({"mcpServers": {ENTRY_NAME: {"command": "x", "env": {"RUNAPI_API_KEY": KEY}}}}),
    )
    assert main(["config", "cursor", "--write", "--daily-limit", "10"]) == 0
    told = capsys.readouterr().err
    assert "was kept" in told
    assert KEY_PLACEHOLDER not in told


def test_openclaws_own_command_is_named_for_what_only_openclaw_can_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    placed(all_hosts()["openclaw"], "{mcp: {servers: {}}}")
    assert main(["config", "openclaw", "--write"]) == 4
    told = capsys.readouterr().err
    assert (
        f"openclaw mcp add luma --command {find_launch_command().command} --env 'RUNAPI_API_KEY=${{RUNAPI_API_KEY}}'"
        in told
    )


def test_what_is_no_file_is_explained(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (home, home / "circle", home / "file" / "below"):
        (home / "file").touch()
        if not (home / "circle").is_symlink():
            (home / "circle").symlink_to(home / "circle")
        assert main(["config", "cursor", "--write", "--file", str(path)]) == 4
        assert str(path) in capsys.readouterr().err


def test_an_unknown_host_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "claud-desktop", "--write"]) == 4
    told = capsys.readouterr()
    assert told.out == ""
    assert "Did you mean claude-desktop?" in told.err
    assert all(host.name in told.err for host in HOSTS)


def test_without_a_host_all_are_listed_with_their_files(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed == {host.name: str(host.config_path()) for host in HOSTS}


def test_write_without_a_host_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--write"]) == 4
    assert "claude-desktop" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--allowed-hosts", "--auth-tokens", "--api-key"])
def test_an_entry_takes_no_settings_of_servers_on_a_port_and_no_secrets(flag: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["config", "cursor", flag, "1"])


def test_an_entry_follows_who_may_come_in(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", "none")
    assert main(["config", "cursor", "--transport", "http"]) == 0
    assert json.loads(capsys.readouterr().out)["mcpServers"][ENTRY_NAME] == {"url": "http://127.0.0.1:8000/mcp"}
    monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", "ann:0123456789abcdef")
    assert main(["config", "cursor", "--transport", "http"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["mcpServers"][ENTRY_NAME]["headers"] == {"Authorization": "Bearer your token"}
    assert "Put a token of LUMA_MCP_AUTH_TOKENS" in told.err
    assert "0123456789abcdef" not in told.out + told.err


def test_flags_that_an_entry_takes_no_notice_of_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, flag in (
        (["--port", "9"], "--port: needs --transport http"),
        (["--transport", "http", "--daily-limit", "5"], "--daily-limit: is for the server"),
        (["--transport", "http", "--sandbox"], "--sandbox: is for the server"),
        (["--transport", "http", "--port", "0"], "LUMA_MCP_PORT: must be the port"),
    ):
        assert main(["config", "cursor", *words]) == 2
        assert capsys.readouterr().err.startswith(flag)


def test_a_file_that_others_may_read_is_pointed_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = all_hosts()["cursor"].config_path()
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o644)
    assert main(["config", "cursor", "--transport", "http", "--write"]) == 0
    assert f"Other users of this machine may read {path}" in capsys.readouterr().err


def test_a_host_file_of_an_odd_name_and_content_is_told_of_without_harm(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "odd\x1b[31m\u202e\n"
    (home / name).write_text(f'{{"mcpServers": "{ODD[1:8]}"}}')
    for write in ([], ["--write"]):
        main(["config", "claude-desktop", "--file", str(home / name), *write])
        output = capsys.readouterr()
        assert not steers(output.out + output.err)
    path = all_hosts()["cursor"].config_path()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"mcpServers": {"luma": {"command": f"/usr/bin/luma-mcp{ODD}", "args": []}}}))
    main(["doctor", "--sandbox"])
    assert not steers(capsys.readouterr().out)
