"""Where programs keep their settings on each system."""

import os
from collections.abc import Callable
from pathlib import Path

from luma_mcp.core.settings_sources import BadSetting, folder_from_variable, home_folder
from luma_mcp.core.small_files import read_small

MAX_PATH_BYTES = 4096
ConfigPaths = Callable[[str], tuple[Path, ...]]  # of a platform as `sys.platform` names it; the one to make is first


def home() -> Path:
    """Give the home folder; raise `BadSetting` for a user who has none."""
    found = home_folder()
    if found is None:
        raise BadSetting("HOME", "must be an absolute path, for there hosts keep their files; or name one with --file")
    return found


def in_home(*names: str, variable: str = "") -> ConfigPaths:
    """Give a path below the home folder; the folder that `variable` names stands for the first name."""
    return lambda _: ((folder_from_variable(variable) or home() / names[0]).joinpath(*names[1:]),)


def nowhere(_platform: str) -> tuple[Path, ...]:
    """Give no path, for a host without a file that other programs may write."""
    return ()


def in_settings(*names: str, unix: tuple[str, ...] = ()) -> ConfigPaths:
    """Give a path below the system's folder for settings; `unix` is one below `~/.config`, on macOS too."""

    def files(platform: str) -> tuple[Path, ...]:
        if unix and platform != "win32":
            return (config_folder(platform).joinpath(*unix),)
        return (settings_folder(platform).joinpath(*names),)

    return files


def settings_folder(platform: str) -> Path:
    match platform:
        case "darwin":
            return home() / "Library" / "Application Support"
        case "win32":
            return folder_from_variable("APPDATA") or home() / "AppData" / "Roaming"
        case _:
            return config_folder(platform)


def config_folder(platform: str) -> Path:
    """Give the folder that programs from Unix use; only Linux lets a variable move it."""
    moved = None if platform == "darwin" else folder_from_variable("XDG_CONFIG_HOME")
    return moved or home() / ".config"


def local_folder(platform: str) -> Path:
    """Give the folder of what stays on this machine; outside Windows the home folder."""
    return (folder_from_variable("LOCALAPPDATA") or home() / "AppData" / "Local") if platform == "win32" else home()


def claude_files(platform: str) -> tuple[Path, ...]:
    """Give the files of Claude Desktop; on Windows, one from the Store has a folder of its own."""
    name = "claude_desktop_config.json"
    usual = settings_folder(platform) / "Claude" / name
    if platform != "win32":
        return (usual,)
    packages = sorted((local_folder(platform) / "Packages").glob("Claude_*"))
    return (*(package / "LocalCache" / "Roaming" / "Claude" / name for package in packages), usual)


def claude_code_files(_platform: str) -> tuple[Path, ...]:
    return ((folder_from_variable("CLAUDE_CONFIG_DIR") or home()) / ".claude.json",)


def gemini_files(_platform: str) -> tuple[Path, ...]:
    return ((folder_from_variable("GEMINI_CLI_HOME") or home()) / ".gemini" / "settings.json",)


def openclaw_files(_platform: str) -> tuple[Path, ...]:
    """Give the file of OpenClaw, which three variables can move."""
    if named := folder_from_variable("OPENCLAW_CONFIG_PATH"):
        return (named,)
    own = folder_from_variable("OPENCLAW_STATE_DIR") or (folder_from_variable("OPENCLAW_HOME") or home()) / ".openclaw"
    return (own / "openclaw.json",)


def hermes_files(platform: str) -> tuple[Path, ...]:
    own = folder_from_variable("HERMES_HOME") or local_folder(platform) / (
        "hermes" if platform == "win32" else ".hermes"
    )
    return (own / "config.yaml",)


def lm_studio_files(_platform: str) -> tuple[Path, ...]:
    """Give the file of LM Studio, which writes the path of its folder into a file in the home folder."""
    try:
        pointer = read_small(home() / ".lmstudio-home-pointer")[:MAX_PATH_BYTES].decode().strip()
    except (OSError, ValueError):
        pointer = ""
    return ((Path(pointer) if os.path.isabs(pointer) else home() / ".lmstudio") / "mcp.json",)


def devin_files(platform: str) -> tuple[Path, ...]:
    """Give the file of Devin Desktop and its command line, and the one from when it was called Windsurf."""
    folder = settings_folder(platform) if platform == "win32" else config_folder(platform)
    now, before = folder / "devin" / "mcp_config.json", home() / ".codeium" / "windsurf" / "mcp_config.json"
    return (before, now) if os.path.exists(before.parent) and not os.path.exists(now.parent) else (now, before)


def cline_files(platform: str) -> tuple[Path, ...]:
    """Give the file that all of Cline reads now, and the one in VS Code's folder, which a new Cline moves there."""
    if named := folder_from_variable("CLINE_MCP_SETTINGS_PATH"):
        return (named,)
    own = folder_from_variable("CLINE_DIR") or home() / ".cline"
    name = Path("settings", "cline_mcp_settings.json")
    before = settings_folder(platform) / "Code" / "User" / "globalStorage" / "saoudrizwan.claude-dev"
    return ((folder_from_variable("CLINE_DATA_DIR") or own / "data") / name, before / name)


def opencode_files(_platform: str) -> tuple[Path, ...]:
    """Give the file of opencode, under one of two names: its folder is the same on every system."""
    folder = (folder_from_variable("XDG_CONFIG_HOME") or home() / ".config") / "opencode"
    return (folder / "opencode.json", folder / "opencode.jsonc")
