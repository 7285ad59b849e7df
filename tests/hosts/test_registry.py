"""Letting hosts know this server: the right file, the right form, and nothing else in it changed."""

import stat
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.core.text import Json
from luma_mcp.hosts import formats
from luma_mcp.hosts.entries import find_launch_command
from luma_mcp.hosts.existing import words_of
from luma_mcp.hosts.registry import ENTRY_NAME, Host, all_hosts, pasted_hosts
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
    command = Path(words_of(entry_in(host, path))[0])
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
    start, env = find_launch_command(), env | {"LUMA_MCP_DAILY_LIMIT": "5"}
    anew = host.make_entry(start.command, [*start.args, "--old"], env)
    expected: Json = {**entry, host.env_name: env}
    expected.update({name: anew[name] for name in ("command", "cmd", "args") if name in anew})
    assert entry_in(host, path) == expected


MAC, WINDOWS, LINUX = "Library/Application Support", "AppData/Roaming", ".config"
PLACES = {
    "claude-desktop": [f"{place}/Claude/claude_desktop_config.json" for place in (MAC, WINDOWS, LINUX)],
    "lm-studio": [".lmstudio/mcp.json"] * 3,
    "cursor": [".cursor/mcp.json"] * 3,
    "vscode": [f"{place}/Code/User/mcp.json" for place in (MAC, WINDOWS, LINUX)],
    "devin": [f"{place}/devin/mcp_config.json" for place in (LINUX, WINDOWS, LINUX)],
    "cline": [".cline/data/settings/cline_mcp_settings.json"] * 3,
    "kiro": [".kiro/settings/mcp.json"] * 3,
    "antigravity": [".gemini/config/mcp_config.json"] * 3,
    "junie": [".junie/mcp/mcp.json"] * 3,
    "copilot-cli": [".copilot/mcp-config.json"] * 3,
    "opencode": [".config/opencode/opencode.json"] * 3,
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
    "devin": ("mcpServers", PLAIN),
    "kiro": ("mcpServers", PLAIN),
    "antigravity": ("mcpServers", PLAIN),
    "junie": ("mcpServers", PLAIN),
    "cline": ("mcpServers", {"type": "stdio", **PLAIN, "timeout": 300}),
    "copilot-cli": ("mcpServers", {"type": "local", **PLAIN, "tools": ["*"], "timeout": 300_000}),
    "opencode": (
        "mcp",
        {"type": "local", "command": [C], "environment": E, "enabled": True, "timeout": 300_000},
    ),
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
    "claude-code": "${RUNAPI_API_KEY:-}",
    "copilot-cli": "${RUNAPI_API_KEY}",
    "gemini-cli": "$RUNAPI_API_KEY",
    "openclaw": "${RUNAPI_API_KEY}",
    "hermes": "${RUNAPI_API_KEY}",
}


@every_host
def test_each_host_gets_the_entry_and_the_way_to_the_key_that_it_understands(host: Host) -> None:
    assert (".".join(host.servers), host.make_entry(C, [], E)) == ENTRIES[host.name]
    assert host.key == KEYS.get(host.name, "")


def test_limits_are_in_the_unit_of_each_host() -> None:
    known = {name: (host.timeout_seconds, host.timeout_field[1]) for name, host in all_hosts().items()}
    in_milliseconds = {"claude-code", "copilot-cli", "gemini-cli", "opencode", "openclaw"}
    assert {name for name, (_, part) in known.items() if part == 0.001} == in_milliseconds
    limits = {"claude-desktop": 240, "codex": 300, "gemini-cli": 600, "opencode": 5, "hermes": 300, "goose": 300}
    assert {name: seconds for name, (seconds, _) in known.items() if seconds != 60} == {
        **limits,
        "claude-code": None,
        "vscode": None,
    }


@every_host
def test_a_host_seems_to_be_here_where_its_file_the_folder_for_it_or_its_command_is(
    host: Host, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home / "bin"))
    assert not host.seems_installed()
    path = host.config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    assert host.seems_installed() == (path.parent != home)
    path.touch()
    assert host.seems_installed()


def test_a_command_tells_of_a_host_without_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home / "bin"))
    (home / "bin").mkdir()
    (home / "bin" / "copilot").touch(mode=0o755)
    assert [host.name for host in HOSTS if host.seems_installed()] == ["copilot-cli"]


def test_names_of_hosts_are_told_apart() -> None:
    known = [*HOSTS, *pasted_hosts().values()]
    names = [name for host in known for name in {host.name, host.title.lower(), *host.aliases}]
    assert len(names) == len(set(names))
    assert all(host.page and not host.config_paths("linux") for host in pasted_hosts().values())
