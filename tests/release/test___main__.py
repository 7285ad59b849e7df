"""What `python -m luma_mcp.release` writes: the same on every machine, and one version in all of it."""

import re
import tomllib
from pathlib import Path

import pytest

from luma_mcp import __version__
from luma_mcp.hosts.existing import DISTRIBUTION
from luma_mcp.release import __main__
from luma_mcp.release.__main__ import PAGES, with_tables
from luma_mcp.release.bundle import manifest
from luma_mcp.release.plugin import ABOUT, PLUGIN_FOLDER
from luma_mcp.release.readme import host_names
from luma_mcp.release.server_json import server_json

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
WRITE_AGAIN = "If the change is wanted, run: python -m luma_mcp.release"


@pytest.mark.parametrize("page", PAGES)
def test_what_stands_between_marks_is_made_of_the_code(page: str) -> None:
    written = (CHECKOUT / page).read_text(encoding="utf-8")
    assert with_tables(written) == written, WRITE_AGAIN


def test_there_is_one_version_everywhere() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = server_json()
    latest = re.search(r"^\*\*(\d+\.\d+\.\d+)\*\*", README.split("\n## Changelog\n")[1], re.MULTILINE)
    assert latest
    assert {
        project["version"],
        listed["version"],
        *(package["version"] for package in listed["packages"]),
        manifest()["version"],
        ABOUT["version"],
        latest[1],
        *re.findall(r"runapi-luma-mcp-([\d.]+)\.mcpb", README),
    } == {__version__}
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert {project["name"], *(package["identifier"] for package in listed["packages"])} == {DISTRIBUTION}


def test_only_what_stands_between_the_marks_is_written_anew() -> None:
    marked = "<!-- {0}: by hand -->\nold\n<!-- end of {0} -->\n"
    before = "# Title\n" + marked.format("hosts") + marked.format("other")
    after = with_tables(before)
    assert after == before.replace("old", host_names(), 1)
    assert with_tables(after) == after


def test_whatever_moves_folders_on_this_machine_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*PAGES, "LICENSE", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((CHECKOUT / name).read_bytes())
    for variable in ("CODEX_HOME", "XDG_CONFIG_HOME", "APPDATA", "LUMA_MCP_DATA_DIR", "OPENCLAW_CONFIG_PATH"):
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    monkeypatch.setattr(__main__, "CHECKOUT", tmp_path)
    __main__.main()
    for name in (*PAGES, "server.json"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (CHECKOUT / name).read_text(encoding="utf-8")
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    *files, plugin = [path.relative_to(tmp_path) for path in written]
    assert [path.suffix for path in files] == [".json", ".md", ".md", ".mcpb"]
    assert plugin.name == PLUGIN_FOLDER
    assert all(path.exists() for path in written)
