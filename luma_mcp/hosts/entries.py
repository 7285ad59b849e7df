"""The entry that starts this server on this machine, and what it changes in a host's file."""

import json
import os
import re
import shlex
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, cast

from luma_mcp.core.settings_sources import KEY_VARIABLE, PREFIX, find_program, is_filled_in
from luma_mcp.core.text import Json, child, is_list, is_object
from luma_mcp.hosts.config_file import HostFileUnusable
from luma_mcp.hosts.formats import KeyPath
from luma_mcp.hosts.registry import ENTRY_NAME, INPUT_ID, INPUT_REFERENCE, KEY_INPUT, Entry, Host

DISTRIBUTION = "runapi-luma-mcp"
COMMAND = "luma-mcp"
BY_HAND = "Let the launcher pass LUMA_MCP_SANDBOX=true on, or use another entry."
OTHER_NAME = "runapiluma"  # where another server is called luma
NAMES = frozenset({DISTRIBUTION, COMMAND, "luma_mcp"})
SANDBOX_VARIABLE = "LUMA_MCP_SANDBOX"
LAUNCH_FIELDS = frozenset({"command", "cmd", "args", "type"})
BY_PYTHON = ("-P", "-m", "luma_mcp")  # -P: nothing of the working directory, where hosts start servers, is imported
REFERENCE = re.compile(r"\$\{\w+:[^}]*\}")  # what several hosts fill in, such as ${env:NAME}
URL_FIELDS = ("url", "httpUrl", "serverUrl", "uri")
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
    key: str = ""  # the RunAPI key, or how the host gets at it; empty for an entry without one
    needs_key: bool = True

    @property
    def variables(self) -> dict[str, str]:
        """Give the settings, and the key if the entry is to have one, by variable."""
        return {**({KEY_VARIABLE: self.key} if self.key else {}), **self.settings}


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
    """Give the command that runs this program here, quoted for a shell, for a person to type."""
    start = find_launch_command()
    return shlex.join([start.command, *start.args])


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
    entry = host.make_entry(wish.launch.command, wish.launch.args, wish.variables)
    asks = wish.key == INPUT_REFERENCE
    return {**({("inputs", ""): KEY_INPUT} if asks else {}), (*host.servers, name): entry}


def merged_entry_changes(host: Host, document: Mapping[str, Any], wish: EntryOptions) -> dict[KeyPath, object]:
    """Give the values to change in a file: the command, and what was asked for now; all else in its entry stays.

    Raises `HostFileUnusable` if the entry starts no program, or has a launcher of its own that may lose --sandbox.
    """
    name = find_entry_name(read_servers(host, document))
    place, there = (*host.servers, name), read_servers(host, document).get(name)
    new = new_entry_changes(host, wish, name)
    if there is None:
        return new if not has_input(document) else {place: new[place]}
    if not is_object(there) or any(key in there for key in URL_FIELDS):
        raise HostFileUnusable(
            f"There is an entry {name!r} of another kind already, which does not start a program on this machine.",
            hint="Remove or rename it first.",
        )
    entry = {**cast("Entry", new[place]), **kept_start(there, wish)}
    found: dict[KeyPath, object] = {
        (*place, key): value
        for key, value in entry.items()
        if key != host.env_name and (key not in there or (key in LAUNCH_FIELDS and there[key] != value))
    }
    variables = changed_variables(child(there, host.env_name), wish)
    asks = not has_input(document) and variables.get(KEY_VARIABLE) == wish.key and ("inputs", "") in new
    return {
        **({("inputs", ""): KEY_INPUT} if asks else {}),
        **found,
        **{(*place, host.env_name, variable): value for variable, value in variables.items()},
    }


def kept_start(there: Json, wish: EntryOptions) -> Entry:
    """Give what stays of how an entry starts this server: its own flags, or its whole command if that is a launcher.

    Raises `HostFileUnusable` for a launcher and the sandbox: without the variable, which it may not pass on, real money
    would be spent.
    """
    args = there.get("args")
    words = [str(word) for word in args] if is_list(args) else []
    flags = own_flags(program_of(there), words)
    if flags is None and SANDBOX_VARIABLE in wish.settings:
        raise HostFileUnusable("The entry has a launcher of its own, which may not pass --sandbox on.", hint=BY_HAND)
    if flags is None:
        return {name: there[name] for name in ("command", "cmd", "args") if name in there}
    said_anew = {f"--{name.removeprefix(PREFIX).lower().replace('_', '-')}" for name in wish.settings} | {"--sandbox"}
    return {"args": [*wish.launch.args, *without_flags(flags, said_anew)]}


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


def read_servers(host: Host, document: Mapping[str, Any]) -> Json:
    """Give the servers that a file names, none if it holds something else there."""
    found: Json = dict(document)
    for name in host.servers:
        found = child(found, name)
    return found


def find_entry_name(servers: Json) -> str:
    """Give the name of this server's entry, or of the one to make; `OTHER_NAME` if another server is called luma."""
    ours = [
        name
        for name, entry in servers.items()
        if is_our_entry(entry) or (name == ENTRY_NAME and is_object(entry) and KEY_VARIABLE in env_names(entry))
    ]
    is_taken = is_object(servers.get(ENTRY_NAME)) and not any(key in servers[ENTRY_NAME] for key in URL_FIELDS)
    return ENTRY_NAME if ENTRY_NAME in ours else next(iter(ours), OTHER_NAME if is_taken else ENTRY_NAME)


def is_our_entry(entry: object) -> bool:
    """Tell whether an entry starts this server, by its name or by a variable that only this server reads."""
    if not is_object(entry):
        return False
    args = entry.get("args")
    words = [package_name(word) for word in args if isinstance(word, str)] if is_list(args) else []
    ours = [name for name in env_names(entry) if str(name).startswith(PREFIX)]
    packaged = NAMES if "--from" in words else NAMES - {COMMAND}  # others have published something called luma-mcp
    return program_of(entry) in NAMES or not packaged.isdisjoint(words) or bool(ours)


def env_names(entry: Json) -> list[str]:
    return [str(name) for name in (*child(entry, "env"), *child(entry, "envs"))]


def package_name(word: str) -> str:
    """Take a version off the name of a package."""
    return re.split(r"[@=<>~!]", word)[0]


def program_of(entry: Json) -> str:
    """Name the program that an entry starts, without its folder and `.exe`; empty for none."""
    command = entry.get("command") or entry.get("cmd")
    return re.split(r"[/\\]", command)[-1].removesuffix(".exe") if isinstance(command, str) else ""


def has_own_key(host: Host, env: Json) -> bool:
    """Tell whether an entry with these variables brings a key, or gets at one where the host keeps it."""
    if KEY_VARIABLE not in env:
        return host.inherits
    value = str(env[KEY_VARIABLE])
    refers = (host.key.startswith("$") and "$" in value) or REFERENCE.fullmatch(value)
    return bool(refers) or is_filled_in(value)


def has_input(document: Mapping[str, Any]) -> bool:
    """Tell whether a file asks for the key already, as VS Code's does."""
    asked = document.get("inputs")
    return is_list(asked) and any(is_object(one) and one.get("id") == INPUT_ID for one in asked)
