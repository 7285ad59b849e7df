"""The bundle for Claude Desktop: what is in it, how it starts, and a form that may be left empty."""

import io
import json
import re
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_sources import is_filled_in
from luma_mcp.core.text import Json
from luma_mcp.release.bundle import build_bundle, manifest
from tests.support.surface import TOOLS

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build_bundle(CHECKOUT, tmp_path_factory.mktemp("dist")))


def test_the_bundle_holds_what_is_needed_and_nothing_of_this_machine(bundle: zipfile.ZipFile) -> None:
    names = set(bundle.namelist())
    package = {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "luma_mcp").rglob("*")
        if path.is_file() and path.suffix not in {".md", ".pyc"} and not {"__pycache__", "release"} & set(path.parts)
    }
    package.add("luma_mcp/server/SKILL.md")
    assert names == package | {"manifest.json", "icon.png", "pyproject.toml", "README.md", "LICENSE"}
    assert not any(str(CHECKOUT).encode() in bundle.read(name) for name in names)
    assert manifest()["server"]["entry_point"] in names


def test_the_same_sources_make_the_same_bundle(tmp_path: Path) -> None:
    assert build_bundle(CHECKOUT, tmp_path / "a").read_bytes() == build_bundle(CHECKOUT, tmp_path / "b").read_bytes()


def test_uv_gets_the_dependencies_of_the_project_in_the_versions_that_the_tests_run_with(
    bundle: zipfile.ZipFile,
) -> None:
    bundled = tomllib.loads(bundle.read("pyproject.toml").decode())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert bundled["project"]["dependencies"] == project["dependencies"]
    pinned = (CHECKOUT / "luma_mcp/release/runtime.txt").read_text(encoding="utf-8").splitlines()
    assert len(pinned) > len(project["dependencies"])
    assert bundled["tool"]["uv"] == {"package": False, "constraint-dependencies": pinned}


def test_the_icon_is_a_picture_of_the_right_size(bundle: zipfile.ZipFile) -> None:
    icon = io.BytesIO(bundle.read("icon.png")).read()
    assert icon.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(icon[16:20]), int.from_bytes(icon[20:24])) == (512, 512)


def test_the_bundle_names_every_tool_and_asks_for_the_key_as_a_secret() -> None:
    made = manifest()
    assert [tool["name"] for tool in made["tools"]] == list(TOOLS)
    fields = made["user_config"]
    assert fields["api_key"]["sensitive"]
    assert fields["output_dir"]["type"] == "directory"
    assert not any(field["required"] for field in fields.values()), "it starts without a key, too"


FORMS: list[dict[str, Any]] = [
    {},
    {"api_key": "", "output_dir": ""},
    {"api_key": "undefined", "output_dir": "undefined", "sandbox": "undefined"},
    {name: f"${{user_config.{name}}}" for name in manifest()["user_config"]},
]


@pytest.mark.parametrize("filled", FORMS)
def test_a_form_that_is_not_filled_in_gives_the_defaults(filled: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = load_settings()
    made = manifest()
    values = {name: str(field["default"]).lower() for name, field in made["user_config"].items()} | filled
    for variable, template in made["server"]["mcp_config"]["env"].items():
        value = re.sub(r"\$\{user_config\.(\w+)\}", lambda found: values[found[1]], template)
        monkeypatch.setenv(variable, value)
        assert not filled or not is_filled_in(value) or value == "false"
    assert load_settings() == usual


def test_what_is_filled_in_reaches_the_setting_that_it_is_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = manifest()
    values = {"api_key": "a-key", "output_dir": str(tmp_path), "sandbox": "true"}
    for variable, template in made["server"]["mcp_config"]["env"].items():
        monkeypatch.setenv(variable, re.sub(r"\$\{user_config\.(\w+)\}", lambda found: values[found[1]], template))
    settings = load_settings()
    assert settings.api_key == SecretStr("a-key")
    assert (settings.output_dir, settings.sandbox) == (tmp_path, True)
    assert (made["manifest_version"], made["server"]["type"]) == ("0.4", "uv")
    start = made["server"]["mcp_config"]
    assert [start["command"], *start["args"]] == [
        "uv",
        "run",
        "--directory",
        "${__dirname}",
        "python",
        "-P",
        "-m",
        "luma_mcp",
    ]


def test_nothing_but_the_package_gets_into_the_bundle(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("luma_mcp/__init__.py", "luma_mcp/.env", "luma_mcp/x.py~", "README.md", "LICENSE"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("secret" if name.endswith((".env", "~")) else "")
    (checkout / "pyproject.toml").write_bytes((CHECKOUT / "pyproject.toml").read_bytes())
    (checkout / "luma_mcp" / "link.py").symlink_to("/etc/hostname")
    with zipfile.ZipFile(build_bundle(checkout, tmp_path / "dist")) as built:
        inside = [name for name in built.namelist() if name.startswith("luma_mcp/")]
    assert inside == ["luma_mcp/__init__.py"]


def test_every_field_of_the_form_has_a_default_and_a_use() -> None:
    made = manifest()
    used = re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(made["server"]))
    assert sorted(used) == sorted(made["user_config"])
    assert all("default" in field for field in made["user_config"].values())
    assert "${HOME}" not in json.dumps(made["user_config"]), "hosts do not expand it there"
