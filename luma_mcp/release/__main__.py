"""Write everything anew that is made of the code: `python -m luma_mcp.release`, in a checkout."""

import os
import re
from functools import partial
from pathlib import Path

from luma_mcp.cli.console import print_result
from luma_mcp.release import server_json
from luma_mcp.release.bundle import build_bundle
from luma_mcp.release.plugin import build_plugin
from luma_mcp.release.readme import framework_example, host_names, room_picture
from luma_mcp.release.server_json import http_settings_table, settings_table

CHECKOUT = Path(__file__).parents[2]
PAGES = ("README.md", "luma_mcp/transports/HTTP.md")
FOLDER_VARIABLES = ("_HOME", "_DIR", "_PATH", "APPDATA")
TABLES = {
    "settings": settings_table,
    "http-settings": http_settings_table,
    "hosts": host_names,
    "rooms": room_picture,
    "example": framework_example,
}


def with_tables(page: str) -> str:
    for name, table in TABLES.items():
        begun, ended = f"(<!-- {name}: [^>]* -->\n)", f"(\n<!-- end of {name} -->)"
        page = re.sub(f"{begun}.*?{ended}", partial(filled, table()), page, flags=re.DOTALL)
    return page


def filled(table: str, place: re.Match[str]) -> str:
    return f"{place[1]}{table}{place[2]}"


def main() -> None:
    """Write server.json, the tables of the pages for people, the bundle and the plugin, the same on every machine."""
    for name in [name for name in os.environ if name.endswith(FOLDER_VARIABLES)]:  # noqa: TID251 - what the tables must not show
        del os.environ[name]  # noqa: TID251 - as above
    server, pages = CHECKOUT / "server.json", [CHECKOUT / page for page in PAGES]
    server.write_text(server_json.server_json_text(), encoding="utf-8")
    for page in pages:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
    made = build_bundle(CHECKOUT, CHECKOUT / "dist"), build_plugin(CHECKOUT, CHECKOUT / "dist")
    for path in (server, *pages, *made):
        print_result(str(path))


if __name__ == "__main__":
    main()
