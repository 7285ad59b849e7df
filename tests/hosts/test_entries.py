"""What is changed in a host's file: the entry that starts this server, and no entry of anybody else."""

import json
import os
import shlex
import sys
import sysconfig
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.core.text import Json
from luma_mcp.hosts import formats
from luma_mcp.hosts.entries import (
    EntryOptions,
    LaunchCommand,
    config_command,
    find_launch_command,
    quote_command,
    typed_command,
)
from luma_mcp.hosts.existing import COMMAND, ExistingEntry
from luma_mcp.hosts.registry import ENTRY_NAME, Host, all_hosts
from tests.support.host_files import entry_in, placed


def test_a_server_that_uvx_put_into_its_cache_is_started_by_uvx(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(home / ".cache/uv/archive-v0/x"))
    uvx = home / "bin" / "uvx"
    uvx.parent.mkdir()
    uvx.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(uvx.parent))
    start = find_launch_command()
    assert start.command == str(uvx)
    assert start.args[-1] == COMMAND
    assert start.args[0] == "--from", "it was installed from a checkout here"


def test_without_a_command_of_its_own_python_starts_it(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:

    def scripts(_: str) -> str:
        return str(home)

    monkeypatch.setattr(sysconfig, "get_path", scripts)
    assert find_launch_command() == LaunchCommand(sys.executable, ["-P", "-m", "luma_mcp"])
    (home / "luma-mcp").touch()
    assert find_launch_command() == LaunchCommand(str(home / "luma-mcp"), [])


def test_settings_are_written_as_their_variables_hold_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = f"~/a{os.pathsep}/b"
    assert main(["config", "claude-desktop", "--media-roots", roots, "--max-active", "3", "--allow-private"]) == 0
    env = json.loads(capsys.readouterr().out)["mcpServers"][ENTRY_NAME]["env"]
    assert env == {
        "LUMA_MCP_MEDIA_ROOTS": f"{home}/a{os.pathsep}/b",
        "LUMA_MCP_MAX_ACTIVE": "3",
        "LUMA_MCP_ALLOW_PRIVATE": "true",
    }
    assert main(["config", "claude-desktop", "--output-dir", "relative"]) == 2


def test_a_sandbox_is_left_when_it_is_not_asked_for_any_more(home: Path) -> None:
    host = all_hosts()["claude-desktop"]
    assert main(["config", host.name, "--write", "--sandbox", "--output-dir", "~/films"]) == 0
    assert entry_in(host, host.config_path())["env"] == {
        "LUMA_MCP_SANDBOX": "true",
        "LUMA_MCP_OUTPUT_DIR": str(home / "films"),
    }
    assert main(["config", host.name, "--write"]) == 0
    env = entry_in(host, host.config_path())["env"]
    assert env == {"LUMA_MCP_SANDBOX": "false", "LUMA_MCP_OUTPUT_DIR": str(home / "films")}


def test_a_sandbox_of_the_shell_is_not_one_of_the_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_SANDBOX", "true")
    assert main(["config", "cursor", "--write"]) == 0
    assert entry_in(all_hosts()["cursor"], all_hosts()["cursor"].config_path())["env"] == {}


def test_an_entry_of_another_name_is_renewed_instead_of_doubled(home: Path) -> None:
    host = all_hosts()["cursor"]
    path = placed(host, '{"mcpServers": {"video": {"command": "/old/bin/luma-mcp"}, "npm": {"args": ["@x/luma-mcp"]}}}')
    assert main(["config", host.name, "--write"]) == 0
    servers = formats.parse_document(host.file_format, path.read_text(encoding="utf-8"))["mcpServers"]
    assert list(servers) == ["video", "npm"]
    assert servers["video"]["command"] == find_launch_command().command


@pytest.mark.parametrize(
    "text", ['{"mcpServers": null}', '{"mcpServers": {"luma": null}}', "// nothing yet\n", "{ }", ""]
)
def test_files_that_hold_nothing_yet_are_filled(home: Path, text: str) -> None:
    path = placed(all_hosts()["cursor"], text)
    assert main(["config", "cursor", "--write"]) == 0
    assert entry_in(all_hosts()["cursor"], path)["command"] == find_launch_command().command


@pytest.mark.parametrize(
    "other",
    [
        {"command": "npx", "args": ["-y", "@acme/luma-labs"], "env": {"LUMAAI_API_KEY": "k"}},
        {"command": "npx", "args": ["-y", "luma-mcp"], "env": {"LUMA_API_KEY": "k"}},
        {"command": "uvx", "args": ["luma-mcp"], "env": {"LUMA_API_KEY": "k"}},
    ],
)
def test_another_product_called_luma_is_left_alone(home: Path, other: Json) -> None:
    path = placed(all_hosts()["cursor"], json.dumps({"mcpServers": {ENTRY_NAME: other}}))
    for _ in range(2):
        assert main(["config", "cursor", "--write"]) == 0
        servers = formats.parse_document("json", path.read_text(encoding="utf-8"))["mcpServers"]
        assert servers[ENTRY_NAME] == other
        assert set(servers) == {ENTRY_NAME, "runapiluma"}


def test_another_product_with_the_same_key_is_left_alone(home: Path) -> None:
    other = {"command": "npx", "args": ["-y", "@acme/suno"], "env": {"RUNAPI_API_KEY": "k"}}
    path = placed(all_hosts()["cursor"], json.dumps({"mcpServers": {"suno": other}}))
    assert main(["config", "cursor", "--write"]) == 0
    servers = formats.parse_document("json", path.read_text(encoding="utf-8"))["mcpServers"]
    assert servers["suno"] == other
    assert ENTRY_NAME in servers


def test_a_launcher_of_the_users_own_is_left_alone(home: Path) -> None:
    docker: Json = {
        "command": "docker",
        "args": ["run", "-i", "luma-mcp", "--daily-limit", "3"],
        "env": {"RUNAPI_API_KEY": "k"},
    }
    path = placed(all_hosts()["cursor"], json.dumps({"mcpServers": {ENTRY_NAME: docker}}))
    assert main(["config", "cursor", "--write", "--max-active", "3"]) == 0
    entry = entry_in(all_hosts()["cursor"], path)
    assert (entry["command"], entry["args"]) == (docker["command"], docker["args"])
    assert entry["env"]["LUMA_MCP_MAX_ACTIVE"] == "3"


def test_a_launcher_that_may_not_pass_the_sandbox_on_is_not_said_to_play(home: Path) -> None:
    docker = {"command": "docker", "args": ["run", "-i", "img"], "env": {"RUNAPI_API_KEY": "k"}}
    path = placed(all_hosts()["cursor"], json.dumps({"mcpServers": {ENTRY_NAME: docker}}))
    before = path.read_bytes()
    assert main(["config", "cursor", "--write", "--sandbox"]) == 4
    assert path.read_bytes() == before


def test_what_is_asked_for_now_beats_flags_in_the_entry(home: Path) -> None:
    args = ["--wait-seconds", "100", "--sandbox", "--daily-limit=5", "--max-active", "2"]
    path = placed(
        all_hosts()["cursor"], json.dumps({"mcpServers": {ENTRY_NAME: {"command": "luma-mcp", "args": args}}})
    )
    assert main(["config", "cursor", "--write", "--wait-seconds", "30"]) == 0
    found = entry_in(all_hosts()["cursor"], path)
    assert found["args"] == [*find_launch_command().args, "--daily-limit=5", "--max-active", "2"]
    assert found["env"]["LUMA_MCP_WAIT_SECONDS"] == "30"


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("/usr/bin/python3", ["-m", "luma_mcp", "--daily-limit", "5"]),
        ("/usr/bin/python3", ["-P", "-m", "luma_mcp", "--daily-limit", "5"]),
        ("uvx", ["runapi-luma-mcp@0.1.0", "--daily-limit", "5"]),
        ("uvx", ["runapi-luma-mcp==0.1.0", "--daily-limit", "5"]),
        ("uvx", ["--from", "/src", "luma-mcp", "--daily-limit", "5"]),
        ("C:\\old\\luma-mcp.exe", ["--daily-limit", "5"]),
    ],
)
def test_flags_of_an_entry_are_kept_however_it_started_before(home: Path, command: str, args: list[str]) -> None:
    entry = {"mcpServers": {ENTRY_NAME: {"command": command, "args": args}}}
    path = placed(all_hosts()["cursor"], json.dumps(entry))
    assert main(["config", "cursor", "--write"]) == 0
    start = find_launch_command()
    found = entry_in(all_hosts()["cursor"], path)
    assert (found["command"], found["args"]) == (start.command, [*start.args, "--daily-limit", "5"])


