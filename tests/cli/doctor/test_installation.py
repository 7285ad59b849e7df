"""What the doctor says of versions, settings and the key."""

import json
import tomllib
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.console import EXIT_CODES
from luma_mcp.cli.doctor import installation
from luma_mcp.core.settings import load_settings
from tests.support.doctor import Doctor
from tests.support.rig import KEY


def test_the_sandbox_needs_no_key_and_no_network(doctor: Doctor) -> None:
    code, found = doctor("--sandbox")
    assert code == 0
    assert "sandbox" in found["key"]["message"]
    assert "was not tried" in found["RunAPI"]["message"]


def test_a_server_that_never_pays_is_noticed_and_is_no_problem(doctor: Doctor) -> None:
    code, found = doctor("--sandbox", "--no-spend")
    assert (code, found["settings"]["state"]) == (0, "note")
    assert "never pays" in found["settings"]["message"]
    assert "never pays" not in doctor("--sandbox")[1]["settings"]["message"]


def test_a_key_that_only_a_host_has_is_no_problem(
    url: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    assert doctor()[0] == EXIT_CODES["missing_api_key"]
    assert main(["config", "cursor", "--write", "--sandbox"]) == 0
    code, found = doctor()
    assert (code, found["key"]["state"], found["account"]["state"]) == (0, "note", "note")
    assert "Cursor" in found["key"]["message"]
    assert "with the sandbox" in found["Cursor"]["message"]


def test_each_source_of_a_key_is_named_and_those_that_do_not_count(
    configured: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"apiKey": KEY}))
    file = home / "my.env"
    file.write_text(f"RUNAPI_API_KEY={KEY}\n")
    assert f"not used: the one in the file {file} and {own})" in doctor("--env-file", "my.env")[1]["key"]["message"]
    monkeypatch.setenv("LUMA_MCP_ENV_FILE", str(file))
    monkeypatch.setenv("RUNAPI_API_KEY", "${RUNAPI_API_KEY}")
    _, found = doctor()
    assert found["key"]["message"].startswith(f"comes from the file {file}")
    assert found["settings"]["message"].startswith("RUNAPI_API_KEY is set to a placeholder")
    monkeypatch.delenv("LUMA_MCP_ENV_FILE")
    (home / ".env").write_text("RUNAPI_API_KEY=theirs\n")
    assert doctor()[1]["key"]["message"] == f"comes from {own}"
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    own.chmod(0o666)
    assert "other users may write it" in doctor()[1]["RunAPI's own file"]["message"]


def test_misspelt_variables_are_noticed(configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_OUTPUTDIR", "/x")
    finding = doctor()[1]["settings"]
    assert finding["state"] == "note"
    assert finding["fix"] == "Did you mean LUMA_MCP_OUTPUT_DIR?"


def test_a_broken_file_of_runapi_is_told_where_no_other_key_counts(
    configured: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"api_key": "k",}')
    assert doctor()[1]["key"]["state"] == "ok"
    monkeypatch.delenv("RUNAPI_API_KEY")
    assert "is not JSON" in doctor()[1]["key"]["message"]
    own.unlink()
    own.mkdir()
    assert "no regular file" in doctor()[1]["key"]["message"]


def test_an_sdk_that_does_not_fit_is_told(configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, state in (("2.4rc1", "ok"), ("3.0.1", "problem"), ("2.2", "problem")):

        def installed(_: str, version: str = version) -> str:
            return version

        monkeypatch.setattr(installation, "version", installed)
        assert doctor()[1]["versions"]["state"] == state


def test_a_door_that_is_open_by_mistake_is_told(
    configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMA_MCP_TRANSPORT", "http")
    monkeypatch.setenv("LUMA_MCP_ALLOWED_HOSTS", "luma.example.com")
    monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", "none")
    code, found = doctor()
    assert (code, found["token"]["state"]) == (2, "problem")
    assert "must not be none" in found["token"]["message"]
    monkeypatch.delenv("LUMA_MCP_AUTH_TOKENS")
    assert "token" not in doctor()[1]
    assert main(["token"]) == 0
    (load_settings().data_dir / "http-token").chmod(0o666)
    assert "other users may open it" in doctor()[1]["token"]["message"]


def test_the_sdk_that_is_asked_for_is_the_one_that_is_installed_with_this_server() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest, newest = installation.dotted(installation.OLDEST_SDK), installation.dotted(installation.NEXT_SDK)
    assert f"mcp>={oldest},<{newest}" in project["dependencies"]


def test_what_reads_frames_is_named_and_its_lack_is_no_problem(
    configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "find_frame_reader", lambda: "PyAV")
    assert doctor()[1]["previews"] == {
        "check": "previews",
        "state": "ok",
        "message": "frames of videos are read with PyAV",
    }
    monkeypatch.setattr(installation, "find_frame_reader", lambda: "")
    code, found = doctor()
    assert (code, found["previews"]["state"]) == (0, "note")
    assert 'uv tool install --force ".[preview]"' in found["previews"]["fix"]
