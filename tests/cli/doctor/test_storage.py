"""What the doctor says of the ledger and of folders."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.doctor import storage
from luma_mcp.ledger.schema import MIGRATIONS
from tests.support.doctor import Doctor
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.rig import SOURCE


def ledger_of(home: Path) -> Path:
    """Name the ledger's file."""
    return home / ".local" / "share" / "luma-mcp" / "tasks.sqlite3"


def test_a_sound_ledger_is_counted(configured: str, home: Path, doctor: Doctor) -> None:
    assert main(["modify", SOURCE, "fog"]) == 0
    assert "1 tasks, 0 of them unfinished, 0 finished but not saved" in doctor()[1]["ledger"]["message"]


@pytest.mark.parametrize("harm", ["damaged", "newer", "no database"])
def test_a_ledger_that_cannot_be_used_is_told_and_left_as_it_is(
    configured: str, home: Path, doctor: Doctor, harm: str
) -> None:
    assert main(["modify", SOURCE, "fog"]) == 0
    path = ledger_of(home)
    if harm == "newer":
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    else:
        start = 4096 if harm == "damaged" else 0
        with path.open("r+b") as file:
            file.seek(start)
            file.write(b"x" * 4096)
    before = path.read_bytes()
    code, found = doctor()
    assert (code, found["ledger"]["state"]) == (4, "problem")
    assert path.read_bytes() == before


def test_a_database_is_looked_at_without_a_change(
    configured: str, doctor: Doctor, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMA_MCP_DATABASE_URL", postgres.new_database())
    assert "it begins with the first task" in doctor()[1]["ledger"]["message"]
    assert "it begins with the first task" in doctor()[1]["ledger"]["message"]
    assert main(["modify", SOURCE, "fog"]) == 0
    assert "1 tasks, 0 of them unfinished, 0 finished but not saved" in doctor()[1]["ledger"]["message"]
    monkeypatch.setenv("LUMA_MCP_DATABASE_URL", postgres.url("nowhere"))
    code, found = doctor()
    assert (code, found["ledger"]["state"]) == (4, "problem")
    assert "does not exist" in found["ledger"]["message"]
    assert PASSWORD not in str(found)


def test_an_earlier_damaged_ledger_is_mentioned(configured: str, home: Path, doctor: Doctor) -> None:
    assert main(["modify", SOURCE, "fog"]) == 0
    kept = ledger_of(home).with_name("tasks.sqlite3.damaged-20260101-000000")
    kept.touch()
    assert str(kept) in doctor()[1]["ledger"]["message"]


def test_folders_that_cannot_be_written_or_read_are_told(configured: str, home: Path, doctor: Doctor) -> None:
    (home / "file").touch()
    code, found = doctor("--output-dir", str(home / "file" / "below"), "--media-roots", str(home / "file"))
    assert code == 4
    assert found["output folder"]["fix"].endswith("LUMA_MCP_OUTPUT_DIR.")
    assert found["source folder"]["code"] == "source_not_allowed"


def test_a_full_disk_is_told(configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MIN_FREE_BYTES", 1 << 62)
    assert "left" in doctor()[1]["data folder"]["message"]


def test_a_ledger_that_cannot_be_written_is_told(
    configured: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["modify", SOURCE, "fog"]) == 0
    beside = sorted(ledger_of(home).parent.iterdir())

    def refused(path: Path, mode: int) -> bool:
        return mode != os.W_OK

    monkeypatch.setattr(os, "access", refused)
    assert "cannot be written" in doctor()[1]["ledger"]["message"]
    assert sorted(ledger_of(home).parent.iterdir()) == beside
