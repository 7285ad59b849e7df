"""The doctor: finds each thing that is wrong, says how to mend it, and changes nothing."""

import threading
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.doctor import run
from luma_mcp.core.settings import Settings
from tests.support.doctor import Doctor
from tests.support.rig import KEY


def test_all_is_well(configured: str, home: Path, doctor: Doctor) -> None:
    main(["config", "cursor", "--write"])
    cursor = home / ".cursor" / "mcp.json"
    cursor.write_text(cursor.read_text().replace('"env": {}', f'"env": {{"RUNAPI_API_KEY": "{KEY}"}}'))
    before = state_of(home)
    code, found = doctor()
    assert code == 0
    assert {finding["state"] for finding in found.values()} == {"ok"}
    subjects = ["versions", "command", "previews", "settings", "key", "RunAPI", "account"]
    assert list(found) == [*subjects, "data folder", "ledger", "output folder", "source folder", "Cursor"]
    assert "Python 3." in found["versions"]["message"]
    assert "MCP SDK 2." in found["versions"]["message"]
    assert found["key"]["message"] == "comes from the environment variable RUNAPI_API_KEY"
    assert "USD are left" in found["account"]["message"]
    assert "after 60 s" in found["Cursor"]["message"]
    assert state_of(home) == before, "nothing was written or left"


def state_of(home: Path) -> dict[Path, int]:
    """Tell what there is, and when each file was written."""
    return {path: path.stat().st_mtime_ns if path.is_file() else 0 for path in home.rglob("*")}


def test_a_bad_setting_is_a_finding_like_others(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_WAIT_SECONDS", "soon")
    code, found = doctor()
    assert code == 2
    assert "LUMA_MCP_WAIT_SECONDS" in found["settings"]["message"]
    assert found["versions"]["state"] == "ok"


def test_a_folder_that_hangs_does_not_hold_up_the_rest(
    configured: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(_: Settings) -> list[object]:
        released.wait()
        return []

    monkeypatch.setattr(run, "CHECK_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(run, "check_output_folder", hang)
    code, found = doctor()
    released.set()
    assert (code, found["output folder"]["message"]) == (4, "did not answer in 0 seconds.")
    assert "hosts" in found


def test_a_part_that_cannot_be_looked_at_is_a_problem_and_not_silence(
    configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor("--data-dir", f"/{'a' * 300}")[1]["data folder"]["state"] == "problem"

    def fail(_: Settings) -> list[object]:
        raise ValueError("unheard of")

    monkeypatch.setattr(run, "check_ledger", fail)
    code, found = doctor()
    assert (code, found["ledger"]["state"]) == (4, "problem")


def test_help_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    assert "costs nothing" in " ".join(capsys.readouterr().out.split())
