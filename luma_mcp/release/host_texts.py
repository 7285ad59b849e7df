"""What README says of each host: a table, and for those who edit files by hand what belongs into them."""

from pathlib import Path

from luma_mcp.hosts import documents
from luma_mcp.hosts.entries import Start, Wish, fresh
from luma_mcp.hosts.known import UNSURE, Host, known_hosts

SYSTEMS = {"macOS": "darwin", "Windows": "win32", "Linux": "linux"}
WINDOWS_FOLDERS = {"APPDATA": "~/AppData/Roaming", "LOCALAPPDATA": "~/AppData/Local", "USERPROFILE": "~"}
START = Start("/absolute/path/to/luma-mcp", [])


def host_table() -> str:
    """Write what each host is called on the command line, and how long it lets a call take."""
    rows = [f"| {host.title} | `luma-mcp config {host.name} --write` | {limit(host)} |" for host in by_title()]
    return "\n".join(["| host | command | time limit of a call |", "|---|---|---|", *rows])


def host_sections() -> str:
    """Write for each host which file it keeps its servers in, what belongs into that, and what is left to do."""
    return "\n\n".join(host_section(host) for host in by_title())


def host_section(host: Host) -> str:
    """Write one host's part."""
    entry = documents.changed(host.form, "", fresh(host, Wish(START, {}, host.key))).rstrip()
    notes = " ".join(note.format(title=host.title, file="that file") for note in (host.key_note, host.after))
    return (
        f"<details><summary>{host.title}</summary>\n\n{where(host)}\n\n"
        f"```{host.form}\n{entry}\n```\n\n{notes}\n\n</details>"
    )


def where(host: Host) -> str:
    """Name the file, on each system where these differ."""
    files = {system: shown(host.files(platform)[0]) for system, platform in SYSTEMS.items()}
    if len(set(files.values())) == 1:
        return f"`{files['Linux']}`"
    files["Windows"] = as_on_windows(files["Windows"])
    return "; ".join(f"{system}: `{file}`" for system, file in files.items())


def as_on_windows(path: str) -> str:
    """Write a path as people know it there."""
    for variable, folder in WINDOWS_FOLDERS.items():
        path = path.replace(folder, f"%{variable}%")
    return path.replace("/", "\\")


def by_title() -> list[Host]:
    """List the hosts as people look for them."""
    return sorted(known_hosts().values(), key=lambda host: host.title)


def shown(path: Path) -> str:
    """Write a path as it is for everybody."""
    return f"~/{path.relative_to(Path.home()).as_posix()}"


def limit(host: Host) -> str:
    """Say how long a call may take, with our entry if that says so."""
    entry = host.entry("", [], {})
    name, part = host.limit_key
    seconds = entry[name] * part if name in entry else host.limit_seconds
    more = f"{', ' if host.limit_note == UNSURE else '; '}{host.limit_note}" if host.limit_note else ""
    return f"{seconds:.0f} s{more}" if seconds else f"none{more}"
