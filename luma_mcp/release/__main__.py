"""Write everything anew that is made of the code: `python -m luma_mcp.release`, in a checkout."""

import re
from pathlib import Path

from luma_mcp.console import show
from luma_mcp.release import registry
from luma_mcp.release.bundle import build_bundle
from luma_mcp.release.inputs import settings_table

CHECKOUT = Path(__file__).parents[2]
TABLE = re.compile(r"(<!-- settings: .*? -->\n).*?(\n<!-- end of settings -->)", re.DOTALL)


def with_table(readme: str) -> str:
    """Put the table of settings into README."""
    return TABLE.sub(lambda found: f"{found[1]}{settings_table()}{found[2]}", readme)


def main() -> None:
    """Write server.json, README's table and the bundle."""
    server, readme = CHECKOUT / "server.json", CHECKOUT / "README.md"
    server.write_text(registry.as_text(), encoding="utf-8")
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
    for path in (server, readme, build_bundle(CHECKOUT, CHECKOUT / "dist")):
        show(str(path))


if __name__ == "__main__":
    main()
