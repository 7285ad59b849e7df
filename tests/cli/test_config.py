"""The command that lets a host know this server: what it prints, what it refuses, and what is left to do."""

import json
import shlex
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.hosts import formats
from luma_mcp.hosts.entries import find_launch_command
from luma_mcp.hosts.existing import ExistingEntry, read_servers
from luma_mcp.hosts.registry import ENTRY_NAME, Host, all_hosts
from tests.support.host_files import backups, entry_in, entry_in_text, others, placed
from tests.support.rig import KEY
from tests.support.terminals import ODD, steers

HOSTS = list(all_hosts().values())


def by_name(host: Host) -> str:
    """Name a test by its host."""
    return host.name


every_host = pytest.mark.parametrize("host", HOSTS, ids=by_name)


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


@pytest.fixture
def own_file(home: Path) -> Path:
    """Give RunAPI's own file, with a key in it."""
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"api_key": KEY}))
    return own


@every_host
def test_no_entry_needs_a_key_that_is_in_runapis_own_file(
    host: Host, home: Path, own_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    assert main(["config", host.name, "--write"]) == 0
    assert "RUNAPI_API_KEY" not in ExistingEntry(host, "luma", entry_in(host, host.config_path())).env
    assert f"the server reads the RunAPI key in {own_file}" in capsys.readouterr().err


@every_host
def test_without_any_key_the_way_to_one_is_named_and_no_placeholder_is_written(
    host: Host, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["--write"]):
        assert main(["config", host.name, *words]) == 0
        assert "There is no RunAPI key yet. Get one, for all hosts at once:" in capsys.readouterr().err
    assert ExistingEntry(host, "luma", entry_in(host, host.config_path())).env == {}


@every_host
def test_a_key_of_the_shell_is_passed_on_by_hosts_that_can_and_kept_for_all_elsewhere(
    host: Host, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    assert main(["config", host.name, "--write"]) == 0
    env = ExistingEntry(host, "luma", entry_in(host, host.config_path())).env
    assert env == ({"RUNAPI_API_KEY": host.key} if host.key else {})
    told = capsys.readouterr().err
    assert ("login --with-key" in told) != bool(host.key or host.key_from_shell)


def test_a_key_that_is_there_is_kept_and_not_asked_for(
    home: Path, own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cursor = all_hosts()["cursor"]
    entry = {"command": "x", "env": {"RUNAPI_API_KEY": KEY}}
    path = placed(cursor, json.dumps({"mcpServers": {ENTRY_NAME: entry}}))
    assert main(["config", "cursor", "--write", "--daily-limit", "10"]) == 0
    assert "was kept, and is the one that counts" in capsys.readouterr().err
    assert entry_in(cursor, path)["env"]["RUNAPI_API_KEY"] == KEY


SETTINGS: tuple[list[str], ...] = (
    [],
    ["--sandbox"],
    ["--daily-limit", "5", "--output-dir", "~/my films", "--base-url", "http://127.0.0.1:9"],
    ["--sandbox", "--max-active=1", "--wait-seconds", "30"],
)


def commands_in(told: str) -> list[list[str]]:
    """Find the commands of ours in messages, as a shell reads them."""
    starts = (find_launch_command().command, "luma-mcp ")  # by its name where a shell finds it
    places = [(line, [line.index(start) for start in starts if start in line]) for line in told.splitlines()]
    return [shlex.split(line[min(found) :])[1:] for line, found in places if found]


@pytest.mark.parametrize("words", SETTINGS, ids=" ".join)
@every_host
def test_the_command_that_is_told_writes_the_very_entry_that_is_shown(
    host: Host, words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", host.name, *words]) == 0
    shown = capsys.readouterr()
    command = next(command for command in commands_in(shown.err) if command[-1] == "--write")
    assert main(command) == 0
    document = formats.parse_document(host.file_format, host.config_path().read_text(encoding="utf-8"))
    assert document == formats.parse_document(host.file_format, shown.out)


@pytest.mark.parametrize("words", SETTINGS, ids=" ".join)
@every_host
def test_an_entry_of_the_sandbox_says_so_and_the_command_that_makes_it_real_keeps_its_other_settings(
    host: Host, words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", host.name, *words, "--sandbox", "--write"]) == 0
    entry, told = entry_in(host, host.config_path()), capsys.readouterr().err
    assert "uses the sandbox: nothing is charged" in told
    assert "login), make it real: " in told
    assert ExistingEntry(host, "luma", entry).uses_sandbox
    assert main(commands_in(told.partition("make it real: ")[2])[0]) == 0
    real = ExistingEntry(host, "luma", entry_in(host, host.config_path()))
    assert not real.uses_sandbox
    assert real.env == {**ExistingEntry(host, "luma", entry).env, "LUMA_MCP_SANDBOX": "false"}
    assert "From now on each finished video costs 0.50 USD." in capsys.readouterr().err


@pytest.mark.parametrize("words", SETTINGS, ids=" ".join)
@pytest.mark.parametrize("has_key", [False, True])
def test_a_hosts_own_command_saves_the_very_entry_for_a_file_that_only_the_host_can_read(
    home: Path,
    words: list[str],
    has_key: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if has_key:
        monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    [host] = [host for host in HOSTS if host.save_command]
    assert main(["config", host.name, *words]) == 0
    shown = entry_in_text(host, capsys.readouterr().out)
    placed(host, "{mcp: {servers: {}}}")
    assert main(["config", host.name, *words, "--write"]) == 4
    told = capsys.readouterr().err
    [command] = [line[line.index("openclaw mcp set") :] for line in told.splitlines() if "mcp set" in line]
    assert shlex.split(command)[:4] == ["openclaw", "mcp", "set", "luma"]
    assert json.loads(shlex.split(command)[4]) == shown
    assert KEY not in told
    assert ("--sandbox" in words) == ("uses the sandbox" in told)
    assert ("There is no RunAPI key yet" in told) == (not has_key and "--sandbox" not in words)


def test_a_command_names_the_file_that_was_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "cursor", "--sandbox", "--file", "a b.json"]) == 0
    commands = commands_in(capsys.readouterr().err)
    assert [command[-3:] for command in commands] == [["--file", "a b.json", "--write"]] * 2


def test_the_server_that_an_entry_connects_to_is_started_with_the_same_address(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["--transport", "http", "--port", "8123"],
        ["--transport", "sse", "--host", "0.0.0.0", "--data-dir", str(home / "my data")],
        ["--transport", "http", "--public-url", "https://a.example/x"],
    ):
        assert main(["config", "cursor", *words]) == 0
        assert commands_in(capsys.readouterr().err)[-1] == words


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


@pytest.mark.parametrize("flag", ["--write", "--remove"])
def test_a_change_without_a_host_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", flag]) == 4
    told = capsys.readouterr().err
    assert f"{flag} needs the name of a host." in told
    assert "claude-desktop" in told


@every_host
def test_our_entry_is_taken_out_and_every_other_byte_stays(
    host: Host, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = others(host)
    path = placed(host, before)
    ways = [["--sandbox"], ["--transport", "http"]] if host.http else [["--sandbox"]]
    for way in ways:
        assert main(["config", host.name, "--write", *way]) == 0
        written = path.read_text(encoding="utf-8")
        capsys.readouterr()
        assert main(["config", host.name, "--remove"]) == 0
        told = capsys.readouterr()
        assert path.read_text(encoding="utf-8") == before
        assert told.out == f"{path}\n"
        assert f"Removed 'luma' from {host.title}. Backup: " in told.err
        assert backups(path)[-1].read_text(encoding="utf-8") == written
    assert main(["config", host.name, "--remove"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"{path} holds no entry of this server; nothing was changed.\n")


@every_host
def test_an_entry_that_stood_alone_leaves_no_servers(host: Host, home: Path) -> None:
    assert main(["config", host.name, "--write"]) == 0
    assert main(["config", host.name, "--remove"]) == 0
    document = formats.parse_document(host.file_format, host.config_path().read_text(encoding="utf-8"))
    assert read_servers(host, document) == {}
    assert main(["config", host.name, "--write"]) == 0
    assert entry_in(host, host.config_path())


def test_where_there_is_no_file_there_is_nothing_to_take_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "cursor", "--remove"]) == 0
    assert "holds no entry of this server; nothing was changed." in capsys.readouterr().err
    assert not (home / ".cursor").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("cursor", "{broken"), ("codex", "[broken\n"), ("hermes", "a: [1\n"), ("openclaw", "{mcp: {servers: {}}}")],
)
def test_nothing_is_taken_out_of_a_damaged_file(
    home: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = placed(all_hosts()[name], text)
    assert main(["config", name, "--remove"]) == 4
    assert path.read_text(encoding="utf-8") == text
    told = capsys.readouterr().err
    assert str(path) in told
    assert ("openclaw mcp unset luma" in told) == (name == "openclaw")


def test_an_address_elsewhere_is_taken_out_where_it_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    servers = {"mcpServers": {"luma": {"url": "https://a.example/mcp"}}}
    path = placed(all_hosts()["cursor"], json.dumps(servers))
    assert main(["config", "cursor", "--remove"]) == 0
    assert "'luma' connects to https://a.example/mcp, which may be another server" in capsys.readouterr().err
    assert json.loads(path.read_text()) == servers
    assert main(["config", "cursor", "--remove", "--transport", "http", "--public-url", "https://a.example"]) == 0
    assert json.loads(path.read_text()) == {"mcpServers": {}}


@pytest.mark.parametrize("there", ["text", 5, None, [], {"command": "npx", "args": ["-y", "@acme/luma-labs"]}])
def test_what_is_no_entry_of_ours_stays(home: Path, there: object, capsys: pytest.CaptureFixture[str]) -> None:
    path = placed(all_hosts()["cursor"], json.dumps({"mcpServers": {"luma": there, "b": {}}}))
    before = path.read_bytes()
    assert main(["config", "cursor", "--remove"]) == 0
    assert capsys.readouterr().err == f"{path} holds no entry of this server; nothing was changed.\n"
    assert path.read_bytes() == before


def test_all_entries_of_ours_are_taken_out_and_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    servers = {"video": {"command": "luma-mcp"}, "b": {"command": "x"}, "luma": {"url": "http://127.0.0.1:8000/mcp"}}
    path = placed(all_hosts()["cursor"], json.dumps({"mcpServers": servers}, indent=2))
    assert main(["config", "cursor", "--remove"]) == 0
    assert "Removed 'luma' and 'video' from " in capsys.readouterr().err
    assert json.loads(path.read_text()) == {"mcpServers": {"b": {"command": "x"}}}


def test_settings_are_not_taken_out_one_by_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "cursor", "--remove", "--sandbox"]) == 2
    assert capsys.readouterr().err == "--sandbox: goes with --write: --remove takes the whole entry out\n"
    with pytest.raises(SystemExit, match="2"):
        main(["config", "cursor", "--remove", "--write"])


def test_a_host_with_a_page_instead_of_a_file_is_told_what_to_paste_where(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["--sandbox"]):
        assert main(["config", "jetbrains", *words]) == 0
        told = capsys.readouterr()
        [entry] = json.loads(told.out)["mcpServers"].values()
        assert entry["command"] == find_launch_command().command
        assert told.err.startswith("Paste this at Settings | Tools | AI Assistant | Model Context Protocol (MCP)")
    assert main(["config", "jetbrains", "--transport", "http"]) == 0
    assert "url" in json.loads(capsys.readouterr().out)["mcpServers"]["luma"]
    for flag in ("--write", "--remove"):
        assert main(["config", "jetbrains", flag]) == 4
        assert "has no file that other programs may write" in capsys.readouterr().err


def test_a_host_is_known_by_the_names_that_people_have_for_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("windsurf", "Devin Desktop", "devin"):
        assert main(["config", name]) == 0
        assert str(all_hosts()["devin"].config_path()) in capsys.readouterr().err


def test_what_is_said_of_an_entry_names_its_file_and_the_way_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = placed(all_hosts()["cursor"], json.dumps({"mcpServers": {"luma": {"url": "https://x.example"}}}))
    for words in (["--write"], ["--write", "--transport", "http"]):
        assert main(["config", "cursor", *words]) == 4
        told = capsys.readouterr().err
        assert told.startswith(f"{path}: There is an entry 'luma'")
        assert "Rename it or take it out by hand" in told


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
