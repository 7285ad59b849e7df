"""Letting hosts know this server: the right file, the right form, and nothing else in it changed."""

import json
import os
import stat
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.__main__ import main
from luma_mcp.core.text import Json
from luma_mcp.hosts import documents, entries
from luma_mcp.hosts.entries import Start, Wish, fresh, start_here
from luma_mcp.hosts.files import HostFileUnusable, read_file, replace_file
from luma_mcp.hosts.known import NAME, PLACEHOLDER, Host, known_hosts
from tests.support.rig import KEY

HOSTS = list(known_hosts().values())
STRICT = """{
    "theme": "dark",
    "mcpServers": {
        "files": {"command": "npx", "args": ["-y", "files"]}
    },
    "窗口": [1, 2]
}
"""
COMMENTED = """// kept by hand
{
  "theme": "dark", // the best
  "SERVERS": {
    /* first */
    "files": { "command": "npx", "args": ["-y", "files"], },
  },
  "last": [1, 2,],
}
"""
TOML = """# kept by hand
model = "x" # the best

[mcp_servers.files]
command = "npx"

[mcp_servers.files.env]
A = "1"

# about tools
[tools]
on = true
"""
YAML = """# kept by hand
model:
    name: 'x'   # the best
list:
-   a
- b

SERVERS:
    # first
    files:
        command: npx
        args: [ -y, "files" ]

# about tools
tools:
  on: yes
  text: |
    two
      lines
"""
OTHERS = {"json": STRICT, "jsonc": COMMENTED, "toml": TOML, "yaml": YAML}


def by_name(host: Host) -> str:
    """Name a test by its host."""
    return host.name


every_host = pytest.mark.parametrize("host", HOSTS, ids=by_name)


def others(host: Host) -> str:
    """Give a file of a host that knows other servers."""
    text = OTHERS[host.form]
    if host.form in {"json", "toml"}:
        return text
    if len(host.servers) == 1:
        return text.replace("SERVERS", host.servers[0])
    return text.replace('"SERVERS": {', '"mcp": {"servers": {').replace('  },\n  "last', '  }},\n  "last')


def entry_in(host: Host, path: Path) -> Json:
    """Read the entry of this server out of a host's file."""
    found: Any = documents.read(host.form, path.read_text(encoding="utf-8"))
    for name in (*host.servers, NAME):
        found = found[name]
    return dict(found)


def placed(host: Host, text: str | bytes) -> Path:
    """Put a file where a host keeps it."""
    path = host.file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def backups(path: Path) -> list[Path]:
    """List the backups of a file."""
    return sorted(path.parent.glob(f"{path.name}.before-luma-*"))


@every_host
def test_a_host_without_a_file_gets_one_with_an_absolute_command(
    host: Host, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", host.name, "--write"]) == 0
    path = host.file()
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
    entry = {**host.entry("/gone/luma-mcp", ["--old"], env), "mine": "kept"}
    if host.limit_key[0] in entry:
        entry[host.limit_key[0]] = 77
    path = placed(host, documents.changed(host.form, others(host), {(*host.servers, NAME): entry}))
    assert main(["config", host.name, "--write", "--daily-limit", "5"]) == 0
    start = start_here()
    command = "cmd" if "cmd" in entry else "command"
    expected = {**entry, command: start.command, "args": [*start.args, "--old"]}
    assert entry_in(host, path) == expected | {host.env_name: env | {"LUMA_MCP_DAILY_LIMIT": "5"}}


@every_host
def test_without_write_the_entry_is_printed_in_the_form_of_the_host(
    host: Host, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", host.title.upper()]) == 0
    told = capsys.readouterr()
    assert not host.file().exists()
    assert NAME in str(documents.read(host.form, told.out))
    assert str(host.file()) in told.err


@every_host
def test_a_key_is_neither_printed_nor_written(
    host: Host, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    assert main(["config", host.name]) == 0
    assert main(["config", host.name, "--write"]) == 0
    told = capsys.readouterr()
    assert KEY not in told.out + told.err + host.file().read_text(encoding="utf-8")


def test_no_entry_needs_a_key_that_is_in_runapis_own_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"api_key": KEY}))
    assert main(["config", "claude-desktop"]) == 0
    told = capsys.readouterr()
    assert "RUNAPI_API_KEY" not in told.out
    assert str(own) in told.err


