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

from luma_mcp.core.settings_sources import KEY_VARIABLE, PREFIX, find_program
from luma_mcp.core.settings_values import is_meant
from luma_mcp.core.text import Json, child, is_list, is_object
from luma_mcp.hosts.documents import Place
from luma_mcp.hosts.files import HostFileUnusable
from luma_mcp.hosts.known import INPUT_ID, KEY_INPUT, NAME, Entry, Host

DISTRIBUTION = "runapi-luma-mcp"
COMMAND = "luma-mcp"
BY_HAND = "Let the launcher pass LUMA_MCP_SANDBOX=true on, or use another entry."
OTHER_NAME = "runapiluma"  # where another server is called luma
NAMES = frozenset({DISTRIBUTION, COMMAND, "luma_mcp"})
SANDBOX_VARIABLE = "LUMA_MCP_SANDBOX"
OURS = frozenset({"command", "cmd", "args", "type"})
BY_PYTHON = ("-P", "-m", "luma_mcp")  # -P: nothing of the working directory, where hosts start servers, is imported
REFERENCE = re.compile(r"\$\{\w+:[^}]*\}")  # what several hosts fill in, such as ${env:NAME}
REMOTE = ("url", "httpUrl", "serverUrl", "uri")
THROWN_AWAY = frozenset({"archive-v0", "environments-v2"})  # folders in uv's cache, where uvx installs


@dataclass(frozen=True, slots=True)
class Start:
    """How a host starts this server: an absolute path, and arguments."""

    command: str
    args: list[str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What an entry is to say: how to start, settings by variable, and how to get at the key, if it needs one."""

    start: Start
    given: Mapping[str, str]
    key: str = ""
    needs_key: bool = True

    @property
    def variables(self) -> dict[str, str]:
        """Give all variables of the entry."""
        return {**({KEY_VARIABLE: self.key} if self.key else {}), **self.given}


def start_here() -> Start:
    """Tell how to start the server that is installed here: by its own command, else by its Python.

    Run by uvx, it lies in a cache that may be emptied: then a host had better run it by uvx too.
    """
    if THROWN_AWAY & set(Path(sys.prefix).parts) and (uvx := find_program("uvx")):
        return Start(str(uvx), from_where())
    script = Path(sysconfig.get_path("scripts")) / (f"{COMMAND}.exe" if sys.platform == "win32" else COMMAND)
    if script.is_file():
        return Start(str(script), [])
    return Start(sys.executable, [*BY_PYTHON])


def own_command() -> str:
    """Write the command that runs this program here, for a person to type."""
    start = start_here()
    return shlex.join([start.command, *start.args])


def from_where() -> list[str]:
    """Give uvx's arguments: the name of the package, or the place that it was installed from."""
    try:
        place: object = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "null")
    except (PackageNotFoundError, ValueError):
        place = None
    return ["--from", str(place["url"]), COMMAND] if is_object(place) and "url" in place else [DISTRIBUTION]


def as_variable(value: object) -> str:
    """Write a setting as its variable holds it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return os.pathsep.join(str(part) for part in cast("tuple[object, ...]", value))
    return str(value)


def fresh(host: Host, wish: Wish, name: str = NAME) -> dict[Place, object]:
    """Give what has to be put where, in a file that does not know this server."""
    entry = host.entry(wish.start.command, wish.start.args, wish.variables)
    asks = wish.key == f"${{input:{INPUT_ID}}}"
    return {**({("inputs", ""): KEY_INPUT} if asks else {}), (*host.servers, name): entry}


def merged(host: Host, document: Mapping[str, Any], wish: Wish) -> dict[Place, object]:
    """Give what has to be changed in a file: how to start, and what was asked for; other values that are there stay.

    Raises `HostFileUnusable` if the entry is of another kind.
    """
    name = name_in(servers_in(host, document))
    place, there = (*host.servers, name), servers_in(host, document).get(name)
    new = fresh(host, wish, name)
    if there is None:
        return new if not has_input(document) else {place: new[place]}
    if not is_object(there) or any(key in there for key in REMOTE):
        raise HostFileUnusable(
            f"There is an entry {name!r} of another kind already, which does not start a program on this machine.",
            hint="Remove or rename it first.",
        )
    entry = {**cast("Entry", new[place]), **kept_start(there, wish)}
    found: dict[Place, object] = {
        (*place, key): value
        for key, value in entry.items()
        if key != host.env_name and (key not in there or (key in OURS and there[key] != value))
    }
    variables = changed_variables(child(there, host.env_name), wish)
    asks = not has_input(document) and variables.get(KEY_VARIABLE) == wish.key and ("inputs", "") in new
    return {
        **({("inputs", ""): KEY_INPUT} if asks else {}),
        **found,
        **{(*place, host.env_name, variable): value for variable, value in variables.items()},
    }


def kept_start(there: Json, wish: Wish) -> Entry:
    """Give what stays of how an entry starts this server: flags of its own, and the whole of another launcher.

    Raises `HostFileUnusable` if that launcher is to play: it may not pass the variable on, and real money be spent.
    """
    args = there.get("args")
    words = [str(word) for word in args] if is_list(args) else []
    flags = own_flags(program_of(there), words)
    if flags is None and SANDBOX_VARIABLE in wish.given:
        raise HostFileUnusable("The entry has a launcher of its own, which may not pass --sandbox on.", hint=BY_HAND)
    if flags is None:
        return {name: there[name] for name in ("command", "cmd", "args") if name in there}
    said_anew = {f"--{name.removeprefix(PREFIX).lower().replace('_', '-')}" for name in wish.given} | {"--sandbox"}
    return {"args": [*wish.start.args, *without_flags(flags, said_anew)]}


def own_flags(program: str, words: list[str]) -> list[str] | None:
    """Give the flags for this server among an entry's arguments, None if the entry starts it by a launcher."""
    if program in NAMES:
        return words
    python = re.fullmatch(r"python[\d.]*w?|py", program) and [w for w in words if w != "-P"][:2] == ["-m", "luma_mcp"]
    place = next((place for place, word in enumerate(words) if package(word) in NAMES), None)
    if place is None or not (python or program in {"uvx", "uvx.exe"}):
        return None
    by_name = words[0] == "--from" and package(words[place]) == DISTRIBUTION and place == 1
    return words[place + 2 if by_name else place + 1 :]


