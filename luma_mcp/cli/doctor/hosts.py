"""What the doctor finds about the hosts on this machine: whether they know this server, and what they allow a call."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from luma_mcp.cli.doctor.report import Finding, note, ok, problem
from luma_mcp.core.settings import Settings, key_sources
from luma_mcp.core.settings_sources import KEY_VARIABLE, find_program, is_filled_in
from luma_mcp.core.text import is_object
from luma_mcp.hosts import formats
from luma_mcp.hosts.config_file import HostFileUnusable, read_file
from luma_mcp.hosts.entries import typed_command
from luma_mcp.hosts.existing import ExistingEntry, address_of, find_existing, read_servers, words_of
from luma_mcp.hosts.registry import ENTRY_NAME, Host

WAIT_VARIABLE = "LUMA_MCP_WAIT_SECONDS"


@dataclass(frozen=True, slots=True)
class HostConfig:
    """A host on this machine: its entry for this server, if it has one, or why its file cannot be read."""

    host: Host
    existing: ExistingEntry | None = None
    fault: Finding | None = None

    @property
    def brings_key(self) -> bool:
        return self.existing is not None and not self.existing.address and not lacks_key(self.existing)


def lacks_key(one: ExistingEntry) -> bool:
    """Tell whether an entry needs a key and neither brings nor finds one."""
    return not (one.uses_sandbox or one.has_own_key or "file" in key_sources())


def read_host_config(host: Host) -> HostConfig:
    path = host.config_path()
    try:
        document = formats.parse_document(host.file_format, read_file(path).text)
    except HostFileUnusable as error:
        return HostConfig(host, fault=problem(host.title, error.message, error.hint or "Make it readable."))
    except ValueError as error:
        message = f"{path} cannot be read: {error}."
        if host.save_command:
            fix = "If the host itself works, leave the file as it is: it reads more than this program."
            return HostConfig(host, fault=note(host.title, message, fix))
        return HostConfig(host, fault=problem(host.title, message, "Fix that place, or restore a backup."))
    named = read_servers(host, document).get(ENTRY_NAME)
    remote = [ExistingEntry(host, ENTRY_NAME, named)] if is_object(named) and address_of(named) else []
    return HostConfig(host, next(iter([*find_existing(host, document), *remote]), None))


def no_host_found() -> Finding:
    return note("hosts", "No file of a known host was found.", f"Run: {typed_command('config', 'HOST', '--write')}")


def check_host(one: HostConfig, settings: Settings) -> list[Finding]:
    """Check whether a host can start this server, and how long it lets a call take."""
    title = one.host.title
    if one.fault:
        return [one.fault]
    if one.existing is None:
        return [note(title, "is here, and not set up yet.", write_fix(one.host))]
    entry = one.existing
    if entry.address:
        return [ok(title, "connects to an address")]
    checks = (check_command(entry), check_entry_key(entry), check_shell_key(entry), check_timeout(entry, settings))
    wrong = [finding for finding in checks if finding]
    return wrong or [ok(title, describe_host(entry, settings))]


def write_fix(host: Host, one: ExistingEntry | None = None) -> str:
    """Name the command that rewrites an entry: one of the sandbox stays one, and its other settings stay."""
    sandbox = ["--sandbox"] if one and one.uses_sandbox else []
    return f"Run: {typed_command('config', host.name, *sandbox, '--write')}"


def check_command(one: ExistingEntry) -> Finding | None:
    command, write = (words_of(one.entry) or [""])[0], write_fix(one.host, one)
    if not (Path(command).is_file() if os.path.dirname(command) else find_program(command)):
        return problem(one.host.title, f"Its entry starts {command!r}, which is not there.", write)
    if not Path(command).is_absolute():
        return note(one.host.title, f"Its entry starts {command!r} by name, which hosts may not find.", write)
    return None


def check_entry_key(one: ExistingEntry) -> Finding | None:
    if not lacks_key(one):
        return None
    message = "Its entry holds no RunAPI key, and there is none that every server finds."
    return problem(one.host.title, message, f"Run: {typed_command('login')}", "missing_api_key")


def check_shell_key(one: ExistingEntry) -> Finding | None:
    is_elsewhere = one.uses_sandbox or key_sources() or is_filled_in(one.env.get(KEY_VARIABLE, ""))
    if not one.host.key_from_shell or is_elsewhere or lacks_key(one):
        return None
    message = f"It takes the key from {KEY_VARIABLE} in the shell, which is not set in this one."
    fix = f"Set it where you start {one.host.title}, or, for all hosts at once, run: {typed_command('login')}"
    return note(one.host.title, message, fix)


def check_timeout(one: ExistingEntry, settings: Settings) -> Finding | None:
    bound, wait = one.host.call_timeout(one.entry), wait_of(one, settings)
    if bound is None or wait < bound:
        return None
    message = f"It times out calls after {bound:.0f} s{limit_note(one)}, and this server waits {wait} s."
    fix = f"Set {WAIT_VARIABLE} below that among the variables of its entry in {one.host.config_path()}."
    return problem(one.host.title, message, fix)


def describe_host(one: ExistingEntry, settings: Settings) -> str:
    bound, wait = one.host.call_timeout(one.entry), wait_of(one, settings)
    state = "is set up with the sandbox" if one.uses_sandbox else "is set up"
    if bound is None:
        return f"{state}; it does not time out calls{limit_note(one)}"
    return f"{state}; it times out calls after {bound:.0f} s{limit_note(one)}, and this server answers within {wait} s"


def limit_note(one: ExistingEntry) -> str:
    return f" ({one.host.timeout_note})" if one.host.timeout_note else ""


def wait_of(one: ExistingEntry, settings: Settings) -> int:
    told = one.setting(WAIT_VARIABLE)
    return int(told) if re.fullmatch(r"\d{1,6}", told) else settings.wait_seconds
