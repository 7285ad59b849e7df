"""The table of hosts: which seem to be on this machine, which are set up already, and how."""

from collections.abc import Sequence

from luma_mcp.core.settings import key_sources
from luma_mcp.core.settings_sources import KEY_VARIABLE
from luma_mcp.hosts import formats
from luma_mcp.hosts.config_file import HostFileUnusable, read_file
from luma_mcp.hosts.existing import ExistingEntry, find_existing
from luma_mcp.hosts.registry import Host, pasted_hosts

COLUMNS = 80
HEADER = ("HOST", "HERE", "SET UP")
LIMITS = ("LUMA_MCP_DAILY_LIMIT", "LUMA_MCP_DAILY_BUDGET", "LUMA_MCP_MAX_ACTIVE")
UNREADABLE = "its file cannot be read: luma-mcp doctor"


def format_hosts(hosts: Sequence[Host]) -> str:
    """Write a line for each host: those that are set up first, then those that are here, then the rest."""
    rows = [(host.name, "yes" if host.seems_installed() else "", describe_setup(host)) for host in hosts]
    rows.sort(key=lambda row: (not row[2], not row[1]))
    pasted = [(host.name, "", f"paste it: luma-mcp config {host.name}") for host in pasted_hosts().values()]
    lines = [HEADER, *rows, *pasted]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    return "\n".join(clipped_line(f"{name:{widths[0]}}  {here:{widths[1]}}  {how}") for name, here, how in lines)


def describe_setup(host: Host) -> str:
    """Say how a host is set up, empty if it is not."""
    if not host.has_config_file():
        return ""
    try:
        document = formats.parse_document(host.file_format, read_file(host.config_path()).text)
    except (HostFileUnusable, ValueError):
        return UNREADABLE
    return "; ".join(map(describe_entry, find_existing(host, document)))


def describe_entry(one: ExistingEntry) -> str:
    if one.address:
        return f"http: {one.address}"
    limits = [
        f"{limit.removeprefix('LUMA_MCP_').lower().replace('_', ' ')} {value}"
        for limit in LIMITS
        if (value := one.setting(limit))
    ]
    return ", ".join(["sandbox only" if one.uses_sandbox else f"real, {describe_key(one)}", *limits])


def describe_key(one: ExistingEntry) -> str:
    if KEY_VARIABLE in one.env and one.has_own_key:
        return "key from its entry"
    if "file" in key_sources():
        return "key in RunAPI's own file"
    return "key from its environment" if one.has_own_key else "no key: luma-mcp login"


def clipped_line(line: str) -> str:
    line = line.rstrip()
    return line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…"