def test_a_sandbox_is_left_when_it_is_not_asked_for_any_more(home: Path) -> None:
    host = known_hosts()["claude-desktop"]
    assert main(["config", host.name, "--write", "--sandbox", "--output-dir", "~/films"]) == 0
    assert entry_in(host, host.file())["env"] == {
        "LUMA_MCP_SANDBOX": "true",
        "LUMA_MCP_OUTPUT_DIR": str(home / "films"),
    }
    assert main(["config", host.name, "--write"]) == 0
    env = entry_in(host, host.file())["env"]
    assert (env["LUMA_MCP_SANDBOX"], env["RUNAPI_API_KEY"]) == ("false", PLACEHOLDER)
    assert env["LUMA_MCP_OUTPUT_DIR"] == str(home / "films")


def test_a_key_that_is_there_is_not_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    placed(
        known_hosts()["cursor"], json.dumps({"mcpServers": {NAME: {"command": "x", "env": {"RUNAPI_API_KEY": KEY}}}})
    )
    assert main(["config", "cursor", "--write", "--daily-limit", "10"]) == 0
    told = capsys.readouterr().err
    assert "was kept" in told
    assert PLACEHOLDER not in told


def test_a_sandbox_of_the_shell_is_not_one_of_the_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_SANDBOX", "true")
    assert main(["config", "cursor", "--write"]) == 0
    assert entry_in(known_hosts()["cursor"], known_hosts()["cursor"].file())["env"] == {"RUNAPI_API_KEY": PLACEHOLDER}


def test_what_stands_in_a_broken_file_is_not_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [
        *(("hermes", text) for text in (f"env: [ {KEY}\n{KEY}: : x", f"a: {KEY}-1\na: {KEY}-2", f"a: *{KEY}")),
        *(("hermes", text) for text in (f"a: !{KEY} x", f"a: !!int {KEY}", f'a: "{KEY}')),
        *(("codex", text) for text in (f"key = {KEY}", f"[{KEY}]\n[{KEY}]", f'x = {{"{KEY}"=1,"{KEY}"=2}}')),
        ("cursor", f'{{"a": {KEY}'),
    ]
    for name, text in broken:
        placed(known_hosts()[name], text)
        assert main(["config", name, "--write"]) == 4, text
    assert main(["doctor", "--sandbox"]) == 4
    told = capsys.readouterr()
    assert KEY not in told.out + told.err


def test_openclaws_own_command_is_named_for_what_only_openclaw_can_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    placed(known_hosts()["openclaw"], "{mcp: {servers: {}}}")
    assert main(["config", "openclaw", "--write"]) == 4
    told = capsys.readouterr().err
    assert f"openclaw mcp add luma --command {start_here().command} --env 'RUNAPI_API_KEY=${{RUNAPI_API_KEY}}'" in told


def test_vs_code_is_asked_for_the_key_once_beside_its_other_questions(home: Path) -> None:
    host = known_hosts()["vscode"]
    path = placed(host, '{"inputs": [{"id": "other"}], "servers": {}}')
    for _ in range(2):
        assert main(["config", host.name, "--write"]) == 0
    found = documents.read(host.form, path.read_text(encoding="utf-8"))
    assert [one["id"] for one in found["inputs"]] == ["other", "luma_api_key"]
    assert found["servers"][NAME]["env"] == {"RUNAPI_API_KEY": "${input:luma_api_key}"}


