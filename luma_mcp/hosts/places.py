"""Where programs keep their settings on each system."""

import os
from collections.abc import Callable
from pathlib import Path

from luma_mcp.core.settings_sources import home_folder, named_folder
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.core.small_files import read_small

LONGEST_PATH = 4096
Files = Callable[[str], tuple[Path, ...]]  # of a platform, as `sys.platform` names it; the one to make comes first


def home() -> Path:
    """Give the home folder; raise `BadSetting` for a user who has none."""
    found = home_folder()
    if found is None:
        raise BadSetting("HOME", "must be an absolute path, for there hosts keep their files; or name one with --file")
    return found


def in_home(*names: str, variable: str = "") -> Files:
    """Look below the home folder, or below the folder that a variable names in place of the first name."""
    return lambda _: ((named_folder(variable) or home() / names[0]).joinpath(*names[1:]),)


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
            return home() / "Library" / "Application Support"
        case "win32":
            return named_folder("APPDATA") or home() / "AppData" / "Roaming"
        case _:
            return config_folder(platform)


def config_folder(platform: str) -> Path:
    """Give the folder that programs from Unix use; only Linux lets a variable move it."""
    moved = None if platform == "darwin" else named_folder("XDG_CONFIG_HOME")
    return moved or home() / ".config"


def local_folder(platform: str) -> Path:
    """Give the folder of what stays on this machine; outside Windows the home folder."""
    return (named_folder("LOCALAPPDATA") or home() / "AppData" / "Local") if platform == "win32" else home()


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
    return ((named_folder("CLAUDE_CONFIG_DIR") or home()) / ".claude.json",)


def gemini_files(_platform: str) -> tuple[Path, ...]:
    """Look for the file of Gemini CLI."""
    return ((named_folder("GEMINI_CLI_HOME") or home()) / ".gemini" / "settings.json",)


def openclaw_files(_platform: str) -> tuple[Path, ...]:
    """Look for the file of OpenClaw, which three variables can move."""
    if named := named_folder("OPENCLAW_CONFIG_PATH"):
        return (named,)
    own = named_folder("OPENCLAW_STATE_DIR") or (named_folder("OPENCLAW_HOME") or home()) / ".openclaw"
    return (own / "openclaw.json",)


def hermes_files(platform: str) -> tuple[Path, ...]:
    """Look for the file of Hermes Agent."""
    own = named_folder("HERMES_HOME") or local_folder(platform) / ("hermes" if platform == "win32" else ".hermes")
    return (own / "config.yaml",)


def lm_studio_files(_platform: str) -> tuple[Path, ...]:
    """Look for the file of LM Studio, which says itself where its folder is."""
    try:
        told = read_small(home() / ".lmstudio-home-pointer")[:LONGEST_PATH].decode().strip()
    except (OSError, ValueError):
        told = ""
    return ((Path(told) if os.path.isabs(told) else home() / ".lmstudio") / "mcp.json",)


def windsurf_files(platform: str) -> tuple[Path, ...]:
    """Look for the file of Devin Desktop, as Windsurf is called now, and for the one of before."""
    folder = settings_folder(platform) if platform == "win32" else config_folder(platform)
    now, before = folder / "devin" / "mcp_config.json", home() / ".codeium" / "windsurf" / "mcp_config.json"
    return (before, now) if os.path.exists(before.parent) and not os.path.exists(now.parent) else (now, before)
