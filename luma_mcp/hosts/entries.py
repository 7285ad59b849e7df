"""The entry that starts this server on this machine, the commands that do the same, and what both change."""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, cast

from luma_mcp.core.settings_sources import KEY_VARIABLE, find_program
from luma_mcp.core.text import Json, child, is_object
from luma_mcp.hosts.config_file import HostFileUnusable
from luma_mcp.hosts.existing import (
    COMMAND,
    DISTRIBUTION,
    NAMES,
    SANDBOX_VARIABLE,
    address_of,
    find_entry_name,
    flag_of,
    package_name,
    program_of,
    read_servers,
    words_of,
)
from luma_mcp.hosts.formats import KeyPath
from luma_mcp.hosts.registry import ENTRY_NAME, Host

BY_HAND = "Let the launcher pass LUMA_MCP_SANDBOX=true on, or use another entry."
LAUNCH_FIELDS = frozenset({"command", "cmd", "args", "type"})
BY_PYTHON = ("-P", "-m", "luma_mcp")  # -P: nothing of the working directory, where hosts start servers, is imported
THROWN_AWAY = frozenset({"archive-v0", "environments-v2"})  # folders in uv's cache, where uvx installs


@dataclass(frozen=True, slots=True)
class LaunchCommand:
    """How a host starts this server; `command` is an absolute path."""

    command: str
    args: list[str]


@dataclass(frozen=True, slots=True)
class EntryOptions:
    """What an entry is to say."""

    launch: LaunchCommand
    settings: Mapping[str, str]  # by variable
    key: str = ""  # how the host gets at the RunAPI key, never a key itself; empty for an entry without one

    @property
    def variables(self) -> dict[str, str]:
        """Give the settings, and the way to the key if the entry is to have one, by variable: for an entry."""
        return {**({KEY_VARIABLE: self.key} if self.key else {}), **self.settings}

    @property
    def flags(self) -> list[str]:
        """Give the same settings as words of a command line."""
        return [
            word
            for variable, value in self.settings.items()
            for word in ([flag_of(variable)] if value == "true" else [flag_of(variable), value])
        ]

    @property
    def uses_sandbox(self) -> bool:
        """Tell whether the server is to use the sandbox, so that nothing is charged."""
        return SANDBOX_VARIABLE in self.settings

    def for_real(self) -> "EntryOptions":
        """Give the same without the sandbox."""
        kept = {name: value for name, value in self.settings.items() if name != SANDBOX_VARIABLE}
        return EntryOptions(self.launch, kept, self.key)


def find_launch_command() -> LaunchCommand:
    """Give the command that starts the server which is installed here: its own, else its Python with `-m`.

    What uvx has installed is in a cache that may be emptied, so uvx is the command then.
    """
    if THROWN_AWAY & set(Path(sys.prefix).parts) and (uvx := find_program("uvx")):
        return LaunchCommand(str(uvx), uvx_arguments())
    script = Path(sysconfig.get_path("scripts")) / (f"{COMMAND}.exe" if sys.platform == "win32" else COMMAND)
    if script.is_file():
        return LaunchCommand(str(script), [])
    return LaunchCommand(sys.executable, [*BY_PYTHON])


def shell_command() -> str:
    """Give the command that runs this program here, with its folder, quoted for a shell."""
    start = find_launch_command()
    return quote_command([start.command, *start.args])


def typed_command(*words: str) -> str:
    """Give a command of this program for a person to type: by its name where a shell finds it."""
    start = find_launch_command()
    is_found = find_program(COMMAND) == Path(start.command)
    return quote_command([COMMAND if is_found else start.command, *start.args, *words])


def config_command(host: Host, wish: EntryOptions, *words: str) -> str:
    """Give our command that makes the entry with the same settings, for a person to type."""
    return typed_command("config", host.name, *wish.flags, *words)


def save_command(host: Host, wish: EntryOptions) -> str:
    """Give the host's own command that saves the very same entry; empty for a host that has none."""
    entry = host.make_entry(wish.launch.command, wish.launch.args, wish.variables)
    return quote_command([*host.save_command, ENTRY_NAME, json.dumps(entry)]) if host.save_command else ""


def quote_command(words: list[str]) -> str:
    """Quote a command for the shell of this system."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def uvx_arguments() -> list[str]:
    """Give uvx's arguments: the name of the package, or the place that it was installed from."""
    try:
        place: object = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "null")
    except (PackageNotFoundError, ValueError):
        place = None
    return ["--from", str(place["url"]), COMMAND] if is_object(place) and "url" in place else [DISTRIBUTION]


