"""Letting hosts know this server: the right file, the right form, and nothing else in it changed."""

import stat
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.core.text import Json
from luma_mcp.hosts import formats
from luma_mcp.hosts.entries import find_launch_command
from luma_mcp.hosts.registry import ENTRY_NAME, Host, all_hosts
from tests.support.host_files import backups, entry_in, others, placed

HOSTS = list(all_hosts().values())


def by_name(host: Host) -> str:
    """Name a test by its host."""
    return host.name


every_host = pytest.mark.parametrize("host", HOSTS, ids=by_name)


@every_host
def test_a_host_without_a_file_gets_one_with_an_absolute_command(
    host: Host, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", host.name, "--write"]) == 0
    path = host.config_path()
    assert capsys.readouterr().out == f"{path}\n"
    assert path.is_relative_to(home)
    entry = entry_in(host, path)
    command = Path(entry.get("command") or entry["cmd"])
    assert command.is_absolute()
    assert command.exists()
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, "it may come to hold a key"
    assert backups(path) == []


@every_host
def test_everything_else_in_a_file_stays_as_it_is_and_a_backup_is_kept(host: Host, home: Path) -> None:
    before = others(host)
    path = placed(host, before)
    path.chmod(0o640)
    assert main(["config", host.name, "--write"]) == 0
    after = path.read_text(encoding="utf-8")
    old, new = before.split(), iter(after.replace(",", " , ").split())
    assert all(word in new for word in " ".join(old).replace(",", " , ").split()), "every word, in the same order"
    kept = [line for line in before.splitlines() if "#" in line or "//" in line or "/*" in line]
    assert [line for line in after.splitlines() if line in kept] == kept
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert entry_in(host, path)
    [backup] = backups(path)
    assert backup.read_text(encoding="utf-8") == before
    assert list(path.parent.glob(".*.new")) == []


@every_host
def test_writing_twice_changes_nothing(host: Host, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = placed(host, others(host))
    assert main(["config", host.name, "--write"]) == 0
    written = path.read_bytes()
    capsys.readouterr()
    assert main(["config", host.name, "--write"]) == 0
    assert "nothing was changed" in capsys.readouterr().err
    assert path.read_bytes() == written
    assert len(backups(path)) == 1


@every_host
def test_what_people_changed_in_the_entry_is_kept_and_only_the_way_to_start_is_renewed(host: Host, home: Path) -> None:
    env = {"RUNAPI_API_KEY": "their-own", "LUMA_MCP_OUTPUT_DIR": "/videos"}
    entry = {**host.make_entry("/gone/luma-mcp", ["--old"], env), "mine": "kept"}
    if host.timeout_field[0] in entry:
        entry[host.timeout_field[0]] = 77
    path = placed(host, formats.changed(host.file_format, others(host), {(*host.servers, ENTRY_NAME): entry}))
    assert main(["config", host.name, "--write", "--daily-limit", "5"]) == 0
    start = find_launch_command()
    command = "cmd" if "cmd" in entry else "command"
    expected = {**entry, command: start.command, "args": [*start.args, "--old"]}
    assert entry_in(host, path) == expected | {host.env_name: env | {"LUMA_MCP_DAILY_LIMIT": "5"}}


MAC, WINDOWS, LINUX = "Library/Application Support", "AppData/Roaming", ".config"
PLACES = {
    "claude-desktop": [f"{place}/Claude/claude_desktop_config.json" for place in (MAC, WINDOWS, LINUX)],
    "lm-studio": [".lmstudio/mcp.json"] * 3,
    "cursor": [".cursor/mcp.json"] * 3,
    "vscode": [f"{place}/Code/User/mcp.json" for place in (MAC, WINDOWS, LINUX)],
    "windsurf": [f"{place}/devin/mcp_config.json" for place in (LINUX, WINDOWS, LINUX)],
    "zed": [".config/zed/settings.json", f"{WINDOWS}/Zed/settings.json", ".config/zed/settings.json"],
    "claude-code": [".claude.json"] * 3,
    "codex": [".codex/config.toml"] * 3,
    "gemini-cli": [".gemini/settings.json"] * 3,
    "openclaw": [".openclaw/openclaw.json"] * 3,
    "hermes": [".hermes/config.yaml", "AppData/Local/hermes/config.yaml", ".hermes/config.yaml"],
    "goose": [".config/goose/config.yaml", f"{WINDOWS}/Block/goose/config/config.yaml", ".config/goose/config.yaml"],
}


def test_each_system_has_its_own_place_for_each_file(home: Path) -> None:
    found = {host.name: [host.config_path(platform) for platform in ("darwin", "win32", "linux")] for host in HOSTS}
    assert found == {name: [home / place for place in places] for name, places in PLACES.items()}


C, E = "/bin/luma-mcp", {"RUNAPI_API_KEY": "k"}
PLAIN: Json = {"command": C, "args": [], "env": E}
ENTRIES: dict[str, tuple[str, Json]] = {
    "claude-desktop": ("mcpServers", PLAIN),
    "lm-studio": ("mcpServers", PLAIN),
    "windsurf": ("mcpServers", PLAIN),
    "gemini-cli": ("mcpServers", PLAIN),
    "cursor": ("mcpServers", {"type": "stdio", **PLAIN}),
    "claude-code": ("mcpServers", {"type": "stdio", **PLAIN}),
    "vscode": ("servers", {"type": "stdio", **PLAIN}),
    "zed": ("context_servers", {**PLAIN, "timeout": 300}),
    "openclaw": ("mcp.servers", {**PLAIN, "requestTimeoutMs": 300_000, "connectionTimeoutMs": 60_000}),
    "hermes": ("mcp_servers", {**PLAIN, "timeout": 300, "connect_timeout": 60}),
    "codex": (
        "mcp_servers",
        {**PLAIN, "env_vars": ["RUNAPI_API_KEY"], "startup_timeout_sec": 60, "tool_timeout_sec": 300},
    ),
    "goose": (
        "extensions",
        {
            "enabled": True,
            "type": "stdio",
            "name": "luma",
            "description": "Modify videos with Luma at RunAPI",
            "cmd": C,
            "args": [],
            "envs": E,
            "timeout": 300,
        },
    ),
}
KEYS = {
    "vscode": "${input:luma_api_key}",
    "claude-code": "${RUNAPI_API_KEY:-}",
    "codex": "",
    "gemini-cli": "$RUNAPI_API_KEY",
    "openclaw": "${RUNAPI_API_KEY}",
    "hermes": "${RUNAPI_API_KEY}",
}


@every_host
def test_each_host_gets_the_entry_and_the_way_to_the_key_that_it_understands(host: Host) -> None:
    assert (".".join(host.servers), host.make_entry(C, [], E)) == ENTRIES[host.name]
    assert host.key == KEYS.get(host.name, "your key")


def test_limits_are_in_the_unit_of_each_host() -> None:
    known = {name: (host.timeout_seconds, host.timeout_field[1]) for name, host in all_hosts().items()}
    assert {name for name, (_, part) in known.items() if part == 0.001} == {"claude-code", "gemini-cli", "openclaw"}
    limits = {"claude-desktop": 240, "codex": 300, "gemini-cli": 600, "hermes": 300, "goose": 300}
    assert {name: seconds for name, (seconds, _) in known.items() if seconds != 60} == {
        **limits,
        "claude-code": None,
        "vscode": None,
    }
