"""The plugin for Claude Code and Codex: the skill that the server serves, and a server that starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.hosts.existing import DISTRIBUTION
from luma_mcp.release.plugin import build_plugin
from luma_mcp.server.skills import SKILL_NAME, skill_text

CHECKOUT = Path(__file__).parents[2]
MANIFESTS = (".claude-plugin/plugin.json", ".codex-plugin/plugin.json")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return build_plugin(CHECKOUT, tmp_path / "dist")


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_it_holds_the_skill_that_the_server_serves_and_nothing_else(plugin: Path) -> None:
    files = {path.relative_to(plugin).as_posix() for path in plugin.rglob("*") if path.is_file()}
    assert files == {*MANIFESTS, ".mcp.json", f"skills/{SKILL_NAME}/SKILL.md", "LICENSE"}
    assert (plugin / "skills" / SKILL_NAME / "SKILL.md").read_bytes() == skill_text().encode()


def test_both_hosts_are_told_the_same_and_every_path_leads_to_a_file(plugin: Path) -> None:
    claude, codex = [read(plugin / name) for name in MANIFESTS]
    assert {name: codex[name] for name in claude} == claude
    for name in ("skills", "mcpServers"):
        assert codex[name].startswith("./")
        assert (plugin / codex[name]).exists()


def test_it_starts_the_published_package_as_codex_needs_it_told(plugin: Path) -> None:
    codex = {"env_vars": ["RUNAPI_API_KEY"], "startup_timeout_sec": 60, "tool_timeout_sec": 300}
    assert read(plugin / ".mcp.json") == {"mcpServers": {"luma": {"command": "uvx", "args": [DISTRIBUTION], **codex}}}


def test_building_again_gives_the_same_and_leaves_nothing_of_before(plugin: Path) -> None:
    before = {path: path.read_bytes() for path in plugin.rglob("*") if path.is_file()}
    (plugin / "skills" / "old.md").write_text("old")
    build_plugin(CHECKOUT, plugin.parent)
    assert {path: path.read_bytes() for path in plugin.rglob("*") if path.is_file()} == before
