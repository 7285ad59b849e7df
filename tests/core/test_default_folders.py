"""Which folders are taken where no setting names one: a user's own, never the home folder as a whole."""

from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.core.paths import real_path
from luma_mcp.core.settings import load_settings
from luma_mcp.sandbox.requests import bundled_clip

RELATIVE = ("RUNAPI_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_VIDEOS_DIR", "XDG_DOWNLOAD_DIR", "HOME")


@pytest.mark.parametrize("variable", RELATIVE)
def test_a_relative_folder_of_the_environment_does_not_lead_into_the_working_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for folder in (".", "here", "here/.config"):
        (home / folder / "runapi").mkdir(parents=True, exist_ok=True)
        (home / folder / "runapi/config.json").write_text('{"api_key": "bait"}')
        (home / folder / "config.json").write_text('{"api_key": "bait"}')
    (home / "runapi").rename(home / "not-read")
    monkeypatch.setenv(variable, "here")
    settings = load_settings()
    here = Path.cwd() / "here"
    assert settings.api_key is None
    for found in (settings.data_dir, settings.output_dir, *settings.readable_folders):
        assert found.is_absolute()
        assert not found.is_relative_to(here)


def without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user of whom the system knows nothing but a number."""

    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pytest.importorskip("pwd"), "getpwuid", unknown)


def test_a_user_without_a_home_is_told_which_folders_to_name(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_a_home(monkeypatch)
    for arguments in ([], ["tasks"], ["modify", "x.mp4", "fog", "--sandbox"], ["sandbox"], ["token"]):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert "LUMA_MCP_DATA_DIR" in told
        assert "LUMA_MCP_OUTPUT_DIR" in told
    for arguments in (["--help"], ["--version"]):
        with pytest.raises(SystemExit, match="0"):
            main(arguments)
    assert main(["doctor"]) == 2
    assert main(["config", "cursor", "--sandbox"]) == 2


def test_a_user_without_a_home_can_do_everything_in_named_folders(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_a_home(monkeypatch)
    monkeypatch.setenv("LUMA_MCP_DATA_DIR", str(home / "data"))
    monkeypatch.setenv("LUMA_MCP_OUTPUT_DIR", str(home / "out"))
    assert load_settings().readable_folders == (home / "out",)
    assert main(["modify", str(bundled_clip()), "fog", "--sandbox"]) == 0
    assert main(["tasks", "--sandbox"]) == 0
    assert main(["doctor", "--sandbox"]) == 0
    assert main(["token"]) == 0
    assert main(["config", "cursor", "--sandbox", "--write", "--file", str(home / "mcp.json")]) == 0
    capsys.readouterr()
    assert main(["config", "cursor", "--sandbox"]) == 2
    assert capsys.readouterr().err.startswith("HOME: must be an absolute path")


@pytest.mark.parametrize("folder", ["$HOME/", "$HOME", "$HOME/.", "$HOME/..", "/", "$HOME/Videos/..", "$HOME/.config"])
def test_a_home_folder_that_is_said_to_hold_videos_is_not_opened_as_a_whole(home: Path, folder: str) -> None:
    (home / "Videos").mkdir()
    (home / ".config").mkdir()
    (home / ".config/user-dirs.dirs").write_text(f'XDG_VIDEOS_DIR="{folder}"\nXDG_DESKTOP_DIR="$HOME/"\n')
    readable = load_settings().readable_folders
    assert home / "Downloads" in readable
    assert not any(home.is_relative_to(real_path(opened)) for opened in readable)
    assert home / ".config" not in readable


def test_a_link_to_the_home_folder_is_no_folder_of_videos(home: Path) -> None:
    (home / "Videos").symlink_to(home)
    (home / "Downloads").symlink_to(home / ".hidden")
    assert load_settings().readable_folders == (home / "Videos/luma", home / "Desktop")
