"""What a host's file says of this server already: which entries are ours, how they start it, and with what settings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from luma_mcp.core.addresses import is_loopback_url
from luma_mcp.core.settings_sources import KEY_VARIABLE, PREFIX, is_filled_in
from luma_mcp.core.text import Json, child, is_list, is_object
from luma_mcp.hosts.registry import ENTRY_NAME, Host

DISTRIBUTION = "runapi-luma-mcp"
COMMAND = "luma-mcp"
OTHER_NAME = "runapiluma"  # where another server is called luma
NAMES = frozenset({DISTRIBUTION, COMMAND, "luma_mcp"})
SANDBOX_VARIABLE = "LUMA_MCP_SANDBOX"
YES = frozenset({"true", "1", "yes", "on"})
RUNAPI_PREFIX = "RUNAPI_"
REFERENCE = re.compile(r"\$\{\w+:[^}]*\}")  # what several hosts fill in, such as ${env:NAME}
URL_FIELDS = ("url", "httpUrl", "serverUrl", "uri")
ENDPOINTS = ("/mcp", "/sse")


@dataclass(frozen=True, slots=True)
class ExistingEntry:
    """An entry of this server in a host's file."""

    host: Host
    name: str
    entry: Json

    @property
    def env(self) -> Json:
        """Give its variables."""
        return child(self.entry, self.host.env_name)

    @property
    def words(self) -> list[str]:
        """Give the words of its command; a launcher may have several in one, as in `sh -c "luma-mcp --sandbox"`."""
        return " ".join(words_of(self.entry)).split()

    @property
    def address(self) -> str:
        """Give where it connects to; empty for one that starts a program."""
        return address_of(self.entry)

    @property
    def uses_sandbox(self) -> bool:
        """Tell whether the server that it starts uses the sandbox, so that nothing is charged."""
        told = str(self.env.get(SANDBOX_VARIABLE, "")).lower()
        return told in YES or "--sandbox" in self.words

    @property
    def has_own_key(self) -> bool:
        """Tell whether it brings a key, or gets at one where the host keeps it."""
        return not self.address and has_own_key(self.host, self.env)

    def setting(self, variable: str) -> str:
        """Give what it sets a setting to, by a flag or by the variable; empty if it does neither."""
        return flag_values(self.words).get(flag_of(variable)) or str(self.env.get(variable, ""))


def flag_values(words: Sequence[str]) -> dict[str, str]:
    """Give the values of flags, each given as a word of its own or after an equals sign."""
    found: dict[str, str] = {}
    for word, following in pairwise([*words, ""]):
        name, _, value = word.partition("=")
        if name.startswith("--"):
            found[name] = value or ("" if following.startswith("--") else following)
    return found


def flag_of(variable: str) -> str:
    """Give the flag of a setting that a variable holds."""
    return f"--{variable.removeprefix(PREFIX).removeprefix(RUNAPI_PREFIX).lower().replace('_', '-')}"


def read_servers(host: Host, document: Mapping[str, Any]) -> Json:
    """Give the servers that a file names, none if it holds something else there."""
    found: Json = dict(document)
    for name in host.servers:
        found = child(found, name)
    return found


def find_existing(host: Host, document: Mapping[str, Any], address: str = "") -> list[ExistingEntry]:
    """Give the entries of this server, the one called luma first.

    An entry with an address counts if it is called luma, and leads to this machine or to `address`.
    """
    servers = read_servers(host, document)
    found = [
        ExistingEntry(host, name, entry)
        for name, entry in servers.items()
        if is_object(entry) and (starts_us(name, entry) or leads_to_us(name, entry, address))
    ]
    return sorted(found, key=lambda one: one.name != ENTRY_NAME)


def starts_us(name: str, entry: Json) -> bool:
    return is_our_entry(entry) or (name == ENTRY_NAME and KEY_VARIABLE in env_names(entry))


def leads_to_us(name: str, entry: Json, address: str) -> bool:
    url = address_of(entry).rstrip("/")
    here = is_loopback_url(url) and url.endswith(ENDPOINTS)
    return name == ENTRY_NAME and bool(url) and (here or url == address)


def find_entry_name(servers: Json) -> str:
    """Give the name of the entry that starts this server, or of the one to make.

    That is `OTHER_NAME` if another server is called luma.
    """
    ours = [name for name, entry in servers.items() if is_object(entry) and starts_us(name, entry)]
    is_taken = is_object(servers.get(ENTRY_NAME)) and not address_of(servers[ENTRY_NAME])
    return ENTRY_NAME if ENTRY_NAME in ours else next(iter(ours), OTHER_NAME if is_taken else ENTRY_NAME)


def is_our_entry(entry: object) -> bool:
    """Tell whether an entry starts this server, by its name or by a variable that only this server reads."""
    if not is_object(entry):
        return False
    words = [package_name(word) for word in words_of(entry)[1:]]
    ours = [name for name in env_names(entry) if name.startswith(PREFIX)]
    packaged = NAMES if "--from" in words else NAMES - {COMMAND}  # others have published something called luma-mcp
    return program_of(entry) in NAMES or not packaged.isdisjoint(words) or bool(ours)


def address_of(entry: Json) -> str:
    """Give the address that an entry connects to, empty for none."""
    return next((entry[key] for key in URL_FIELDS if isinstance(entry.get(key), str)), "")


def env_names(entry: Json) -> list[str]:
    return [str(name) for field in ("env", "envs", "environment") for name in child(entry, field)]


def words_of(entry: Json) -> list[str]:
    """Give the command of an entry with its arguments, however the host wants them; empty for none."""
    command, args = entry.get("command") or entry.get("cmd"), entry.get("args")
    words: list[object] = [*command] if is_list(command) else [command]
    return [str(word) for word in (*words, *(args if is_list(args) else ())) if word is not None]


def program_of(entry: Json) -> str:
    """Name the program that an entry starts, without its folder and `.exe`; empty for none."""
    return re.split(r"[/\\]", (words_of(entry) or [""])[0])[-1].removesuffix(".exe")


def package_name(word: str) -> str:
    """Take a version off the name of a package."""
    return re.split(r"[@=<>~!]", word)[0]


def has_own_key(host: Host, env: Json) -> bool:
    """Tell whether an entry with these variables brings a key, or gets at one where the host keeps it."""
    if KEY_VARIABLE not in env:
        return host.inherits
    value = str(env[KEY_VARIABLE])
    refers = (host.key.startswith("$") and "$" in value) or REFERENCE.fullmatch(value)
    return bool(refers) or is_filled_in(value)
