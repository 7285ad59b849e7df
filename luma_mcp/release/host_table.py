"""The table of hosts for README."""

from pathlib import Path

from luma_mcp.hosts.known import UNSURE, Host, known_hosts

PLATFORM = "linux"


def host_table() -> str:
    """Write what a host is called on the command line, where its file is on Linux, and how long it lets a call take."""
    rows = [
        f"| {host.title} | `{host.name}` | `{shown(host.files(PLATFORM)[0])}` | {limit(host)} |"
        for host in sorted(known_hosts().values(), key=lambda host: host.title)
    ]
    head = ["| host | name | file | gives a call up after |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def shown(path: Path) -> str:
    """Write a path as it is for everybody."""
    return f"~/{path.relative_to(Path.home()).as_posix()}"


def limit(host: Host) -> str:
    """Say how long a call may take, with our entry if that says so."""
    entry = host.entry("", [], {})
    name, part = host.limit_key
    seconds = entry[name] * part if name in entry else host.limit_seconds
    more = f"{', ' if host.limit_note == UNSURE else '; '}{host.limit_note}" if host.limit_note else ""
    return f"{seconds:.0f} s{more}" if seconds else f"never{more}"
