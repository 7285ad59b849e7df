"""The bundle for Claude Desktop (.mcpb, manifest 0.4): this package and what uv needs to run it."""

import json
import tomllib
import zipfile
from collections.abc import Generator
from pathlib import Path

import tomlkit

from luma_mcp import __version__
from luma_mcp.core.settings import Settings
from luma_mcp.core.text import Json
from luma_mcp.release.icon import icon
from luma_mcp.release.registry import DESCRIPTION, PACKAGE
from luma_mcp.server.server import TITLE, WEBSITE
from luma_mcp.server.tool_handlers import ToolHandlers

LONG_DESCRIPTION = """\
Say what a clip should look like, and get it back re-rendered: "make this clip a foggy autumn morning". Your clip goes \
to RunAPI's Luma `modify_video`, and the result is saved in a folder on your disk.

A new task costs 0.50 USD, charged by RunAPI only if it succeeds. A repeated call joins the task that it repeats \
instead of paying again, and the work goes on in the background if Claude stops waiting or is closed.

Switch on "Try it without a key" to play the whole job without an account: nothing is charged then."""
USER_CONFIG: Json = {
    "api_key": {
        "type": "string",
        "title": "RunAPI key",
        "description": "From https://runapi.ai. It is kept in your system's key store and goes to RunAPI only.",
        "sensitive": True,
        "required": False,
        "default": "",
    },
    "output_dir": {
        "type": "directory",
        "title": "Folder for finished videos",
        "description": "Where finished videos are saved. If you leave it empty, in the folder luma in your videos.",
        "required": False,
        "default": "",
    },
    "sandbox": {
        "type": "boolean",
        "title": "Try it without a key",
        "description": "Plays RunAPI on this computer: no key, no cost, and your own clip comes back unchanged.",
        "required": False,
        "default": False,
    },
}
ENVIRONMENT = {
    "RUNAPI_API_KEY": "${user_config.api_key}",
    "LUMA_MCP_OUTPUT_DIR": "${user_config.output_dir}",
    "LUMA_MCP_SANDBOX": "${user_config.sandbox}",
}
PINS = Path(__file__).with_name("runtime.txt")  # written by tests/constraints.py
SHIPPED = (".py", "py.typed", ".mp4")
NOT_SHIPPED = {"__pycache__", "release"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same sources make the same bytes


def manifest() -> Json:
    """Describe the bundle; every field of its form has a default, so that no placeholder reaches the server."""
    return {
        "manifest_version": "0.4",
        "name": PACKAGE,
        "display_name": TITLE,
        "version": __version__,
        "description": DESCRIPTION,
        "long_description": LONG_DESCRIPTION,
        "author": {"name": "The luma_mcp developers"},
        "homepage": WEBSITE,
        "icon": "icon.png",
        "license": "MIT",
        "keywords": ["video", "luma", "runapi", "video-to-video"],
        "server": {
            "type": "uv",
            "entry_point": "luma_mcp/__main__.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "python", "-P", "-m", "luma_mcp"],
                "env": {"PYTHONPATH": "${__dirname}", **ENVIRONMENT},
            },
        },
        "tools": [
            {"name": tool.name, "description": tool.title}
            for tool in ToolHandlers(Settings.model_construct()).described()
        ],
        "prompts_generated": True,
        "user_config": USER_CONFIG,
        "compatibility": {"platforms": ["darwin", "win32", "linux"], "runtimes": {"python": ">=3.11"}},
    }


def project_file(pyproject: str) -> str:
    """Write a pyproject.toml with which uv runs the package as it lies there: dependencies, and nothing to build.

    uv takes the versions that the tests ran with, whatever else there is on the day of the first start.
    """
    project: Json = tomllib.loads(pyproject)["project"]
    kept = {name: project[name] for name in ("name", "version", "requires-python", "dependencies")}
    uv: Json = {"package": False, "constraint-dependencies": PINS.read_text(encoding="utf-8").splitlines()}
    return tomlkit.dumps({"project": kept, "tool": {"uv": uv}})


def build_bundle(checkout: Path, folder: Path) -> Path:
    """Make the bundle of a checkout in a folder, and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{PACKAGE}-{__version__}.mcpb"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(files(checkout)):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


def files(checkout: Path) -> Generator[tuple[str, bytes]]:
    """Give the name and content of everything in the bundle."""
    yield "manifest.json", json.dumps(manifest(), indent=2, ensure_ascii=False).encode()
    yield "icon.png", icon()
    yield "pyproject.toml", project_file((checkout / "pyproject.toml").read_text(encoding="utf-8")).encode()
    for name in ("README.md", "LICENSE"):
        yield name, (checkout / name).read_bytes()
    for path in (checkout / "luma_mcp").rglob("*"):
        inside = path.relative_to(checkout)
        if path.name.endswith(SHIPPED) and not path.is_symlink() and not NOT_SHIPPED & set(inside.parts):
            yield inside.as_posix(), path.read_bytes()
