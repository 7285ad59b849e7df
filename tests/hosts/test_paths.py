"""Where programs keep their files, and what moves them."""

import os
import sys
from pathlib import Path

import pytest

from luma_mcp.hosts.registry import all_hosts


@pytest.mark.parametrize(
    ("variable", "name", "platform", "file"),
    [
        ("CLAUDE_CONFIG_DIR", "claude-code", "linux", ".claude.json"),
        ("CODEX_HOME", "codex", "linux", "config.toml"),
        ("GEMINI_CLI_HOME", "gemini-cli", "linux", ".gemini/settings.json"),
        ("OPENCLAW_HOME", "openclaw", "linux", ".openclaw/openclaw.json"),
        ("OPENCLAW_STATE_DIR", "openclaw", "linux", "openclaw.json"),
        ("OPENCLAW_CONFIG_PATH", "openclaw", "linux", ""),
        ("COPILOT_HOME", "copilot-cli", "linux", "mcp-config.json"),
        ("CLINE_DIR", "cline", "linux", "data/settings/cline_mcp_settings.json"),
        ("CLINE_DATA_DIR", "cline", "darwin", "settings/cline_mcp_settings.json"),
        ("CLINE_MCP_SETTINGS_PATH", "cline", "win32", ""),
        ("XDG_CONFIG_HOME", "opencode", "darwin", "opencode/opencode.json"),
        ("HERMES_HOME", "hermes", "linux", "config.yaml"),
        ("XDG_CONFIG_HOME", "zed", "linux", "zed/settings.json"),
        ("APPDATA", "vscode", "win32", "Code/User/mcp.json"),
    ],
)
def test_variables_that_move_a_file_are_followed(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str, platform: str, file: str
) -> None:
    monkeypatch.setenv(variable, "~/moved")
    assert all_hosts()[name].config_path(platform) == home / "moved" / file


def test_files_that_moved_with_a_new_version_are_found(home: Path) -> None:
    hosts = all_hosts()
    store = home / "AppData/Local/Packages/Claude_x/LocalCache/Roaming/Claude"
    store.mkdir(parents=True)
    assert hosts["claude-desktop"].config_path("win32").parent == store
    (home / ".codeium/windsurf").mkdir(parents=True)
    assert hosts["devin"].config_path("linux") == home / ".codeium/windsurf/mcp_config.json"
    (home / ".config/devin").mkdir(parents=True)
    assert hosts["devin"].config_path("linux") == home / ".config/devin/mcp_config.json"
    (home / ".config/opencode").mkdir()
    (home / ".config/opencode/opencode.jsonc").touch()
    assert hosts["opencode"].config_path("win32").suffix == ".jsonc"
    before = home / ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"
    before.parent.mkdir(parents=True)
    before.touch()
    assert hosts["cline"].config_path("linux") == before
    (home / ".lmstudio-home-pointer").write_text(f"{home}/elsewhere\n")
    assert hosts["lm-studio"].config_path() == home / "elsewhere/mcp.json"


def make_pipe(path: Path) -> None:
    """Put a pipe at a path."""
    if sys.platform != "win32":
        os.mkfifo(path)


@pytest.mark.skipif(sys.platform == "win32", reason="such files are POSIX's")
def test_a_pipe_in_place_of_lm_studios_pointer_is_not_waited_for(home: Path) -> None:
    make_pipe(home / ".lmstudio-home-pointer")
    assert all_hosts()["lm-studio"].config_path() == home / ".lmstudio" / "mcp.json"
