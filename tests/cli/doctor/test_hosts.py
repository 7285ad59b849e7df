"""What the doctor says of the hosts on this machine."""

import json
import shlex
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.hosts.registry import all_hosts
from tests.support.doctor import Doctor
from tests.support.rig import KEY


def test_an_odd_file_of_one_host_hides_nothing_of_the_others(configured: str, home: Path, doctor: Doctor) -> None:
    (home / ".hermes").mkdir()
    (home / ".hermes" / "config.yaml").write_text("mcp_servers:\n  other:\n    command: x\n    env:\n      8080: a\n")
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text("{broken")
    found = doctor()[1]
    assert (found["Hermes Agent"]["state"], found["Cursor"]["state"]) == ("note", "problem")
    (home / ".hermes" / "config.yaml").write_text("a: !!bool x\n")
    assert doctor()[1]["Hermes Agent"]["state"] == "problem"


def test_a_shell_without_the_key_is_told_for_hosts_that_take_it_from_there(
    url: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    assert main(["config", "codex", "--write"]) == 0
    assert "which is not set in this one" in doctor()[1]["Codex"]["message"]
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    assert doctor()[1]["Codex"]["state"] == "ok"


def entry(command: str, **env: str) -> str:
    """Write a host's file with an entry."""
    return json.dumps({"mcpServers": {"luma": {"command": command, "args": ["-m", "luma_mcp"], "env": env}}})


@pytest.mark.parametrize(
    ("content", "state", "word"),
    [
        ("{broken", "problem", "cannot be read"),
        ('{"mcpServers": {}}', "note", "not set up yet"),
        (entry("/gone/luma-mcp", RUNAPI_API_KEY="k"), "problem", "not there"),
        (entry("sh", RUNAPI_API_KEY="k"), "note", "by name"),
        (entry("/bin/sh", RUNAPI_API_KEY="your key"), "problem", "no RunAPI key"),
        (entry("/bin/sh"), "problem", "no RunAPI key"),
        (entry("/bin/sh", RUNAPI_API_KEY=""), "problem", "no RunAPI key"),
        (entry("/bin/sh", RUNAPI_API_KEY="<your key>"), "problem", "no RunAPI key"),
        (entry("/bin/sh", RUNAPI_API_KEY="${RUNAPI_API_KEY}"), "problem", "no RunAPI key"),
        (entry("/bin/sh", RUNAPI_API_KEY="${env:MY_KEY}"), "ok", "is set up"),
        (entry("/bin/sh", LUMA_MCP_SANDBOX="true"), "ok", "times out calls after 60 s"),
        (entry("/bin/sh", RUNAPI_API_KEY="k", LUMA_MCP_WAIT_SECONDS="60"), "problem", "waits 60"),
        (entry("/bin/sh", RUNAPI_API_KEY="k").replace("luma_mcp", "luma_mcp --wait-seconds 90"), "problem", "waits 90"),
        ('{"mcpServers": {"luma": {"url": "https://x.example"}}}', "ok", "connects to an address"),
    ],
)
def test_what_a_host_makes_of_this_server_is_told(
    configured: str, home: Path, capsys: pytest.CaptureFixture[str], content: str, state: str, word: str
) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text(content)
    main(["doctor", "--json"])
    findings = [one for one in json.loads(capsys.readouterr().out)["findings"] if one["check"] == "Cursor"]
    assert any((one["state"], word in one["message"]) == (state, True) for one in findings), findings


def test_a_host_whose_entry_sets_its_own_limit_is_taken_at_its_word(
    configured: str, home: Path, doctor: Doctor
) -> None:
    (home / ".config/zed").mkdir(parents=True)
    servers = {"luma": {"command": "/bin/sh", "env": {"RUNAPI_API_KEY": "rk"}, "timeout": 30}}
    (home / ".config/zed/settings.json").write_text(json.dumps({"context_servers": servers}))
    assert "after 30 s," in doctor()[1]["Zed"]["message"]


def test_an_entry_of_the_sandbox_is_fixed_into_one_of_the_sandbox(configured: str, home: Path, doctor: Doctor) -> None:
    for name in ("cursor", "opencode"):
        assert main(["config", name, "--sandbox", "--write"]) == 0
        path = all_hosts()[name].config_path()
        path.write_text(path.read_text().replace("/luma-mcp", "/gone/luma-mcp"))
        fix = doctor()[1][all_hosts()[name].title]["fix"]
        assert fix.endswith(f"config {name} --sandbox --write")
        assert main(shlex.split(fix.removeprefix("Run: "))[1:]) == 0
        told = doctor()[1][all_hosts()[name].title]
        assert (told["state"], "with the sandbox" in told["message"]) == ("ok", True)


def test_a_host_without_any_key_is_told_to_log_in(url: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    for name in ("kiro", "cline", "junie", "antigravity", "devin", "copilot-cli"):
        assert main(["config", name, "--write"]) == 0
        found = doctor()[1][all_hosts()[name].title]
        assert (found["code"], found["fix"].endswith(" login")) == ("missing_api_key", True)