def test_an_entry_of_another_name_is_renewed_instead_of_doubled(home: Path) -> None:
    host = known_hosts()["cursor"]
    path = placed(host, '{"mcpServers": {"video": {"command": "/old/bin/luma-mcp"}, "npm": {"args": ["@x/luma-mcp"]}}}')
    assert main(["config", host.name, "--write"]) == 0
    servers = documents.read(host.form, path.read_text(encoding="utf-8"))["mcpServers"]
    assert list(servers) == ["video", "npm"]
    assert servers["video"]["command"] == start_here().command


UNUSABLE = {
    "not JSON": "{'a': 1",
    "JSON of another kind": "[]",
    "comments where the host reads none": '{} // "x"',
    "servers of another kind": '{"mcpServers": ["x"]}',
    "an entry of another kind": '{"mcpServers": {"luma": "x"}}',
    "an entry with an address": '{"mcpServers": {"luma": {"url": "https://x.example"}}}',
    "variables of another kind": '{"mcpServers": {"luma": {"command": "luma-mcp", "env": []}}}',
    "not UTF-8": b'{"a": "\xff"}',
    "nested too deeply": '{"a":' * 100_000,
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_file_that_cannot_be_used_is_left_as_it_is(
    home: Path, capsys: pytest.CaptureFixture[str], content: str | bytes
) -> None:
    path = placed(known_hosts()["claude-desktop"], content)
    before = path.read_bytes()
    assert main(["config", "claude-desktop", "--write"]) == 4
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err
    assert "Traceback" not in told.err
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("codex", "mcp_servers = 1\n"),
        ("codex", "[broken\n"),
        ("hermes", "a: [1\n"),
        ("hermes", "- a\n"),
        ("hermes", "mcp_servers: x\n"),
        ("hermes", "---\na: 1\n---\nb: 1\n"),
        ("goose", "extensions: &all\n  x: {cmd: y}\nmore: *all\n"),
        ("openclaw", "{mcp: {servers: {}}}"),
    ],
)
def test_a_file_of_another_form_that_cannot_be_used_is_left_as_it_is(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    path = placed(known_hosts()[name], text)
    assert main(["config", name, "--write"]) == 4
    assert str(path) in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == text


def test_a_read_only_file_is_left_as_it_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = placed(known_hosts()["claude-desktop"], STRICT)
    path.chmod(0o444)
    assert main(["config", "claude-desktop", "--write"]) == 4
    assert "read-only" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == STRICT
    assert backups(path) == []


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
    assert listed == {host.name: str(host.file()) for host in HOSTS}


def test_a_file_behind_a_link_is_written_where_it_lies(home: Path) -> None:
    real = home / "dotfiles.json"
    real.write_text("{}")
    link = known_hosts()["cursor"].file()
    link.parent.mkdir()
    link.symlink_to(real)
    assert main(["config", "cursor", "--write"]) == 0
    assert link.is_symlink()
    assert NAME in real.read_text(encoding="utf-8")


def test_the_mark_and_the_line_ends_of_windows_stay(home: Path) -> None:
    path = placed(known_hosts()["claude-desktop"], ("\ufeff" + STRICT).replace("\n", "\r\n"))
    assert main(["config", "claude-desktop", "--write"]) == 0
    text = path.read_bytes().decode()
    assert text.startswith("\ufeff{")
    assert text.count("\n") == text.count("\r\n") > STRICT.count("\n")


def test_a_file_that_changes_meanwhile_is_not_overwritten(home: Path) -> None:
    path = placed(known_hosts()["claude-code"], "{}")
    old = read_file(path)
    path.write_text('{"a": 1}')
    with pytest.raises(HostFileUnusable, match="by another program"):
        replace_file(old, "{}")
    assert path.read_text() == '{"a": 1}'
    assert list(path.parent.glob(f".{path.name}*.new")) == []


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
    found = {host.name: [host.file(platform) for platform in ("darwin", "win32", "linux")] for host in HOSTS}
    assert found == {name: [home / place for place in places] for name, places in PLACES.items()}


@pytest.mark.parametrize(
    ("variable", "name", "platform", "file"),
    [
        ("CLAUDE_CONFIG_DIR", "claude-code", "linux", ".claude.json"),
        ("CODEX_HOME", "codex", "linux", "config.toml"),
        ("GEMINI_CLI_HOME", "gemini-cli", "linux", ".gemini/settings.json"),
        ("OPENCLAW_HOME", "openclaw", "linux", ".openclaw/openclaw.json"),
        ("OPENCLAW_STATE_DIR", "openclaw", "linux", "openclaw.json"),
        ("OPENCLAW_CONFIG_PATH", "openclaw", "linux", ""),
        ("HERMES_HOME", "hermes", "linux", "config.yaml"),
        ("XDG_CONFIG_HOME", "zed", "linux", "zed/settings.json"),
        ("APPDATA", "vscode", "win32", "Code/User/mcp.json"),
    ],
)
def test_variables_that_move_a_file_are_followed(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str, platform: str, file: str
) -> None:
    monkeypatch.setenv(variable, "~/moved")
    assert known_hosts()[name].file(platform) == home / "moved" / file


def test_files_that_moved_with_a_new_version_are_found(home: Path) -> None:
    hosts = known_hosts()
    store = home / "AppData/Local/Packages/Claude_x/LocalCache/Roaming/Claude"
    store.mkdir(parents=True)
    assert hosts["claude-desktop"].file("win32").parent == store
    (home / ".codeium/windsurf").mkdir(parents=True)
    assert hosts["windsurf"].file("linux") == home / ".codeium/windsurf/mcp_config.json"
    (home / ".config/devin").mkdir(parents=True)
    assert hosts["windsurf"].file("linux") == home / ".config/devin/mcp_config.json"
    (home / ".lmstudio-home-pointer").write_text(f"{home}/elsewhere\n")
    assert hosts["lm-studio"].file() == home / "elsewhere/mcp.json"


def test_a_server_that_uvx_put_into_its_cache_is_started_by_uvx(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(home / ".cache/uv/archive-v0/x"))
    uvx = home / "bin" / "uvx"
    uvx.parent.mkdir()
    uvx.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(uvx.parent))
    start = start_here()
    assert start.command == str(uvx)
    assert start.args[-1] == entries.COMMAND
    assert start.args[0] == "--from", "it was installed from a checkout here"


