"""The folders of a user that are taken where no setting names one."""

from collections.abc import Callable, Sequence
from pathlib import Path

from platformdirs import user_data_path, user_desktop_path, user_downloads_path, user_videos_path

from luma_mcp.core.paths import hidden_parts, is_inside, real_path
from luma_mcp.core.settings_sources import BadSetting, home_folder

NO_HOME = (
    "needs an absolute path, and so does {other}: this user has no home folder (HOME is not set, or no absolute path)"
)


def default_data_folder() -> Path:
    """Find the folder for the ledger; raise `BadSetting` for a user who has none."""
    found = absolute_or_none(lambda: user_data_path("luma-mcp", appauthor=False))
    if found is None:
        raise BadSetting("LUMA_MCP_DATA_DIR", NO_HOME.format(other="LUMA_MCP_OUTPUT_DIR"))
    return found


def default_output_folder() -> Path:
    """Find the folder for saved videos; raise `BadSetting` for a user who has none."""
    videos = absolute_or_none(user_videos_path)
    if videos is None:
        raise BadSetting("LUMA_MCP_OUTPUT_DIR", NO_HOME.format(other="LUMA_MCP_DATA_DIR"))
    return videos / "luma"


def default_source_folders(more: Sequence[Path]) -> tuple[Path, ...]:
    """List the folders that users keep clips in, `more` first.

    The home folder is none of them, and nothing above it: `xdg-user-dirs` names it where a folder is missing.
    """
    found = (*more, *map(absolute_or_none, (user_videos_path, user_downloads_path, user_desktop_path)))
    home = home_folder()
    return tuple(folder for folder in found if folder and not (home and exposes_home(folder, home)))


def exposes_home(folder: Path, home: Path) -> bool:
    """Tell whether a folder, links resolved, is the home folder, lies above it, or is hidden in it."""
    real, own = real_path(folder), real_path(home)
    return real == own or is_inside(own, real) or (is_inside(real, own) and bool(hidden_parts(real, own)))


def absolute_or_none(find: Callable[[], Path]) -> Path | None:
    """Give a folder of the user's; None if there is none, or only one that would lead into the working directory."""
    try:
        found = find()
    except (RuntimeError, OSError):  # for a user without a home folder
        return None
    return found if found.is_absolute() else None
