"""Write everything anew that is made of the code: `python -m luma_mcp.release`, in a checkout."""

import os
import re
from functools import partial
from pathlib import Path

from luma_mcp.cli.console import print_result
from luma_mcp.release import server_json
from luma_mcp.release.bundle import build_bundle
from luma_mcp.release.readme import host_sections, host_table, layer_picture, room_list
from luma_mcp.release.server_json import settings_table

CHECKOUT = Path(__file__).parents[2]
FOLDER_VARIABLES = ("_HOME", "_DIR", "_PATH", "APPDATA")
TABLES = {
    "settings": settings_table,
    "hosts": host_table,
    "entries": host_sections,
    "layers": layer_picture,
    "rooms": room_list,
}


def with_tables(readme: str) -> str:
    for name, table in TABLES.items():
        begun, ended = f"(<!-- {name}: [^>]* -->\n)", f"(\n<!-- end of {name} -->)"
        readme = re.sub(f"{begun}.*?{ended}", partial(filled, table()), readme, flags=re.DOTALL)
    return readme


def filled(table: str, place: re.Match[str]) -> str:
    return f"{place[1]}{table}{place[2]}"


def main() -> None:
    """Write server.json, README's tables and the bundle, the same on every machine."""
    for name in [name for name in os.environ if name.endswith(FOLDER_VARIABLES)]:  # noqa: TID251 - what the tables must not show
        del os.environ[name]  # noqa: TID251 - as above
    server, readme = CHECKOUT / "server.json", CHECKOUT / "README.md"
    server.write_text(server_json.server_json_text(), encoding="utf-8")
    readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")
    for path in (server, readme, build_bundle(CHECKOUT, CHECKOUT / "dist")):
        print_result(str(path))


if __name__ == "__main__":
    main()
