"""What README says that the code knows: the layers and charters of the rooms, and each host's file and entry."""

import ast
import tomllib
from pathlib import Path
from typing import Any

from luma_mcp.hosts import formats
from luma_mcp.hosts.entries import EntryOptions, LaunchCommand, new_entry_changes
from luma_mcp.hosts.registry import Host, all_hosts

PACKAGE = "luma_mcp."
ROOMS = Path(__file__).parents[1]
ORDER = (
    *("cli", "transports", "server", "app", "worker", "media", "ledger", "runapi", "sandbox", "hosts", "core"),
    "release",
)
SYSTEMS = {"macOS": "darwin", "Windows": "win32", "Linux": "linux"}
WINDOWS_FOLDERS = {"APPDATA": "~/AppData/Roaming", "LOCALAPPDATA": "~/AppData/Local", "USERPROFILE": "~"}
START = LaunchCommand("/absolute/path/to/luma-mcp", [])


def room_list() -> str:
    """Write each room with its charter, which is the first paragraph of its docstring."""
    return "\n".join(f"- **`{room}/`**: {charter(ROOMS / room)}" for room in ORDER)


def charter(room: Path) -> str:
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def layer_picture() -> str:
    """Draw the layers of the contract from the top down, and beside each what it may not import though it is below."""
    contracts = import_contracts((ROOMS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    layers = [layer for contract in contracts if contract["type"] == "layers" for layer in layers_of(contract)]
    width = max(len(shown(layer)) for layer in layers)
    lines = [f"│ {shown(layer):{width}} │{exception(layer, contracts)}" for layer in layers]
    between = f"\n├{'─' * (width + 2)}┤\n"
    top, bottom = f"┌{'─' * (width + 2)}┐", f"└{'─' * (width + 2)}┘"
    return "\n".join(["```text", top, between.join(lines), bottom, "```"])


def import_contracts(pyproject: str) -> list[dict[str, Any]]:
    contracts: list[dict[str, Any]] = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    return contracts


def layers_of(contract: dict[str, Any]) -> list[list[str]]:
    return [[room.strip().removeprefix(PACKAGE) for room in layer.split("|")] for layer in contract["layers"]]


def shown(layer: list[str]) -> str:
    return ", ".join(layer)


def exception(layer: list[str], contracts: list[dict[str, Any]]) -> str:
    """Say which rooms below are forbidden to a layer."""
    forbidden = [
        room.removeprefix(PACKAGE)
        for contract in contracts
        if contract["type"] == "forbidden" and {f"{PACKAGE}{room}" for room in layer} & {*contract["source_modules"]}
        for room in contract["forbidden_modules"]
    ]
    return f"  but not {', '.join(forbidden)}" if forbidden else ""


def host_table() -> str:
    rows = [f"| {host.title} | `luma-mcp config {host.name} --write` | {timeout_text(host)} |" for host in by_title()]
    return "\n".join(["| host | command | time limit of a call |", "|---|---|---|", *rows])


def host_sections() -> str:
    """Write for each host which file it keeps its servers in, what belongs into that, and what is left to do."""
    return "\n\n".join(host_section(host) for host in by_title())


def host_section(host: Host) -> str:
    entry = formats.changed(host.file_format, "", new_entry_changes(host, EntryOptions(START, {}, host.key))).rstrip()
    notes = " ".join(note.format(title=host.title, file="that file") for note in (host.key_note, host.next_step_note))
    return (
        f"<details><summary>{host.title}</summary>\n\n{where(host)}\n\n"
        f"```{host.file_format}\n{entry}\n```\n\n{notes}\n\n</details>"
    )


def where(host: Host) -> str:
    """Name the file, for each system if they differ."""
    files = {system: home_relative(host.config_paths(platform)[0]) for system, platform in SYSTEMS.items()}
    if len(set(files.values())) == 1:
        return f"`{files['Linux']}`"
    files["Windows"] = as_on_windows(files["Windows"])
    return "; ".join(f"{system}: `{file}`" for system, file in files.items())


def as_on_windows(path: str) -> str:
    """Write a path with backslashes, and variables for the folders that have them."""
    for variable, folder in WINDOWS_FOLDERS.items():
        path = path.replace(folder, f"%{variable}%")
    return path.replace("/", "\\")


def by_title() -> list[Host]:
    return sorted(all_hosts().values(), key=lambda host: host.title)


def home_relative(path: Path) -> str:
    return f"~/{path.relative_to(Path.home()).as_posix()}"


def timeout_text(host: Host) -> str:
    """Say how long a call may take with our entry, which may set the limit."""
    seconds = host.call_timeout(host.make_entry("", [], {}))
    more = f"{'; ' if host.timeout_is_documented else ', '}{host.timeout_note}" if host.timeout_note else ""
    return f"{seconds:.0f} s{more}" if seconds else f"none{more}"