def test_without_a_command_of_its_own_python_starts_it(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:

    def scripts(_: str) -> str:
        return str(home)

    monkeypatch.setattr(sysconfig, "get_path", scripts)
    assert start_here() == Start(sys.executable, ["-P", "-m", "luma_mcp"])
    (home / "luma-mcp").touch()
    assert start_here() == Start(str(home / "luma-mcp"), [])


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(
    document=st.dictionaries(st.text() | st.just("mcpServers"), plain_values, max_size=4),
    servers=st.none() | st.dictionaries(st.text(), st.just({"command": "x"}), max_size=3),
    indent=st.sampled_from([None, 1, 4, "\t"]),
    line=st.sampled_from(["\n", "\r\n"]),
)
def test_any_json_document_takes_an_entry_and_keeps_the_rest(
    document: Json, servers: Json | None, indent: Any, line: str
) -> None:
    document["mcpServers"] = servers or {}
    text = json.dumps(document, indent=indent, ensure_ascii=False).replace("\n", line)
    wish = Wish(Start("/x", []), {"A": "b"})
    changed = documents.changed("json", text, fresh(HOSTS[0], wish))
    assert json.loads(changed) == document | {"mcpServers": {**(servers or {}), NAME: wanted(wish)}}


def wanted(wish: Wish) -> Json:
    """Give the plain entry."""
    return {"command": wish.start.command, "args": wish.start.args, "env": wish.variables}


def test_settings_are_written_as_their_variables_hold_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = f"~/a{os.pathsep}/b"
    assert main(["config", "claude-desktop", "--media-roots", roots, "--max-active", "3", "--allow-private"]) == 0
    env = json.loads(capsys.readouterr().out)["mcpServers"][NAME]["env"]
    del env["RUNAPI_API_KEY"]
    assert env == {
        "LUMA_MCP_MEDIA_ROOTS": f"{home}/a{os.pathsep}/b",
        "LUMA_MCP_MAX_ACTIVE": "3",
        "LUMA_MCP_ALLOW_PRIVATE": "true",
    }
    assert main(["config", "claude-desktop", "--output-dir", "relative"]) == 2


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
    assert (".".join(host.servers), host.entry(C, [], E)) == ENTRIES[host.name]
    assert host.key == KEYS.get(host.name, "your key")


def test_limits_are_in_the_unit_of_each_host() -> None:
    known = {name: (host.limit_seconds, host.limit_key[1]) for name, host in known_hosts().items()}
    assert {name for name, (_, part) in known.items() if part == 0.001} == {"claude-code", "gemini-cli", "openclaw"}
    limits = {"claude-desktop": 240, "codex": 300, "gemini-cli": 600, "hermes": 300, "goose": 300}
    assert {name: seconds for name, (seconds, _) in known.items() if seconds != 60} == {
        **limits,
        "claude-code": None,
        "vscode": None,
    }


def test_backups_and_new_files_are_for_their_owner_only(home: Path) -> None:
    path = placed(known_hosts()["cursor"], "{}")
    path.chmod(0o644)
    assert main(["config", "cursor", "--write"]) == 0
    [backup] = backups(path)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["codex", "hermes", "goose", "zed"])
