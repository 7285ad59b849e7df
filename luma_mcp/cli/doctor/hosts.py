"""What the doctor finds about the hosts on this machine: whether they know this server, and what they allow a call."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from luma_mcp.cli.doctor.report import Finding, note, ok, problem
from luma_mcp.core.settings import Settings, key_sources
from luma_mcp.core.settings_sources import KEY_VARIABLE, find_program
from luma_mcp.core.settings_values import is_meant
from luma_mcp.core.text import Json, child, is_list, is_object
from luma_mcp.hosts import documents
from luma_mcp.hosts.entries import (
    REMOTE,
    SANDBOX_VARIABLE,
    has_own_key,
    mentions_us,
    name_in,
    own_command,
    servers_in,
)
from luma_mcp.hosts.files import HostFileUnusable, read_file
from luma_mcp.hosts.known import Host

WAIT_VARIABLE = "LUMA_MCP_WAIT_SECONDS"
YES = frozenset({"true", "1", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Seen:
    """A host that is here: its entry for this server, if it has one, or why its file cannot be read."""

    host: Host
    entry: Json | None = None
    fault: Finding | None = None

    @property
    def env(self) -> Json:
        """Give the variables that the entry sets."""
        return child(self.entry or {}, self.host.env_name)

    @property
    def plays(self) -> bool:
        """Tell whether the entry starts the sandbox."""
        args = (self.entry or {}).get("args")
        return str(self.env.get(SANDBOX_VARIABLE, "")).lower() in YES or (is_list(args) and "--sandbox" in args)

    @property
    def lacks_key(self) -> bool:
        """Tell whether the entry neither brings a key nor needs one."""
        return not (self.plays or has_own_key(self.host, self.env) or "file" in key_sources())


def seen(host: Host) -> Seen:
    """Look into one host's file."""
    path = host.file()
    try:
        servers = servers_in(host, documents.read(host.form, read_file(path).text))
    except HostFileUnusable as error:
        return Seen(host, fault=problem(host.title, error.message, error.hint or "Make it readable."))
    except ValueError as error:
        message = f"{path} cannot be read: {error}."
        if host.own_way:
            fix = "If the host itself works, leave the file as it is: it reads more than this program."
            return Seen(host, fault=note(host.title, message, fix))
        return Seen(host, fault=problem(host.title, message, "Mend that place, or bring a backup back."))
    entry: object = servers.get(name_in(servers))
    return Seen(host, entry if is_object(entry) else None)


def brings_key(host: Host, _: Settings) -> list[Finding]:
    """Find it good if a host's entry brings a key, or plays; else find nothing."""
    one = seen(host)
    return [ok(host.title, "brings a key")] if one.entry is not None and not one.lacks_key else []


def nowhere() -> Finding:
    """Say that no host was found."""
    return note("hosts", "No file of a known host was found.", f"Run: {own_command()} config HOST --write")


def judged(host: Host, settings: Settings) -> list[Finding]:
    """Tell whether a host can start this server, and what it allows a call."""
    one = seen(host)
    title, write = one.host.title, f"Run: {own_command()} config {one.host.name} --write"
    if one.fault:
        return [one.fault]
    if one.entry is None:
        return [note(title, "is here, and does not know this server.", write)]
    if any(key in one.entry for key in REMOTE) and not mentions_us(one.entry):
        return [ok(title, "connects to an address")]
    checks = (start(one, write), key(one), shell_key(one), limit(one, settings))
    wrong = [finding for finding in checks if finding]
    return wrong or [ok(title, knows(one, settings))]


def start(one: Seen, write: str) -> Finding | None:
    """Check that the program is there."""
    command = str((one.entry or {}).get("command") or (one.entry or {}).get("cmd") or "")
    if not (Path(command).is_file() if os.path.dirname(command) else find_program(command)):
        return problem(one.host.title, f"Its entry starts {command!r}, which is not there.", write)
    if not Path(command).is_absolute():
        return note(one.host.title, f"Its entry starts {command!r} by name, which hosts may not find.", write)
    return None


def key(one: Seen) -> Finding | None:
    """Check that the server will have a key."""
    if not one.lacks_key:
        return None
    fix = one.host.key_note.format(title=one.host.title, file=one.host.file())
    return problem(one.host.title, "Its entry holds no RunAPI key yet.", fix, "missing_api_key")


def shell_key(one: Seen) -> Finding | None:
    """Check that the shell has the key if the host takes it from there."""
    if not one.host.key_from_shell or one.plays or key_sources() or is_meant(one.env.get(KEY_VARIABLE, "")):
        return None
    message = f"It takes the key from {KEY_VARIABLE} in the shell, which is not set in this one."
    return note(one.host.title, message, f"Set it where you start {one.host.title}.")


def limit(one: Seen, settings: Settings) -> Finding | None:
    """Compare how long this server makes a call wait with how long the host lets it."""
    bound, wait = limit_of(one), wait_of(one, settings)
    if bound is None or wait < bound:
        return None
    message = f"It gives a call up after {bound:.0f} s{more(one)}, and this server waits {wait} s."
    fix = f"Set {WAIT_VARIABLE} below that among the variables of its entry in {one.host.file()}."
    return problem(one.host.title, message, fix)


def knows(one: Seen, settings: Settings) -> str:
    """Say that all is well."""
    bound, wait = limit_of(one), wait_of(one, settings)
    plays = "knows this server, and plays the sandbox" if one.plays else "knows this server"
    if bound is None:
        return f"{plays}; it has no limit for a call{more(one)}"
    return f"{plays}; it gives a call up after {bound:.0f} s{more(one)}, and this server answers within {wait} s"


def more(one: Seen) -> str:
    """Say what else is known of the limit."""
    return f" ({one.host.limit_note})" if one.host.limit_note else ""


def wait_of(one: Seen, settings: Settings) -> int:
    """Tell how many seconds a call waits in this host."""
    args = (one.entry or {}).get("args")
    words = " ".join(map(str, args)) if is_list(args) else ""
    flag = re.search(r"--wait-seconds[ =](\d{1,6})\b", words)
    told = flag[1] if flag else str(one.env.get(WAIT_VARIABLE, ""))
    return int(told) if re.fullmatch(r"\d{1,6}", told) else settings.wait_seconds


def limit_of(one: Seen) -> float | None:
    """Tell after how many seconds a host gives a call up: as its entry says, else as it does by default."""
    name, part = one.host.limit_key
    told = (one.entry or {}).get(name)
    return told * part if isinstance(told, int | float) and 0 < told < math.inf else one.host.limit_seconds
