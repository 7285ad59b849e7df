"""What is known of each host: where it keeps its servers, how an entry looks there, and what it allows a call."""

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luma_mcp.core.settings_sources import KEY_VARIABLE, BadSetting, find_program
from luma_mcp.hosts import paths
from luma_mcp.hosts.formats import FileFormat

ENTRY_NAME = "luma"
LOG_IN = "Run luma-mcp login: it gets a RunAPI key, and keeps it where every host's server reads it."
FROM_SHELL = f"The RunAPI key is taken from {KEY_VARIABLE} in the shell that you start {{title}} in."
FROM_ENVIRONMENT = (
    f"The RunAPI key is taken from {KEY_VARIABLE} in the environment of {{title}}. Where that is not started from a"
    f" shell, write {KEY_VARIABLE} under [mcp_servers.luma.env] in {{file}}."
)
RESTART = "Quit {title} fully and start it again."
NEW_SESSION = "Start a new session of {title}."
UNSURE = "assumed, as it is not documented"
MILLISECONDS = 0.001
CALL_SECONDS, START_SECONDS = 300, 60  # what our entries ask for where hosts let them
Entry = dict[str, Any]
COPILOT_FIELDS: Entry = {"tools": ["*"], "timeout": CALL_SECONDS * 1000}
CODEX_LIMITS: Entry = {"startup_timeout_sec": START_SECONDS, "tool_timeout_sec": CALL_SECONDS}
HERMES_LIMITS: Entry = {"timeout": CALL_SECONDS, "connect_timeout": START_SECONDS}
GOOSE_EXTENSION: Entry = {  # Goose leaves out an extension that lacks any of these
    "enabled": True,
    "type": "stdio",
    "name": ENTRY_NAME,
    "description": "Modify videos with Luma at RunAPI",
}


def plain_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give the entry that most hosts understand."""
    return {"command": command, "args": args, "env": env}


def typed_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    return {"type": "stdio", **plain_entry(command, args, env)}


def codex_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give an entry that passes the key on from Codex's own environment, which it does for named variables only."""
    variables = {"env": env} if env else {}
    return {"command": command, "args": args, "env_vars": [KEY_VARIABLE], **CODEX_LIMITS, **variables}


def hermes_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    return {**plain_entry(command, args, env), **HERMES_LIMITS}


def goose_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    return {**GOOSE_EXTENSION, "cmd": command, "args": args, "envs": env, "timeout": CALL_SECONDS}


def zed_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    return {**plain_entry(command, args, env), "timeout": CALL_SECONDS}


def cline_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    return {**typed_entry(command, args, env), "timeout": CALL_SECONDS}


def copilot_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    return {"type": "local", **plain_entry(command, args, env), **COPILOT_FIELDS}