def format_setting(value: object) -> str:
    """Write a setting as its variable holds it: true and false, and lists as the system separates paths."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return os.pathsep.join(str(part) for part in cast("tuple[object, ...]", value))
    return str(value)


def new_entry_changes(host: Host, wish: EntryOptions, name: str = ENTRY_NAME) -> dict[KeyPath, object]:
    """Give the values to put into a file that does not know this server, by the path to each."""
    return {(*host.servers, name): host.make_entry(wish.launch.command, wish.launch.args, wish.variables)}


def merged_entry_changes(host: Host, document: Mapping[str, Any], wish: EntryOptions) -> dict[KeyPath, object]:
    """Give the values to change in a file: the command, and what was asked for now; all else in its entry stays.

    Raises `HostFileUnusable` if the entry starts no program, or has a launcher of its own that may lose --sandbox.
    """
    name = find_entry_name(read_servers(host, document))
    place, there = (*host.servers, name), read_servers(host, document).get(name)
    if there is None:
        return new_entry_changes(host, wish, name)
    if not is_object(there) or address_of(there):
        raise HostFileUnusable(
            f"There is an entry {name!r} of another kind already, which does not start a program on this machine.",
            hint="Rename it or take it out by hand first.",
        )
    if there.get(host.env_name) is not None and not is_object(there[host.env_name]):
        raise HostFileUnusable(f"{host.env_name!r} in the entry {name!r} holds something else than variables.")
    start = kept_launch(there, wish)
    entry = host.make_entry(start.command, start.args, wish.variables)
    found: dict[KeyPath, object] = {
        (*place, key): value
        for key, value in entry.items()
        if key != host.env_name and (key not in there or (key in LAUNCH_FIELDS and there[key] != value))
    }
    variables = changed_variables(child(there, host.env_name), wish)
    return {**found, **{(*place, host.env_name, variable): value for variable, value in variables.items()}}


def kept_launch(there: Json, wish: EntryOptions) -> LaunchCommand:
    """Give how an entry is to start this server: anew with the flags that it has, or as its own launcher does.

    Raises `HostFileUnusable` for a launcher and the sandbox: without the variable, which it may not pass on, real money
    would be spent.
    """
    if not words_of(there):
        return wish.launch
    program, *words = words_of(there)
    flags = own_flags(program_of(there), words)
    if flags is None and wish.uses_sandbox:
        raise HostFileUnusable("The entry has a launcher of its own, which may not pass --sandbox on.", hint=BY_HAND)
    if flags is None:
        return LaunchCommand(program, words)
    said_anew = {flag_of(name) for name in wish.settings} | {"--sandbox"}
    return LaunchCommand(wish.launch.command, [*wish.launch.args, *without_flags(flags, said_anew)])


def own_flags(program: str, words: list[str]) -> list[str] | None:
    """Give the flags for this server among an entry's arguments; None if a launcher starts it, such as Docker."""
    if program in NAMES:
        return words
    python = re.fullmatch(r"python[\d.]*w?|py", program) and [w for w in words if w != "-P"][:2] == ["-m", "luma_mcp"]
    place = next((place for place, word in enumerate(words) if package_name(word) in NAMES), None)
    if place is None or not (python or program in {"uvx", "uvx.exe"}):
        return None
    by_name = words[0] == "--from" and package_name(words[place]) == DISTRIBUTION and place == 1
    return words[place + 2 if by_name else place + 1 :]


def without_flags(words: list[str], flags: set[str]) -> list[str]:
    kept, value_follows = list[str](), False
    for word in words:
        is_flag = word.startswith("--")
        if is_flag and word.partition("=")[0] in flags:
            value_follows = "=" not in word and word != "--sandbox"
        elif is_flag or not value_follows:
            kept.append(word)
            value_follows = False
        else:
            value_follows = False
    return kept


def changed_variables(there: Json, wish: EntryOptions) -> dict[str, str]:
    """Give the variables to change: those asked for now, those missing, and a sandbox that is no longer asked for."""
    changed = {
        name: value
        for name, value in wish.variables.items()
        if not there.get(name) or (name in wish.settings and there[name] != value)
    }
    left = SANDBOX_VARIABLE in there and SANDBOX_VARIABLE not in wish.settings and there[SANDBOX_VARIABLE] != "false"
    return {**changed, **({SANDBOX_VARIABLE: "false"} if left else {})}
