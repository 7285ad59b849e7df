"""The plugin for Claude Code and Codex: one folder with the skill, the server, and what each host wants to know."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path

from luma_mcp import __version__
from luma_mcp.core.text import Json
from luma_mcp.hosts.existing import DISTRIBUTION
from luma_mcp.hosts.registry import ENTRY_NAME, codex_entry
from luma_mcp.release.server_json import DESCRIPTION
from luma_mcp.server.server import TITLE, WEBSITE
from luma_mcp.server.skills import SKILL_NAME, skill_text

PLUGIN_FOLDER = f"{DISTRIBUTION}-plugin"
SERVERS: Json = {"mcpServers": {ENTRY_NAME: codex_entry("uvx", [DISTRIBUTION], {})}}  # Claude Code passes over the rest
ABOUT: Json = {
    "name": DISTRIBUTION,
    "version": __version__,
    "description": DESCRIPTION,
    "author": {"name": "The luma_mcp developers"},
    "homepage": WEBSITE,
    "license": "MIT",
    "keywords": ["video", "luma", "runapi", "video-to-video"],
}
ABOUT_FOR_CODEX: Json = {
    **ABOUT,
    "skills": "./skills/",
    "mcpServers": "./.mcp.json",
    "interface": {
        "displayName": TITLE,
        "shortDescription": "Change existing videos with Luma",
        "longDescription": DESCRIPTION,
        "developerName": ABOUT["author"]["name"],
        "category": "Creativity",
        "websiteURL": WEBSITE,
        "defaultPrompt": ["Make my clip a foggy autumn morning."],
    },
}


def build_plugin(checkout: Path, folder: Path) -> Path:
    """Write the plugin anew, the same for the same sources, and return its folder."""
    plugin = folder / PLUGIN_FOLDER
    shutil.rmtree(plugin, ignore_errors=True)
    for name, content in plugin_files(checkout):
        path = plugin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return plugin


def plugin_files(checkout: Path) -> Generator[tuple[str, bytes]]:
    yield ".claude-plugin/plugin.json", document(ABOUT)
    yield ".codex-plugin/plugin.json", document(ABOUT_FOR_CODEX)
    yield ".mcp.json", document(SERVERS)
    yield f"skills/{SKILL_NAME}/SKILL.md", skill_text().encode()
    yield "LICENSE", (checkout / "LICENSE").read_bytes()


def document(content: Json) -> bytes:
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()