def opencode_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give an entry in the form of version 1, which version 2 reads too."""
    return {
        "type": "local",
        "command": [command, *args],
        "environment": env,
        "enabled": True,
        "timeout": CALL_SECONDS * 1000,
    }


def openclaw_entry(command: str, args: list[str], env: dict[str, str]) -> Entry:
    limits = {"requestTimeoutMs": CALL_SECONDS * 1000, "connectionTimeoutMs": START_SECONDS * 1000}
    return {**plain_entry(command, args, env), **limits}


@dataclass(frozen=True, slots=True)
class HttpEntryFields:
    """What a host calls the parts of an entry with an address, and what else it expects there."""

    url: str = "url"
    sse_url: str = "url"
    headers: str = "headers"
    more: Entry = field(default_factory=dict[str, Any])  # beside the address of streamable HTTP
    sse: Entry | None = field(default_factory=dict[str, Any])  # beside that of SSE; None for a host without SSE


TYPED_HTTP = HttpEntryFields(more={"type": "http"}, sse={"type": "sse"})


@dataclass(frozen=True, slots=True)
class Host:
    """A host: its name on our command line and its own, its file, and what belongs there."""

    name: str
    title: str
    config_paths: paths.ConfigPaths
    servers: tuple[str, ...] = ("mcpServers",)  # the names that lead to the servers in the file
    file_format: FileFormat = "json"
    make_entry: Callable[[str, list[str], dict[str, str]], Entry] = plain_entry  # of command, arguments and variables
    env_name: str = "env"
    http: HttpEntryFields | None = None  # None for a file that takes no address with a header of its own
    key: str = ""  # how an entry passes on a RunAPI key from the environment, where the host does not by itself
    key_note: str = LOG_IN  # where the host takes a key from that is not in RunAPI's own file
    key_from_shell: bool = False
    inherits: bool = False  # passes its own environment on
    timeout_seconds: int | None = 60  # when it gives a call up, unless the entry says otherwise; None for never
    timeout_field: tuple[str, float] = ("", 1)  # where an entry says so, and in what part of a second
    timeout_is_documented: bool = True
    timeout_exceptions: str = ""
    next_step_note: str = RESTART
    aliases: tuple[str, ...] = ()  # other names that people know it by
    program: str = ""  # its command, by which it is found on a machine where it has no file yet
    page: str = ""  # of its settings, for a host without a file: people paste the entry there
    save_command: tuple[str, ...] = ()  # its own command that saves an entry, given by name and as JSON
    remove_command: tuple[str, ...] = ()  # and the one that takes it out again, given by name

    @property
    def timeout_note(self) -> str:
        """What else is known of the time limit of a call, empty for nothing."""
        return self.timeout_exceptions if self.timeout_is_documented else UNSURE

    def call_timeout(self, entry: Mapping[str, Any]) -> float | None:
        """Give after how many seconds the host gives a call up with this entry; None for never."""
        name, part = self.timeout_field
        limit = entry.get(name)
        return limit * part if isinstance(limit, int | float) and 0 < limit < math.inf else self.timeout_seconds

    def config_path(self, platform: str = sys.platform) -> Path:
        """Give the file that holds the servers: of several the first that is there, else the one to make."""
        files = self.config_paths(platform)
        return next((path for path in files if os.path.exists(path)), files[0])

    def has_config_file(self) -> bool:
        """Tell whether the host keeps a file on this machine."""
        try:
            return os.path.exists(self.config_path())
        except BadSetting:  # a user without a home folder has no file there
            return False

    def seems_installed(self) -> bool:
        """Tell whether the host seems to be on this machine: its file, the folder for that, or its command is there."""
        folders = [path.parent for path in self.config_paths(sys.platform)]
        return (
            self.has_config_file()
            or any(os.path.exists(folder) for folder in folders if folder != paths.home())
            or bool(self.program and find_program(self.program))
        )


HOSTS = (
    # to talk with
    Host(
        "claude-desktop",
        "Claude Desktop",
        paths.claude_files,
        timeout_seconds=240,
        timeout_exceptions="some versions, and its Cowork and Code tabs, after about 60",
    ),
    Host(
        "lm-studio",
        "LM Studio",
        paths.lm_studio_files,
        http=HttpEntryFields(),
        timeout_is_documented=False,
        next_step_note="In the Program tab, switch on mcp/{name}.",
    ),
    # to write code in
    Host(
        "cursor",
        "Cursor",
        paths.in_home(".cursor", "mcp.json"),
        file_format="jsonc",
        make_entry=typed_entry,
        http=HttpEntryFields(),
        timeout_is_documented=False,
        next_step_note="Switch {name} on in the settings, under MCP; if it is not there, restart {title}.",
        program="cursor",
    ),
    Host(
        "vscode",
        "VS Code",
        paths.in_settings("Code", "User", "mcp.json"),
        ("servers",),
        "jsonc",
        typed_entry,
        http=TYPED_HTTP,
        timeout_seconds=None,
        timeout_exceptions="old versions after 300 s",
        next_step_note="Run the command MCP: List Servers in {title}, choose {name}, then Start Server.",
        program="code",
    ),
    Host(
        "devin",
        "Devin Desktop",
        paths.devin_files,
        file_format="jsonc",
        http=HttpEntryFields(more={"transport": "http"}, sse={"transport": "sse"}),
        timeout_is_documented=False,
        aliases=("windsurf", "devin-cli"),
        program="devin",
    ),
    Host(
        "cline",
        "Cline",
        paths.cline_files,
        make_entry=cline_entry,
        http=HttpEntryFields(
            more={"type": "streamableHttp", "timeout": CALL_SECONDS}, sse={"type": "sse", "timeout": CALL_SECONDS}
        ),
        timeout_field=("timeout", 1),
        next_step_note="{title} starts it as soon as the file is saved: its MCP Servers page shows a green dot.",
        program="cline",
    ),
    Host(
        "kiro",
        "Kiro",
        paths.in_home(".kiro", "settings", "mcp.json"),
        file_format="jsonc",
        http=HttpEntryFields(),
        timeout_is_documented=False,
        next_step_note="{title} starts it as soon as the file is saved: its MCP Servers view shows it.",
        aliases=("kiro-cli",),
        program="kiro-cli",
    ),
    Host(
        "antigravity",
        "Antigravity",
        paths.in_home(".gemini", "config", "mcp_config.json"),
        http=HttpEntryFields(url="serverUrl", sse_url="serverUrl"),
        timeout_is_documented=False,
        next_step_note="In the agent panel of {title}, open MCP Servers, Manage MCP Servers, and refresh.",
        program="agy",
    ),
    Host(
        "junie",
        "JetBrains Junie",
        paths.in_home(".junie", "mcp", "mcp.json"),
        http=HttpEntryFields(sse=None),
        timeout_is_documented=False,
        next_step_note="Switch {name} on in Settings | Tools | Junie | MCP Settings, or with /mcp in Junie CLI.",
        program="junie",
    ),
    Host(
        "zed",
        "Zed",
        paths.in_settings("Zed", "settings.json", unix=("zed", "settings.json")),
        ("context_servers",),
        "jsonc",
        zed_entry,
        http=HttpEntryFields(),
        timeout_field=("timeout", 1),
        next_step_note="{title} starts it as soon as the file is saved: its settings show a green dot.",
        program="zed",
    ),
    # to write code in, in a terminal
    Host(
        "claude-code",
        "Claude Code",
        paths.claude_code_files,
        make_entry=typed_entry,
        http=TYPED_HTTP,
        key=f"${{{KEY_VARIABLE}:-}}",
        key_note=FROM_SHELL,
        key_from_shell=True,
        inherits=True,
        timeout_seconds=None,
        timeout_field=("timeout", MILLISECONDS),
        next_step_note=NEW_SESSION,
        program="claude",
    ),
    Host(
        "codex",
        "Codex",
        paths.in_home(".codex", "config.toml", variable="CODEX_HOME"),
        ("mcp_servers",),
        "toml",
        codex_entry,
        http=HttpEntryFields(headers="http_headers", more=CODEX_LIMITS, sse=None),
        key="",
        key_note=FROM_ENVIRONMENT,
        key_from_shell=True,
        inherits=True,
        timeout_seconds=300,
        timeout_field=("tool_timeout_sec", 1),
        next_step_note=NEW_SESSION,
        program="codex",
    ),
    Host(
        "gemini-cli",
        "Gemini CLI",
        paths.gemini_files,
        file_format="jsonc",
        http=HttpEntryFields(url="httpUrl"),
        key=f"${KEY_VARIABLE}",
        key_from_shell=True,
        key_note=f"{FROM_SHELL} Its own command `gemini mcp add` may later write the key itself into that file.",
        timeout_seconds=600,
        timeout_field=("timeout", MILLISECONDS),
        next_step_note="Start {title} again, in a folder that it trusts: elsewhere it switches all servers off.",
        program="gemini",
    ),
    Host(
        "copilot-cli",
        "GitHub Copilot CLI",
        paths.in_home(".copilot", "mcp-config.json", variable="COPILOT_HOME"),
        make_entry=copilot_entry,
        http=HttpEntryFields(more={"type": "http", **COPILOT_FIELDS}, sse={"type": "sse", **COPILOT_FIELDS}),
        key=f"${{{KEY_VARIABLE}}}",
        key_note=FROM_SHELL,
        key_from_shell=True,
        timeout_field=("timeout", MILLISECONDS),
        next_step_note=NEW_SESSION,
        aliases=("copilot",),
        program="copilot",
    ),
    Host(
        "opencode",
        "opencode",
        paths.opencode_files,
        ("mcp",),
        "jsonc",
        opencode_entry,
        "environment",
        http=HttpEntryFields(
            more={"type": "remote", "enabled": True, "oauth": False, "timeout": CALL_SECONDS * 1000},
            sse={"type": "remote", "enabled": True, "oauth": False, "timeout": CALL_SECONDS * 1000},
        ),
        key_note=FROM_SHELL,
        key_from_shell=True,
        inherits=True,
        timeout_seconds=5,
        timeout_field=("timeout", MILLISECONDS),
        next_step_note="Start {title} again.",
        program="opencode",
    ),
    # that work by themselves
    Host(
        "openclaw",
        "OpenClaw",
        paths.openclaw_files,
        ("mcp", "servers"),
        "jsonc",
        openclaw_entry,
        http=HttpEntryFields(
            more={"transport": "streamable-http", "requestTimeoutMs": CALL_SECONDS * 1000}, sse={"transport": "sse"}
        ),
        key=f"${{{KEY_VARIABLE}}}",
        key_note=f"Write {KEY_VARIABLE}=<your key> into ~/.openclaw/.env.",
        timeout_field=("requestTimeoutMs", MILLISECONDS),
        next_step_note="Restart its gateway.",
        save_command=("openclaw", "mcp", "set"),
        remove_command=("openclaw", "mcp", "unset"),
        program="openclaw",
    ),
    Host(
        "hermes",
        "Hermes Agent",
        paths.hermes_files,
        ("mcp_servers",),
        "yaml",
        hermes_entry,
        http=HttpEntryFields(more=HERMES_LIMITS, sse={"transport": "sse", "timeout": CALL_SECONDS}),
        key=f"${{{KEY_VARIABLE}}}",
        key_note=f"Write {KEY_VARIABLE}=<your key> into the file .env beside {{file}}.",
        timeout_seconds=300,
        timeout_field=("timeout", 1),
        next_step_note=NEW_SESSION,
        program="hermes",
    ),
    Host(
        "goose",
        "Goose",
        paths.in_settings("Block", "goose", "config", "config.yaml", unix=("goose", "config.yaml")),
        ("extensions",),
        "yaml",
        goose_entry,
        "envs",
        http=HttpEntryFields(
            url="uri", more={**GOOSE_EXTENSION, "type": "streamable_http", "timeout": CALL_SECONDS}, sse=None
        ),
        timeout_seconds=300,
        timeout_field=("timeout", 1),
        next_step_note=NEW_SESSION,
        program="goose",
    ),
)


PASTED = (
    Host(
        "jetbrains",
        "JetBrains AI Assistant",
        paths.nowhere,
        http=HttpEntryFields(sse=None),
        timeout_is_documented=False,
        next_step_note="Junie, JetBrains' agent, has a file of its own: luma-mcp config junie --write",
        page="Settings | Tools | AI Assistant | Model Context Protocol (MCP): Add, As JSON",
    ),
)


def all_hosts() -> dict[str, Host]:
    """Give the known hosts with a file, by name."""
    return {host.name: host for host in HOSTS}


def pasted_hosts() -> dict[str, Host]:
    """Give the known hosts that keep their servers where no other program may write, by name."""
    return {host.name: host for host in PASTED}
