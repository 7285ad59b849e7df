"""What the ledger's file looks like, and which files, SQLites and disks are refused."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.cli.doctor.storage import check_ledger as examined
from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.ledger import schema
from luma_mcp.ledger.errors import LOCKED_HINT
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.records import row_of
from luma_mcp.ledger.schema import MIGRATIONS, open_database
from tests.support.ledgers import add, damage_index, listed, refusal, use
from tests.support.rig import settings_for
from tests.support.tasks import task

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")


@pytest.fixture
def anyio_backend() -> str:
    """Threads and locks live in real time."""
    return "asyncio"


STRANGE = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON tasks BEGIN UPDATE tasks SET prompt = 'theirs'; END",
    "view": "CREATE VIEW v AS SELECT * FROM tasks",
    "table": "CREATE TABLE t (a)",
    "index": "CREATE INDEX i ON tasks (prompt)",
    "other trigger": "DROP TRIGGER task_added",
    "dropped index": "DROP INDEX tasks_by_id",
    "statistics": "ANALYZE",
    "column": "ALTER TABLE tasks ADD COLUMN more TEXT",
    "virtual table": "CREATE VIRTUAL TABLE ft USING fts5(a)",
    "nothing at all": "DROP TABLE uploads",
    "no checks": "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'typeof', ' typeof')"
    " WHERE name = 'uploads'; UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'tasks'",
    "a version that is none": "PRAGMA user_version = -1",
    "no version": "PRAGMA user_version = 0",
}


@pytest.mark.parametrize("how", STRANGE)
async def test_a_schema_that_is_not_ours_is_refused_and_left_as_it_is(home: Path, found: Path, how: str) -> None:
    with closing(sqlite3.connect(found)) as db:
        db.executescript(STRANGE[how])
    refused = await refusal(found)
    assert "not as this server makes it" in refused.message
    assert "RunAPI account" in refused.hint
    finding = examined(settings_for(home))[-1]
    assert (finding.state, finding.code) == ("problem", "output_not_writable")


@pytest.mark.parametrize("how", ["trigger", "view"])
async def test_a_schema_that_is_changed_while_in_use_is_refused(found: Path, how: str) -> None:
    with closing(Ledger.in_file(found)) as ledger:
        kept, _ = await add(ledger, task())
        with closing(sqlite3.connect(found)) as db:
            db.executescript(STRANGE[how])
        with pytest.raises(LedgerUnusable, match="not as this server makes it"):
            await add(ledger, task(1))
        with closing(sqlite3.connect(found)) as db:
            assert db.execute("SELECT prompt FROM tasks").fetchall() == [(kept.request.prompt,)]


async def test_a_damaged_file_with_a_schema_of_others_is_not_rescued(found: Path) -> None:
    await use(found)
    with closing(sqlite3.connect(found)) as db:
        db.executescript(STRANGE["trigger"])
    damage_index(found)
    await refusal(found)


async def test_a_schema_written_with_other_blanks_is_ours(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", tuple(" \n".join(each.split(" ")) for each in MIGRATIONS))
    assert len(await use(found)) == 1


async def test_an_older_sqlite_ends_with_one_plain_sentence(
    home: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 33, 0))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.33.0")
    with pytest.raises(LedgerUnusable) as raised:
        await use(path)
    assert raised.value.message.endswith("SQLite 3.33.0 is too old, it takes 3.34 or newer.")
    assert "newer" in raised.value.hint
    assert list(path.parent.iterdir()) == []
    finding = examined(settings_for(home))[-1]
    assert (finding.state, finding.fix) == ("problem", raised.value.hint)
    assert "3.34" in finding.message


async def test_a_file_that_keeps_a_log_beside_it_keeps_all_in_itself_from_then_on(path: Path, found: Path) -> None:
    await use(found)
    with closing(sqlite3.connect(found)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("UPDATE tasks SET wants_file = 1")
        other.commit()
        with pytest.raises(LedgerUnusable) as raised:
            await use(found)
        assert raised.value.hint == LOCKED_HINT
    assert len(await use(found)) == 2
    with closing(sqlite3.connect(found)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


connect = sqlite3.connect


def without_shared_memory(path: Path | str, **more: Any) -> sqlite3.Connection:
    """Open a file with the part of SQLite that has no shared memory and locks by files, as some network disks need."""
    if str(path) == ":memory:":
        return connect(":memory:")
    named = str(path) if str(path).startswith("file:") else f"file:{path}?"
    opened: sqlite3.Connection = connect(f"{named}&vfs=unix-dotfile", **{**more, "uri": True})
    return opened


@posix
@pytest.mark.parametrize("begun", [False, True])
async def test_a_disk_without_shared_memory_is_as_good_as_any(
    path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    if begun:
        await use(path)
    monkeypatch.setattr(sqlite3, "connect", without_shared_memory)
    assert len(await use(path)) == 1 + begun


async def test_the_database_itself_takes_no_second_task_of_a_request(ledger: Ledger, path: Path) -> None:
    with closing(ledger):
        await add(ledger, task(), "same")
        row = row_of(task(1)) | {"name": "same"}
        with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            db.execute(f"INSERT INTO tasks ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", [*row.values()])  # noqa: S608 - column names of ours


async def test_all_lies_in_the_one_file_and_goes_through_to_the_disk(
    ledger: Ledger, path: Path, synced_ledger: None
) -> None:
    with closing(ledger):
        await add(ledger, task())
    with closing(open_database(path)) as opened:
        (mode,) = opened.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = opened.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("delete", 3)


async def test_a_file_of_an_older_version_gets_the_migrations_that_it_lacks(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ledger):
        kept, _ = await add(ledger, task())
    second = "CREATE TABLE notes (words TEXT); INSERT INTO notes VALUES ('once')"
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, second))
    for _ in range(2):
        with closing(Ledger.in_file(path)) as newer:
            assert await newer.get(kept.key) == kept
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT words FROM notes").fetchall() == [("once",)]
        assert file.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


async def test_a_file_from_a_newer_version_is_refused_and_left_as_it_is(ledger: Ledger, path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerUnusable, match="newer version"):
            await listed(ledger)
        with pytest.raises(LedgerUnusable, match="newer version"):
            await add(ledger, task())
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


async def test_a_running_process_does_not_write_to_a_file_that_a_newer_version_took_over(
    ledger: Ledger, path: Path
) -> None:
    await add(ledger, task())
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(LedgerUnusable, match="newer version"):
        await add(ledger, task(1))