@pytest.mark.parametrize("host", list(all_hosts().values()), ids=lambda host: host.name)
def test_the_words_of_a_command_say_what_the_variables_of_an_entry_say(host: Host) -> None:
    settings = {"LUMA_MCP_SANDBOX": "true", "LUMA_MCP_DAILY_LIMIT": "5", "RUNAPI_BASE_URL": "http://127.0.0.1:9"}
    wish = EntryOptions(LaunchCommand("/x/luma-mcp", []), settings)
    assert wish.flags == ["--sandbox", "--daily-limit", "5", "--base-url", "http://127.0.0.1:9"]
    assert shlex.split(config_command(host, wish))[-6:] == [host.name, *wish.flags]
    assert ExistingEntry(host, "luma", host.make_entry("/x", [], wish.variables)).env == settings
    assert (wish.uses_sandbox, wish.for_real().uses_sandbox) == (True, False)
    assert wish.for_real().flags == wish.flags[1:]


def test_our_command_is_told_by_its_name_where_a_shell_finds_it(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    start = find_launch_command()
    monkeypatch.setenv("PATH", str(Path(start.command).parent))
    assert typed_command("config") == (
        "luma-mcp config" if not start.args else shlex.join([start.command, *start.args, "config"])
    )
    monkeypatch.setenv("PATH", str(home))
    assert typed_command("config", "a b") == shlex.join([start.command, *start.args, "config", "a b"])


def test_a_command_is_quoted_as_the_shell_of_windows_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert quote_command(["C:\\a b\\luma-mcp.exe", "config"]) == '"C:\\a b\\luma-mcp.exe" config'
