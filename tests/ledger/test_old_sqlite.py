"""The ledger on the SQLite of any Python: every statement is listed from the code, and runs on the one at hand."""

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from luma_mcp.ledger import schema
from tests.support import ledger_statements, old_sqlite

NEWER_THAN_OLDEST = re.compile(r"\bSTRICT\b|->|\bRETURNING\b|\biif\b|octet_length|sqlite_schema|json_valid\(\w+, ")


@pytest.mark.usefixtures("synced_ledger")
def test_every_statement_of_the_code_runs_and_asks_for_nothing_that_the_oldest_lacks(home: Path) -> None:
    listed = ledger_statements.recorded()
    assert len(listed) > 60
    migrating = {statement for script in schema.MIGRATIONS for statement in schema.statements(script)}
    assert migrating <= {each["sql"] for each in listed}
    assert [each["sql"] for each in listed if NEWER_THAN_OLDEST.search(each["sql"])] == []
    assert schema.OLDEST_SQLITE == (3, 34)
    (home / "listed.json").write_text(json.dumps(listed))
    ran = subprocess.run(
        [sys.executable, old_sqlite.__file__, "run", str(home / "listed.json")], capture_output=True, check=True
    )
    assert ran.stdout.startswith(f"SQLite {sqlite3.sqlite_version}: {len(listed)} statements ran, []".encode())


def test_a_statement_that_is_never_run_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_statements, "in_code", lambda: [re.compile("SELECT forgotten")])
    with pytest.raises(AssertionError, match="forgotten"):
        ledger_statements.recorded()
