"""The bundle for Claude Desktop (MCPB), with its manifest and an icon that is drawn here."""

import json
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path

import tomlkit

from luma_mcp import __version__
from luma_mcp.core.models import PRICE_USD
from luma_mcp.core.settings import Settings
from luma_mcp.core.text import Json
from luma_mcp.hosts.existing import DISTRIBUTION
from luma_mcp.release.plugin import ABOUT
from luma_mcp.server.server import TITLE
from luma_mcp.server.tools import ToolHandlers

SIZE = 512
HOLE, EDGE = 32, 64
SKY, SUN, HILL, FILM, WHITE = (36, 45, 80), (255, 190, 92), (88, 128, 112), (18, 20, 32), (240, 240, 240)
Color = tuple[int, int, int]
LONG_DESCRIPTION = f"""\
Say what a clip should look like, and get it back re-rendered: "make this clip a foggy autumn morning". Your clip goes \
to RunAPI's Luma `modify_video`, and the result is saved in a folder on your disk.

A new task costs {PRICE_USD:.2f} USD, charged by RunAPI only if it succeeds. A repeated call joins the task that it \
repeats instead of paying again, and the work goes on in the background if Claude stops waiting or is closed.

Switch on "Try it without a key" to see the whole job without an account: nothing is charged then."""
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
        "description": "Simulates RunAPI on this computer: no key, no cost, and your own clip comes back unchanged.",
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
SHIPPED = (".py", "py.typed", ".mp4", ".html", ".css", ".js", "SKILL.md")
NOT_SHIPPED = {"__pycache__", "release"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same sources make the same bytes


def icon() -> bytes:
    rows = b"".join(b"\0" + b"".join(bytes(color(x, y)) for x in range(SIZE)) for y in range(SIZE))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    parts = (part(b"IHDR", header), part(b"IDAT", zlib.compress(rows, 9)), part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def color(x: int, y: int) -> Color:
    if not EDGE <= y < SIZE - EDGE:
        middle = abs(y % (SIZE - EDGE) - EDGE // 2) < HOLE // 2
        return WHITE if middle and x % EDGE < HOLE else FILM
    if y > 300 + (x - 160) ** 2 // 600:
        return HILL
    return SUN if (x - 330) ** 2 + (y - 230) ** 2 < 90**2 else SKY


def part(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def manifest() -> Json:
    """Describe the bundle (MCPB 0.4); each field of its form has a default, or placeholders would reach the server."""
    return {
        "manifest_version": "0.4",
        **ABOUT,
        "display_name": TITLE,
        "long_description": LONG_DESCRIPTION,
        "icon": "icon.png",
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
            for tool in ToolHandlers(Settings.model_construct()).wire_tools()
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
    """Write the bundle of a checkout, byte for byte the same for the same sources, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{DISTRIBUTION}-{__version__}.mcpb"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(files(checkout)):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


def files(checkout: Path) -> Generator[tuple[str, bytes]]:
    yield "manifest.json", json.dumps(manifest(), indent=2, ensure_ascii=False).encode()
    yield "icon.png", icon()
    yield "pyproject.toml", project_file((checkout / "pyproject.toml").read_text(encoding="utf-8")).encode()
    for name in ("README.md", "LICENSE"):
        yield name, (checkout / name).read_bytes()
    for path in (checkout / "luma_mcp").rglob("*"):
        inside = path.relative_to(checkout)
        if path.name.endswith(SHIPPED) and not path.is_symlink() and not NOT_SHIPPED & set(inside.parts):
            yield inside.as_posix(), path.read_bytes()
