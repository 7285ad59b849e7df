"""What the MCP registry and its readers learn: made of the code, by the registry's rules, and true of every setting."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, SecretStr

from luma_mcp.core.settings import Settings, load_settings, variable_name
from luma_mcp.core.settings_sources import setting
from luma_mcp.core.text import Json
from luma_mcp.release.server_json import REGISTRY_NAME, describe_setting, server_json, shown_default

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
WRITE_AGAIN = "If the change is wanted, run: python -m luma_mcp.release"
SERVER_KEYS = {"$schema", "name", "title", "description", "version", "websiteUrl", "packages"}
INPUT_KEYS = {"name", "description", "isRequired", "isSecret", "format", "default", "choices", "value"}


def test_server_json_is_made_of_the_code() -> None:
    assert json.loads((CHECKOUT / "server.json").read_text(encoding="utf-8")) == server_json(), WRITE_AGAIN


def test_server_json_keeps_the_rules_of_the_registry() -> None:
    listed = server_json()
    assert listed.keys() == SERVER_KEYS
    assert re.fullmatch(r"[a-z0-9.-]+/[a-z0-9.-]+", listed["name"])
    assert len(listed["description"]) <= 100
    assert len(listed["title"]) <= 100
    assert [package["transport"]["type"] for package in listed["packages"]] == ["stdio", "streamable-http", "sse"]
    assert listed["$schema"].endswith("/schemas/2025-12-11/server.schema.json")
    addresses = [package["transport"].get("url", "") for package in listed["packages"]]
    assert addresses == ["", "http://127.0.0.1:{LUMA_MCP_PORT}/mcp", "http://127.0.0.1:{LUMA_MCP_PORT}/sse"]
    headers = [header for package in listed["packages"] for header in package["transport"].get("headers", [])]
    assert [(header["name"], header["isSecret"], header["isRequired"]) for header in headers] == [
        ("Authorization", True, False)
    ] * 2
    for package in listed["packages"]:
        assert (package["registryType"], package["runtimeHint"]) == ("pypi", "uvx")
        variables = {variable["name"] for variable in package["environmentVariables"]}
        assert set(re.findall(r"\{(\w+)\}", package["transport"].get("url", ""))) <= variables


def test_whoever_owns_the_package_owns_the_name_in_the_registry() -> None:
    assert re.search(rf"^<!-- mcp-name: {re.escape(REGISTRY_NAME)} -->$", README, re.MULTILINE)


@pytest.mark.parametrize("package", server_json()["packages"], ids=["stdio", "streamable-http", "sse"])
def test_every_setting_is_described_in_server_json(package: Json) -> None:
    variables = {variable["name"]: variable for variable in package["environmentVariables"]}
    assert list(variables) == [variable_name(field, name) for name, field in Settings.model_fields.items()]
    secret = {name for name, variable in variables.items() if variable["isSecret"]}
    assert secret == {"RUNAPI_API_KEY", "LUMA_MCP_AUTH_TOKENS", "LUMA_MCP_METRICS_TOKEN", "LUMA_MCP_DATABASE_URL"}
    transport = variables["LUMA_MCP_TRANSPORT"]
    assert transport["value"] == package["transport"]["type"]
    assert transport["choices"] == ["stdio", "sse", "streamable-http", "http"]
    assert variables["LUMA_MCP_SANDBOX"]["choices"] == ["true", "false"]
    assert variables["LUMA_MCP_PORT"]["format"] == "number"
    assert variables["LUMA_MCP_DAILY_BUDGET"]["format"] == "number"
    assert variables["LUMA_MCP_DATA_DIR"]["format"] == "filepath"
    for variable in variables.values():
        assert variable.keys() <= INPUT_KEYS
        assert len(variable["description"]) > 20


def test_every_default_and_choice_in_server_json_is_accepted_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = load_settings()
    for variable in server_json()["packages"][0]["environmentVariables"]:
        if "default" in variable:
            monkeypatch.setenv(variable["name"], variable["default"])
            assert load_settings() == usual
        for choice in variable.get("choices", []):
            monkeypatch.setenv(variable["name"], choice)
            load_settings()
        monkeypatch.delenv(variable["name"], raising=False)


class Declared(BaseModel):
    """Settings of each kind."""

    plain: str = setting("a word", "any word", default="x")
    words: tuple[str, ...] = setting("words", "some words", default=())
    secret: Annotated[SecretStr, "kept"] | None = setting("a secret", "any", default=None)
    number: int | None = setting("a number", "a whole number", default=None)
    level: Literal["low", "high"] | None = setting("how much", "low or high", shown="as `low`", default=None)
    folder: Path = setting("where", "an absolute path", shown="your folder", default_factory=Path)
    folders: tuple[Path, ...] | None = setting("where else", "absolute paths", default=None)
    switch: bool = setting("on or off", "true or false", default=False)


def test_a_setting_is_described_by_its_type_and_its_declaration() -> None:
    shown = {name: describe_setting(name.upper(), field) for name, field in Declared.model_fields.items()}
    assert {name: each["format"] for name, each in shown.items()} == {
        **dict.fromkeys(("plain", "words", "secret", "level", "folders"), "string"),
        "number": "number",
        "folder": "filepath",
        "switch": "boolean",
    }
    assert [name for name, each in shown.items() if each["isSecret"]] == ["secret"]
    assert {name: each["default"] for name, each in shown.items() if "default" in each} == {
        "plain": "x",
        "switch": "false",
    }
    choices = {name: each["choices"] for name, each in shown.items() if "choices" in each}
    assert choices == {"level": ["low", "high"], "switch": ["true", "false"]}
    assert shown["level"]["description"] == "How much. Accepts low or high. Default: as low."
    assert [shown_default(field) for field in Declared.model_fields.values()] == [
        *("`x`", "none", "none", "none", "as `low`", "your folder", "none", "`false`"),
    ]
