"""What README says that the code knows: the rooms in their layers, the hosts by name, and an example that runs."""

import ast
import textwrap
import tomllib
from pathlib import Path
from typing import Any

from luma_mcp.hosts.registry import all_hosts

PACKAGE = "luma_mcp."
ROOMS = Path(__file__).parents[1]
CHECKOUT = ROOMS.parent
EXAMPLE = CHECKOUT / "tests" / "system" / "frameworks" / "with_openai_agents.py"
LINE = 120


def host_names() -> str:
    """List the hosts that `luma-mcp config` knows, as people call them."""
    *others, last = sorted(host.title for host in all_hosts().values())
    return textwrap.fill(f"{', '.join(others)} and {last}.", LINE, break_on_hyphens=False)


def framework_example() -> str:
    """Give an example's code without its docstring, which says what README says around it."""
    source = EXAMPLE.read_text(encoding="utf-8")
    begin = ast.parse(source).body[0].end_lineno or 0
    return f"```python\n{''.join(source.splitlines(keepends=True)[begin:]).strip()}\n```"


def room_picture() -> str:
    """Draw the rooms with their charters in the layers of the contract, and below them what else is forbidden."""
    contracts = import_contracts((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = [rooms_of(layer) for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]
    width = max(len(room) for layer in layers for room in layer)
    rooms = [(room, room is layer[0]) for layer in layers for room in layer]
    lines = [f"{'├' if begins else '│'} {room:{width}}  {charter(ROOMS / room)}" for room, begins in rooms]
    forbidden = [forbidden_text(contract) for contract in contracts if contract["type"] == "forbidden"]
    return "\n".join(["```text", *lines, *forbidden, "```"])


def import_contracts(pyproject: str) -> list[dict[str, Any]]:
    contracts: list[dict[str, Any]] = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    return contracts


def rooms_of(layer: str) -> list[str]:
    """Name the rooms of a layer; `__main__` is a module, not a room."""
    names = [name.strip().removeprefix(PACKAGE) for name in layer.split("|")]
    return [name for name in names if name != "__main__"]


def charter(room: Path) -> str:
    """Give the first paragraph of a room's docstring."""
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def forbidden_text(contract: dict[str, Any]) -> str:
    importers, imported = (
        ", ".join(name.removeprefix(PACKAGE) for name in contract[modules])
        for modules in ("source_modules", "forbidden_modules")
    )
    return f"  Not allowed, though below: {importers} may not import {imported}."
