"""What README says of the rooms of the package: who may import whom, and their charters, from the top down."""

import ast
import tomllib
from pathlib import Path
from typing import Any

PACKAGE = "luma_mcp."
ROOMS = Path(__file__).parents[1]
ORDER = (
    *("cli", "transports", "server", "app", "worker", "media", "ledger", "runapi", "sandbox", "hosts", "core"),
    "release",
)


def room_list() -> str:
    """Write each room with its charter, which is the first paragraph of its docstring."""
    return "\n".join(f"- **`{room}/`**: {charter(ROOMS / room)}" for room in ORDER)


def charter(room: Path) -> str:
    """Read what a room is for."""
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split())


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
    """Give the contracts that the imports are held to."""
    contracts: list[dict[str, Any]] = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    return contracts


def layers_of(contract: dict[str, Any]) -> list[list[str]]:
    """Give the rooms of each layer."""
    return [[room.strip().removeprefix(PACKAGE) for room in layer.split("|")] for layer in contract["layers"]]


def shown(layer: list[str]) -> str:
    """Write the rooms of a layer side by side."""
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
