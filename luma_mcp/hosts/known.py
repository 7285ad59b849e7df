"""What is known of each host: where it keeps its servers, how an entry looks there, and what it allows a call."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luma_mcp.core.settings_sources import KEY_VARIABLE
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.hosts import places
from luma_mcp.hosts.documents import Form

NAME = "luma"
PLACEHOLDER = "your key"
INPUT_ID = "luma_api_key"
KEY_INPUT = {"type": "promptString", "id": INPUT_ID, "description": "RunAPI key for Luma", "password": True}
PUT_KEY = f'Put your RunAPI key in place of "{PLACEHOLDER}" in {{file}}.'
FROM_SHELL = f"The RunAPI key is taken from {KEY_VARIABLE} in the shell that you start {{title}} in."
FROM_ENVIRONMENT = (
    f"The RunAPI key is taken from {KEY_VARIABLE} in the environment of {{title}}. Where that is not started from a"
    f" shell, write {KEY_VARIABLE} under [mcp_servers.luma.env] in {{file}}."
)
RESTART = "Quit {title} fully and start it again."
NEW_SESSION = "Start a new session of {title}."
UNSURE = "assumed, as it is not documented"
MILLISECONDS = 0.001
Entry = dict[str, Any]


def plain(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give the entry that most hosts understand."""
    return {"command": command, "args": args, "env": env}