def without_flags(words: list[str], flags: set[str]) -> list[str]:
    """Leave out some flags with their values."""
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


def changed_variables(there: Json, wish: Wish) -> dict[str, str]:
    """Give the variables of an entry that change: what was asked for now, what is missing, and a game that is over."""
    changed = {
        name: value
        for name, value in wish.variables.items()
        if not there.get(name) or (name in wish.given and there[name] != value)
    }
    over = SANDBOX_VARIABLE in there and SANDBOX_VARIABLE not in wish.given and there[SANDBOX_VARIABLE] != "false"
    return {**changed, **({SANDBOX_VARIABLE: "false"} if over else {})}


def servers_in(host: Host, document: Mapping[str, Any]) -> Json:
    """Give the servers that a file names, none if it holds something else there."""
    found: Json = dict(document)
    for name in host.servers:
        found = child(found, name)
    return found


def name_in(servers: Json) -> str:
    """Tell under which name a file knows this server; if it does not, under which it is to, another's being taken."""
    ours = [
        name
        for name, entry in servers.items()
        if mentions_us(entry) or (name == NAME and is_object(entry) and KEY_VARIABLE in variables_in(entry))
    ]
    is_taken = is_object(servers.get(NAME)) and not any(key in servers[NAME] for key in REMOTE)
    return NAME if NAME in ours else next(iter(ours), OTHER_NAME if is_taken else NAME)


def mentions_us(entry: object) -> bool:
    """Tell whether an entry starts this server, by its name or by a variable that only this server reads."""
    if not is_object(entry):
        return False
    args = entry.get("args")
    words = [package(word) for word in args if isinstance(word, str)] if is_list(args) else []
    ours = [name for name in variables_in(entry) if str(name).startswith(PREFIX)]
    packaged = NAMES if "--from" in words else NAMES - {COMMAND}  # others have published something called luma-mcp
    return program_of(entry) in NAMES or not packaged.isdisjoint(words) or bool(ours)


def variables_in(entry: Json) -> list[str]:
    """List the variables that an entry sets."""
    return [str(name) for name in (*child(entry, "env"), *child(entry, "envs"))]


def package(word: str) -> str:
    """Take a version off the name of a package."""
    return re.split(r"[@=<>~!]", word)[0]


def program_of(entry: Json) -> str:
    """Name the program that an entry starts, without its folder."""
    command = entry.get("command") or entry.get("cmd")
    return re.split(r"[/\\]", command)[-1].removesuffix(".exe") if isinstance(command, str) else ""


def has_own_key(host: Host, env: Json) -> bool:
    """Tell whether an entry with these variables brings a key, or gets at one where the host keeps it."""
    if KEY_VARIABLE not in env:
        return host.inherits
    value = str(env[KEY_VARIABLE])
    refers = (host.key.startswith("$") and "$" in value) or REFERENCE.fullmatch(value)
    return bool(refers) or is_meant(value)


def has_input(document: Mapping[str, Any]) -> bool:
    """Tell whether a file asks for the key already, as VS Code's does."""
    asked = document.get("inputs")
    return is_list(asked) and any(is_object(one) and one.get("id") == INPUT_ID for one in asked)
