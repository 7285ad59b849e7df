"""What README says of the rooms of the package: their charters, from the top down."""

import ast
from pathlib import Path

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
