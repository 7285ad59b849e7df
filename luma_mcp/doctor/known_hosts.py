"""What the doctor finds about the hosts on this machine: whether they know this server, and what they allow a call."""

import os
import shutil
from pathlib import Path

from luma_mcp.doctor.findings import Finding, note, ok, problem
from luma_mcp.hosts import documents
from luma_mcp.hosts.entries import REMOTE, SANDBOX_VARIABLE, mentions_us, name_in, own_command, servers_in
from luma_mcp.hosts.files import HostFileUnusable, read_file
from luma_mcp.hosts.known import PLACEHOLDER, Host, known_hosts
from luma_mcp.setting_sources import KEY_VARIABLE
from luma_mcp.settings import Settings, key_sources
from luma_mcp.untrusted import Json, child, is_object

WAIT_VARIABLE = "LUMA_MCP_WAIT_SECONDS"


def hosts(settings: Settings) -> list[Finding]:
    """Look into the files of the hosts that are here."""
    here = [host for host in known_hosts().values() if host.file().exists()]
    if not here:
        return [note("hosts", "No file of a known host was found.", f"Run: {own_command()} config HOST --write")]
    return [finding for host in here for finding in in_file(host, settings)]


def in_file(host: Host, settings: Settings) -> list[Finding]:
    """Look into one host's file."""
    path = host.file()
    write = f"Run: {own_command()} config {host.name} --write"
    try:
        servers = servers_in(host, documents.read(host.form, read_file(path).text))
    except HostFileUnusable as error:
        return [problem(host.title, error.message, error.hint or "Make it readable.")]
    except ValueError as error:
        return [
            note(
                host.title,
                f"{path} could not be read as {host.form.removesuffix('c').upper()}: {error}.",
                "Mend the file.",
            )
        ]
    name = name_in(servers)
    entry: object = servers.get(name)
    if not is_object(entry):
        return [note(host.title, "is here, and does not know this server.", write)]
    if any(key in entry for key in REMOTE) and not mentions_us(entry):
        return [ok(host.title, f"connects to an address, as {name!r} in {path} says")]
    return [*start(host, entry, write), limit(host, entry, settings)]


def start(host: Host, entry: Json, write: str) -> list[Finding]:
    """Check that the program is there, and that it will have a key."""
    command = str(entry.get("command") or entry.get("cmd") or "")
    env = child(entry, host.env_name)
    found: list[Finding] = []
    if not (Path(command).is_file() if os.path.dirname(command) else shutil.which(command)):
        found.append(problem(host.title, f"The entry starts {command!r}, which is not there.", write))
    elif not Path(command).is_absolute():
        found.append(note(host.title, f"The entry starts {command!r} by name, which hosts may not find.", write))
    plays = str(env.get(SANDBOX_VARIABLE, "")).lower() in {"true", "1", "yes", "on"}
    if env.get(KEY_VARIABLE, host.key) == PLACEHOLDER and "file" not in key_sources() and not plays:
        fix = f"Put your key in place of {PLACEHOLDER!r} in {host.file()}."
        found.append(problem(host.title, "The entry holds no RunAPI key yet.", fix, "missing_api_key"))
    return found


def limit(host: Host, entry: Json, settings: Settings) -> Finding:
    """Compare how long this server makes a call wait with how long the host lets it."""
    told = str(child(entry, host.env_name).get(WAIT_VARIABLE, ""))
    wait = int(told) if told.isdecimal() else settings.wait_seconds
    more = f" ({host.limit_note})" if host.limit_note else ""
    bound = limit_of(host, entry)
    if bound is None:
        return ok(host.title, f"knows this server, and has no limit for a call{more}")
    if wait >= bound:
        message = f"gives a call up after {bound:.0f} seconds{more}, and this server waits {wait}."
        return problem(host.title, message, f"Set {WAIT_VARIABLE} below that.")
    return ok(
        host.title,
        f"knows this server; it gives a call up after {bound:.0f} s{more}, and this server answers within {wait} s",
    )


def limit_of(host: Host, entry: Json) -> float | None:
    """Tell after how many seconds a host gives a call up: as its entry says, else as it does by default."""
    name, part = host.limit_key
    told = entry.get(name)
    return told * part if isinstance(told, int | float) and told > 0 else host.limit_seconds
