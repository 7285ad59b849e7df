"""Where programs keep their settings on each system."""

import os
from collections.abc import Callable
from pathlib import Path

from luma_mcp.hosts.files import HostFileUnusable, bounded_bytes
from luma_mcp.setting_sources import named_folder

LONGEST_PATH = 4096
Files = Callable[[str], tuple[Path, ...]]  # of a platform, as `sys.platform` names it; the one to make comes first


def in_home(*names: str, variable: str = "") -> Files:
    """Look below the home folder, or below the folder that a variable names in place of the first name."""
    return lambda _: (named_folder(variable, Path.home() / names[0]).joinpath(*names[1:]),)


def in_settings(*names: str, unix: tuple[str, ...] = ()) -> Files:
    """Look where programs keep their settings; `unix` is the path below `~/.config`, on macOS too, if there is one."""

    def files(platform: str) -> tuple[Path, ...]:
        if unix and platform != "win32":
            return (config_folder(platform).joinpath(*unix),)
        return (settings_folder(platform).joinpath(*names),)

    return files


def settings_folder(platform: str) -> Path:
    """Give the folder in which programs keep their settings."""
    match platform:
        case "darwin":
            return Path.home() / "Library" / "Application Support"
        case "win32":
            return named_folder("APPDATA", Path.home() / "AppData" / "Roaming")
        case _:
            return config_folder(platform)


def config_folder(platform: str) -> Path:
    """Give the folder that programs from Unix use; only Linux lets a variable move it."""
    usual = Path.home() / ".config"
    return usual if platform == "darwin" else named_folder("XDG_CONFIG_HOME", usual)


def local_folder(platform: str) -> Path:
    """Give the folder of what stays on this machine; outside Windows the home folder."""
    return named_folder("LOCALAPPDATA", Path.home() / "AppData" / "Local") if platform == "win32" else Path.home()


def claude_files(platform: str) -> tuple[Path, ...]:
    """Look for the file of Claude Desktop: installed from the Store, it has a folder of its own on Windows."""
    name = "claude_desktop_config.json"
    usual = settings_folder(platform) / "Claude" / name
    if platform != "win32":
        return (usual,)
    packages = sorted((local_folder(platform) / "Packages").glob("Claude_*"))
    return (*(package / "LocalCache" / "Roaming" / "Claude" / name for package in packages), usual)


def claude_code_files(_platform: str) -> tuple[Path, ...]:
    """Look for the file of Claude Code."""
    return (named_folder("CLAUDE_CONFIG_DIR", Path.home()) / ".claude.json",)


def gemini_files(_platform: str) -> tuple[Path, ...]:
    """Look for the file of Gemini CLI."""
    return (named_folder("GEMINI_CLI_HOME", Path.home()) / ".gemini" / "settings.json",)


def openclaw_files(_platform: str) -> tuple[Path, ...]:
    """Look for the file of OpenClaw, which three variables can move."""
    home = named_folder("OPENCLAW_HOME", Path.home()) / ".openclaw"
    return (named_folder("OPENCLAW_CONFIG_PATH", named_folder("OPENCLAW_STATE_DIR", home) / "openclaw.json"),)


def hermes_files(platform: str) -> tuple[Path, ...]:
    """Look for the file of Hermes Agent."""
    usual = local_folder(platform) / ("hermes" if platform == "win32" else ".hermes")
    return (named_folder("HERMES_HOME", usual) / "config.yaml",)


def lm_studio_files(_platform: str) -> tuple[Path, ...]:
    """Look for the file of LM Studio, which says itself where its folder is."""
    try:
        told = bounded_bytes(Path.home() / ".lmstudio-home-pointer")[:LONGEST_PATH].decode("utf-8").strip()
    except (OSError, ValueError, HostFileUnusable):
        told = ""
    return ((Path(told) if told else Path.home() / ".lmstudio") / "mcp.json",)


def windsurf_files(platform: str) -> tuple[Path, ...]:
    """Look for the file of Devin Desktop, as Windsurf is called now, and for the one of before."""
    folder = settings_folder(platform) if platform == "win32" else config_folder(platform)
    now, before = folder / "devin" / "mcp_config.json", Path.home() / ".codeium" / "windsurf" / "mcp_config.json"
    return (before, now) if os.path.exists(before.parent) and not os.path.exists(now.parent) else (now, before)