@pytest.mark.parametrize("has_servers", [True, False])
def test_files_with_the_line_ends_of_windows_keep_them(home: Path, name: str, has_servers: bool) -> None:
    host = known_hosts()[name]
    text = others(host) if has_servers else {"toml": "a = 1\n", "yaml": "a: 1\n", "jsonc": "{}\n"}[host.form]
    path = placed(host, text.replace("\n", "\r\n"))
    for flags in ([], ["--daily-limit", "5"]):
        assert main(["config", name, "--write", *flags]) == 0
        written = path.read_bytes()
        assert written.count(b"\n") == written.count(b"\r\n")


@pytest.mark.parametrize(
    "other",
    [
        {"command": "npx", "args": ["-y", "@acme/luma-labs"], "env": {"LUMAAI_API_KEY": "k"}},
        {"command": "npx", "args": ["-y", "luma-mcp"], "env": {"LUMA_API_KEY": "k"}},
        {"command": "uvx", "args": ["luma-mcp"], "env": {"LUMA_API_KEY": "k"}},
    ],
)
def test_another_product_called_luma_is_left_alone(home: Path, other: Json) -> None:
    path = placed(known_hosts()["cursor"], json.dumps({"mcpServers": {NAME: other}}))
    for _ in range(2):
        assert main(["config", "cursor", "--write"]) == 0
        servers = documents.read("json", path.read_text(encoding="utf-8"))["mcpServers"]
        assert servers[NAME] == other
        assert set(servers) == {NAME, "runapiluma"}


def test_a_launcher_of_the_users_own_is_left_alone(home: Path) -> None:
    docker: Json = {
        "command": "docker",
        "args": ["run", "-i", "luma-mcp", "--daily-limit", "3"],
        "env": {"RUNAPI_API_KEY": "k"},
    }
    path = placed(known_hosts()["cursor"], json.dumps({"mcpServers": {NAME: docker}}))
    assert main(["config", "cursor", "--write", "--max-active", "3"]) == 0
    entry = entry_in(known_hosts()["cursor"], path)
    assert (entry["command"], entry["args"]) == (docker["command"], docker["args"])
    assert entry["env"]["LUMA_MCP_MAX_ACTIVE"] == "3"


