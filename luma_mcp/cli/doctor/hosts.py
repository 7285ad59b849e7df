"""What the doctor finds about the hosts on this machine: whether they know this server, and what they allow a call."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from luma_mcp.cli.doctor.report import Finding, note, ok, problem
from luma_mcp.core.settings import Settings, key_sources
from luma_mcp.core.settings_sources import KEY_VARIABLE, find_program, is_filled_in
from luma_mcp.core.text import Json, child, is_list, is_object
from luma_mcp.hosts import formats
from luma_mcp.hosts.config_file import HostFileUnusable, read_file
from luma_mcp.hosts.entries import (
    SANDBOX_VARIABLE,
    URL_FIELDS,
    find_entry_name,
    has_own_key,
    is_our_entry,
    read_servers,
    shell_command,
)
from luma_mcp.hosts.registry import Host

WAIT_VARIABLE = "LUMA_MCP_WAIT_SECONDS"
YES = frozenset({"true", "1", "yes", "on"})


@dataclass(frozen=True, slots=True)
class HostConfig:
    """A host on this machine: its entry for this server, if it has one, or why its file cannot be read."""

    host: Host
    entry: Json | None = None
    fault: Finding | None = None

    @property
    def env(self) -> Json:
        return child(self.entry or {}, self.host.env_name)

    @property
    def uses_sandbox(self) -> bool:
        args = (self.entry or {}).get("args")
        return str(self.env.get(SANDBOX_VARIABLE, "")).lower() in YES or (is_list(args) and "--sandbox" in args)

    @property
    def brings_key(self) -> bool:
        return self.entry is not None and not self.lacks_key

    @property
    def lacks_key(self) -> bool:
        """Tell whether the entry needs a key and neither brings nor finds one."""
        return not (self.uses_sandbox or has_own_key(self.host, self.env) or "file" in key_sources())


def read_host_config(host: Host) -> HostConfig:
    path = host.config_path()
    try:
        servers = read_servers(host, formats.parse_document(host.file_format, read_file(path).text))
    except HostFileUnusable as error:
        return HostConfig(host, fault=problem(host.title, error.message, error.hint or "Make it readable."))
    except ValueError as error:
        message = f"{path} cannot be read: {error}."
        if host.parse_failure_hint:
            fix = "If the host itself works, leave the file as it is: it reads more than this program."
            return HostConfig(host, fault=note(host.title, message, fix))
        return HostConfig(host, fault=problem(host.title, message, "Mend that place, or bring a backup back."))
    entry: object = servers.get(find_entry_name(servers))
    return HostConfig(host, entry if is_object(entry) else None)


def no_host_found() -> Finding:
    return note("hosts", "No file of a known host was found.", f"Run: {shell_command()} config HOST --write")


def check_host(one: HostConfig, settings: Settings) -> list[Finding]:
    """Check whether a host can start this server, and how long it lets a call take."""
    title, write = one.host.title, f"Run: {shell_command()} config {one.host.name} --write"
    if one.fault:
        return [one.fault]
    if one.entry is None:
        return [note(title, "is here, and does not know this server.", write)]
    if any(key in one.entry for key in URL_FIELDS) and not is_our_entry(one.entry):
        return [ok(title, "connects to an address")]
    checks = (check_command(one, write), check_entry_key(one), check_shell_key(one), check_timeout(one, settings))
    wrong = [finding for finding in checks if finding]
    return wrong or [ok(title, describe_host(one, settings))]


def check_command(one: HostConfig, write: str) -> Finding | None:
    command = str((one.entry or {}).get("command") or (one.entry or {}).get("cmd") or "")
    if not (Path(command).is_file() if os.path.dirname(command) else find_program(command)):
        return problem(one.host.title, f"Its entry starts {command!r}, which is not there.", write)
    if not Path(command).is_absolute():
        return note(one.host.title, f"Its entry starts {command!r} by name, which hosts may not find.", write)
    return None


def check_entry_key(one: HostConfig) -> Finding | None:
    if not one.lacks_key:
        return None
    fix = one.host.key_note.format(title=one.host.title, file=one.host.config_path())
    return problem(one.host.title, "Its entry holds no RunAPI key yet.", fix, "missing_api_key")


def check_shell_key(one: HostConfig) -> Finding | None:
    if not one.host.key_from_shell or one.uses_sandbox or key_sources() or is_filled_in(one.env.get(KEY_VARIABLE, "")):
        return None
    message = f"It takes the key from {KEY_VARIABLE} in the shell, which is not set in this one."
    return note(one.host.title, message, f"Set it where you start {one.host.title}.")


def check_timeout(one: HostConfig, settings: Settings) -> Finding | None:
    bound, wait = limit_of(one), wait_of(one, settings)
    if bound is None or wait < bound:
        return None
    message = f"It gives a call up after {bound:.0f} s{limit_note(one)}, and this server waits {wait} s."
    fix = f"Set {WAIT_VARIABLE} below that among the variables of its entry in {one.host.config_path()}."
    return problem(one.host.title, message, fix)


def describe_host(one: HostConfig, settings: Settings) -> str:
    bound, wait = limit_of(one), wait_of(one, settings)
    plays = "knows this server, and plays the sandbox" if one.uses_sandbox else "knows this server"
    if bound is None:
        return f"{plays}; it has no limit for a call{limit_note(one)}"
    return f"{plays}; it gives a call up after {bound:.0f} s{limit_note(one)}, and this server answers within {wait} s"


def limit_note(one: HostConfig) -> str:
    return f" ({one.host.timeout_note})" if one.host.timeout_note else ""


def wait_of(one: HostConfig, settings: Settings) -> int:
    args = (one.entry or {}).get("args")
    words = " ".join(map(str, args)) if is_list(args) else ""
    flag = re.search(r"--wait-seconds[ =](\d{1,6})\b", words)
    told = flag[1] if flag else str(one.env.get(WAIT_VARIABLE, ""))
    return int(told) if re.fullmatch(r"\d{1,6}", told) else settings.wait_seconds


def limit_of(one: HostConfig) -> float | None:
    """Give the seconds after which a host gives up a call: its entry's, else its default; None for no limit."""
    return one.host.call_timeout(one.entry or {})