def typed(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give an entry that says how the host connects."""
    return {"type": "stdio", **plain(command, args, env)}


def codex(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give an entry for Codex: seconds for the start and for a call, and variables that are passed on."""
    limits = {"startup_timeout_sec": 60, "tool_timeout_sec": 300}
    return {"command": command, "args": args, "env_vars": [KEY_VARIABLE], **limits, **({"env": env} if env else {})}


def hermes(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give an entry for Hermes Agent: seconds for a call and for the start."""
    return {**plain(command, args, env), "timeout": 300, "connect_timeout": 60}


def goose(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give an extension for Goose, whose names differ, and which leaves out what lacks any of the first ones."""
    named = {"enabled": True, "type": "stdio", "name": NAME, "description": "Modify videos with Luma at RunAPI"}
    return {**named, "cmd": command, "args": args, "envs": env, "timeout": 300}


def zed(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give an entry for Zed: seconds for a call."""
    return {**plain(command, args, env), "timeout": 300}


def openclaw(command: str, args: list[str], env: dict[str, str]) -> Entry:
    """Give an entry for OpenClaw: milliseconds for a call and for the start."""
    return {**plain(command, args, env), "requestTimeoutMs": 300_000, "connectionTimeoutMs": 60_000}


@dataclass(frozen=True, slots=True)
class Host:
    """A host: its name on our command line and its own, its file, and what stands there.

    `servers` leads to its servers in the file. `key` is how an entry gets at the RunAPI key, `key_note` what people do
    for that; a host that `inherits` passes its own environment on. `limit_seconds` is when it gives a call up, None if
    it does not; `limit_key` is where an entry says so, and in what part of a second. `own_way` is what to do with a
    file whose form this program does not know whole.
    """

    name: str
    title: str
    files: places.Files
    servers: tuple[str, ...] = ("mcpServers",)
    form: Form = "json"
    entry: Callable[[str, list[str], dict[str, str]], Entry] = plain
    env_name: str = "env"
    key: str = PLACEHOLDER
    key_note: str = PUT_KEY
    key_from_shell: bool = False
    inherits: bool = False
    limit_seconds: int | None = 60
    limit_key: tuple[str, float] = ("", 1)
    limit_note: str = ""
    after: str = RESTART
    own_way: str = ""

    def file(self, platform: str = sys.platform) -> Path:
        """Give the file that holds the servers: of several the first that is there, else the one to make."""
        files = self.files(platform)
        return next((path for path in files if os.path.exists(path)), files[0])

    def is_here(self) -> bool:
        """Tell whether the host keeps a file on this machine."""
        try:
            return os.path.exists(self.file())
        except BadSetting:  # a user without a home folder has no file there
            return False


def known_hosts() -> dict[str, Host]:
    """List the hosts by name."""
    hosts = (*assistants(), *editors(), *terminal_assistants(), *agents())
    return {host.name: host for host in hosts}


def assistants() -> tuple[Host, ...]:
    """Describe programs to talk with."""
    return (
        Host(
            "claude-desktop",
            "Claude Desktop",
            places.claude_files,
            limit_seconds=240,
            limit_note="some versions, and its Cowork and Code tabs, after about 60",
        ),
        Host(
            "lm-studio",
            "LM Studio",
            places.lm_studio_files,
            limit_note=UNSURE,
            after="In the Program tab, switch on mcp/luma.",
        ),
    )


def editors() -> tuple[Host, ...]:
    """Describe programs to write code in."""
    return (
        Host(
            "cursor",
            "Cursor",
            places.in_home(".cursor", "mcp.json"),
            form="jsonc",
            entry=typed,
            limit_note=UNSURE,
            after="Switch luma on in the settings, under MCP; if it is not there, restart {title}.",
        ),
        Host(
            "vscode",
            "VS Code",
            places.in_settings("Code", "User", "mcp.json"),
            ("servers",),
            "jsonc",
            typed,
            key=f"${{input:{INPUT_ID}}}",
            key_note="{title} asks for the RunAPI key when it starts the server, and keeps it safe.",
            limit_seconds=None,
            limit_note="old versions after 300 s",
            after="Run the command MCP: List Servers in {title}, choose luma, then Start Server.",
        ),
        Host("windsurf", "Windsurf", places.windsurf_files, form="jsonc", limit_note=UNSURE),
        Host(
            "zed",
            "Zed",
            places.in_settings("Zed", "settings.json", unix=("zed", "settings.json")),
            ("context_servers",),
            "jsonc",
            zed,
            limit_key=("timeout", 1),
            after="{title} starts it as soon as the file is saved: its settings show a green dot.",
        ),
    )


def terminal_assistants() -> tuple[Host, ...]:
    """Describe programs that write code in a terminal."""
    return (
        Host(
            "claude-code",
            "Claude Code",
            places.claude_code_files,
            entry=typed,
            key=f"${{{KEY_VARIABLE}:-}}",
            key_note=FROM_SHELL,
            key_from_shell=True,
            inherits=True,
            limit_seconds=None,
            limit_key=("timeout", MILLISECONDS),
            after=NEW_SESSION,
        ),
        Host(
            "codex",
            "Codex",
            places.in_home(".codex", "config.toml", variable="CODEX_HOME"),
            ("mcp_servers",),
            "toml",
            codex,
            key="",
            key_note=FROM_ENVIRONMENT,
            key_from_shell=True,
            inherits=True,
            limit_seconds=300,
            limit_key=("tool_timeout_sec", 1),
            after=NEW_SESSION,
        ),
        Host(
            "gemini-cli",
            "Gemini CLI",
            places.gemini_files,
            form="jsonc",
            key=f"${KEY_VARIABLE}",
            key_from_shell=True,
            key_note=f"{FROM_SHELL} Its own command `gemini mcp add` may later write the key itself into that file.",
            limit_seconds=600,
            limit_key=("timeout", MILLISECONDS),
            after="Start {title} again, in a folder that it trusts: elsewhere it switches all servers off.",
        ),
    )


def agents() -> tuple[Host, ...]:
    """Describe programs that work by themselves."""
    return (
        Host(
            "openclaw",
            "OpenClaw",
            places.openclaw_files,
            ("mcp", "servers"),
            "jsonc",
            openclaw,
            key=f"${{{KEY_VARIABLE}}}",
            key_note=f"Write {KEY_VARIABLE}=<your key> into ~/.openclaw/.env.",
            limit_key=("requestTimeoutMs", MILLISECONDS),
            after="Restart its gateway.",
            own_way="OpenClaw reads JSON5, of which this program knows only comments and last commas, so the file may"
            " be fine. Let OpenClaw add the server itself: openclaw mcp add luma --command {command}"
            f" --env '{KEY_VARIABLE}=${{{{{KEY_VARIABLE}}}}}'",
        ),
        Host(
            "hermes",
            "Hermes Agent",
            places.hermes_files,
            ("mcp_servers",),
            "yaml",
            hermes,
            key=f"${{{KEY_VARIABLE}}}",
            key_note=f"Write {KEY_VARIABLE}=<your key> into the file .env beside {{file}}.",
            limit_seconds=300,
            limit_key=("timeout", 1),
            after=NEW_SESSION,
        ),
        Host(
            "goose",
            "Goose",
            places.in_settings("Block", "goose", "config", "config.yaml", unix=("goose", "config.yaml")),
            ("extensions",),
            "yaml",
            goose,
            "envs",
            limit_seconds=300,
            limit_key=("timeout", 1),
            after=NEW_SESSION,
        ),
    )