def test_another_product_with_the_same_key_is_left_alone(home: Path) -> None:
    other = {"command": "npx", "args": ["-y", "@acme/suno"], "env": {"RUNAPI_API_KEY": "k"}}
    path = placed(known_hosts()["cursor"], json.dumps({"mcpServers": {"suno": other}}))
    assert main(["config", "cursor", "--write"]) == 0
    servers = documents.read("json", path.read_text(encoding="utf-8"))["mcpServers"]
    assert servers["suno"] == other
    assert NAME in servers


def test_a_launcher_that_may_not_pass_the_sandbox_on_is_not_said_to_play(home: Path) -> None:
    docker = {"command": "docker", "args": ["run", "-i", "img"], "env": {"RUNAPI_API_KEY": "k"}}
    path = placed(known_hosts()["cursor"], json.dumps({"mcpServers": {NAME: docker}}))
    before = path.read_bytes()
    assert main(["config", "cursor", "--write", "--sandbox"]) == 4
    assert path.read_bytes() == before


def test_what_is_asked_for_now_beats_flags_in_the_entry(home: Path) -> None:
    args = ["--wait-seconds", "100", "--sandbox", "--daily-limit=5", "--max-active", "2"]
    path = placed(known_hosts()["cursor"], json.dumps({"mcpServers": {NAME: {"command": "luma-mcp", "args": args}}}))
    assert main(["config", "cursor", "--write", "--wait-seconds", "30"]) == 0
    found = entry_in(known_hosts()["cursor"], path)
    assert found["args"] == [*start_here().args, "--daily-limit=5", "--max-active", "2"]
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
    entry = {"mcpServers": {NAME: {"command": command, "args": args}}}
    path = placed(known_hosts()["cursor"], json.dumps(entry))
    assert main(["config", "cursor", "--write"]) == 0
    start = start_here()
    found = entry_in(known_hosts()["cursor"], path)
    assert (found["command"], found["args"]) == (start.command, [*start.args, "--daily-limit", "5"])


def test_an_entry_of_vs_code_without_a_key_is_completed_with_the_question(home: Path) -> None:
    path = placed(known_hosts()["vscode"], json.dumps({"servers": {NAME: {"command": "/old/luma-mcp"}}}))
    for _ in range(2):
        assert main(["config", "vscode", "--write"]) == 0
        found = documents.read("jsonc", path.read_text(encoding="utf-8"))
        assert [one["id"] for one in found["inputs"]] == ["luma_api_key"]


@pytest.mark.parametrize(
    "text", ['{"mcpServers": null}', '{"mcpServers": {"luma": null}}', "// nothing yet\n", "{ }", ""]
)
def test_files_that_hold_nothing_yet_are_filled(home: Path, text: str) -> None:
    path = placed(known_hosts()["cursor"], text)
    assert main(["config", "cursor", "--write"]) == 0
    assert entry_in(known_hosts()["cursor"], path)["command"] == start_here().command


def test_a_file_of_somebody_else_is_left_alone_or_stays_theirs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = placed(known_hosts()["cursor"], "{}")
    given: list[tuple[int, int]] = []

    def chown(_: Path, owner: int, group: int) -> None:
        given.append((owner, group))
        raise PermissionError(1, "Operation not permitted")

    real = Path.stat

    def stat_of(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = real(self, follow_symlinks=follow_symlinks)
        return os.stat_result((*found[:4], 4321, 4321, *found[6:])) if self == path else found

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(Path, "stat", stat_of)
    assert main(["config", "cursor", "--write"]) == 4
    assert given == [(4321, 4321)]
    assert path.read_text() == "{}"
    assert list(path.parent.iterdir()) == [path], "no backup of what did not change"


def test_write_without_a_host_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--write"]) == 4
    assert "claude-desktop" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--allowed-hosts", "--auth-tokens", "--api-key"])
def test_an_entry_takes_no_settings_of_servers_on_a_port_and_no_secrets(flag: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["config", "cursor", flag, "1"])
