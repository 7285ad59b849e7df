"""Whose the ledger's file may be, what its schema may hold, and on which disks and SQLites it can be used."""

import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.cli.doctor import run, storage
from luma_mcp.cli.doctor.storage import ledger as examined
from luma_mcp.core.models import Task
from luma_mcp.core.storage_errors import LedgerDamaged, LedgerUnusable
from luma_mcp.ledger import errors, place, schema
from luma_mcp.ledger.errors import FULL_HINT, LOCAL_HINT, LOCKED_HINT, advice
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.place import beside, disk_kind, network_disk
from luma_mcp.ledger.schema import MIGRATIONS, create_database, open_database
from tests.support.ledgers import add, damage_index, listed
from tests.support.planting import plant
from tests.support.privileges import NOBODY
from tests.support.rig import settings_for
from tests.support.tasks import task

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
BESIDE = ("", "-wal", "-shm", "-journal", "-lock", ".rescued")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(home: Path) -> Path:
    return home / "data" / "tasks.sqlite3"


@pytest.fixture
def found(path: Path) -> Path:
    """Let there be a ledger already."""
    path.parent.mkdir()
    create_database(path)
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_pipe(path: Path) -> None:
    if sys.platform != "win32":
        os.mkfifo(path)


async def use(path: Path, *, named: bool = False) -> list[Task]:
    """Read and write as a server does."""
    with closing(Ledger(path, named=named)) as ledger:
        await add(ledger, task())
        return await listed(ledger)


async def refusal(path: Path, *, named: bool = False) -> LedgerUnusable:
    """Find the file refused, for reading and for writing, and left as it is."""
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(LedgerUnusable) as raised:
        await use(path, named=named)
    with closing(Ledger(path, named=named)) as ledger, pytest.raises(LedgerUnusable):
        await listed(ledger)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert [each.name for each in path.parent.iterdir() if "damaged" in each.name] == []
    assert not isinstance(raised.value, LedgerDamaged)
    return raised.value


# -- whose it may be --------------------------------------------------------------------------------------------------


@posix
async def test_the_files_are_this_users_alone_in_a_folder_that_everybody_reads(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        with closing(Ledger(path)) as ledger:
            await add(ledger, task())
            assert {mode_of(file) for file in path.parent.iterdir()} == {0o600}
            for file in path.parent.iterdir():
                file.unlink()
            await add(ledger, task(1))
            assert mode_of(path) == 0o600, "put back"
        damage_index(path)
        with closing(Ledger(path)) as ledger:
            with pytest.raises(LedgerDamaged):
                await listed(ledger)
            await listed(ledger)
            assert mode_of(path) == 0o600, "rescued"
    finally:
        os.umask(before)


@posix
@pytest.mark.parametrize("named", [False, True])
async def test_what_lets_others_write_is_taken_away(found: Path, named: bool) -> None:
    found.chmod(0o666)
    found.parent.chmod(0o777)
    await use(found, named=named)
    assert (mode_of(found), mode_of(found.parent)) == (0o644, 0o755)


@posix
async def test_a_journal_that_is_gone_by_the_time_it_is_looked_at_holds_nobody_up(
    found: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there_a_moment_ago(path: Path) -> list[Path]:
        return [path, beside(path, "-journal")]

    monkeypatch.setattr(place, "files_of", there_a_moment_ago)
    monkeypatch.setattr(storage, "files_of", there_a_moment_ago)
    assert len(await use(found)) == 1
    assert examined(settings_for(found.parents[1]))[-1].state == "ok"


def unchangeable(*_: object, **__: object) -> None:
    """Be a disk without permissions of its own."""


@posix
async def test_a_folder_that_stays_open_is_refused_unless_somebody_named_it(
    found: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found.parent.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", unchangeable)
    refused = await refusal(found)
    assert "can be written by other users" in refused.message
    assert "chmod" in refused.hint
    with closing(Ledger(found, named=True)) as ledger:
        for number in range(3):
            await add(ledger, task(number))
            ledger.close()
    assert caplog.text.count("may be changed by others") == 1


@posix
async def test_a_folder_that_is_shared_on_purpose_keeps_its_permissions_and_is_warned_of(
    found: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for mode in (0o1777, 0o2775):
        found.parent.chmod(mode)
        await use(found, named=True) if mode == 0o1777 else None
        with closing(Ledger(found, named=True)) as ledger:
            await listed(ledger)
        assert mode_of(found.parent) == mode
    assert "may be changed by others" in caplog.text


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("suffix", BESIDE)
@pytest.mark.parametrize("named", [False, True])
async def test_a_file_of_another_user_is_refused(found: Path, suffix: str, named: bool) -> None:
    beside = found.with_name(found.name + suffix)
    beside.touch()
    shutil.chown(beside, NOBODY, NOBODY)
    assert "another user" in (await refusal(found, named=named)).message


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root gives folders away")
async def test_a_folder_of_another_user_is_refused_unless_somebody_named_it(found: Path) -> None:
    shutil.chown(found.parent, NOBODY, NOBODY)
    assert "another user" in (await refusal(found)).message
    await use(found, named=True)


@posix
@pytest.mark.parametrize("suffix", BESIDE)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
async def test_nothing_but_a_file_is_opened_in_place_of_a_file(home: Path, found: Path, suffix: str, kind: str) -> None:
    beside, elsewhere = found.with_name(found.name + suffix), home / "elsewhere.sqlite3"
    shutil.copy(found, elsewhere)
    beside.unlink(missing_ok=True)
    make: dict[str, Callable[[], None]] = {
        "link": lambda: beside.symlink_to(elsewhere),
        "pipe": lambda: make_pipe(beside),
        "folder": beside.mkdir,
    }
    make[kind]()
    before = elsewhere.read_bytes()
    for named in (False, True):
        assert "no regular file" in (await refusal(found, named=named)).message
    assert elsewhere.read_bytes() == before


async def test_what_a_killed_server_left_half_written_is_taken_back_and_no_damage(home: Path, path: Path) -> None:
    writing = home / "writing" / path.name
    await use(writing)
    path.parent.mkdir()
    with closing(open_database(writing)) as db:
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN IMMEDIATE")
        for number in range(1000):
            db.execute("INSERT INTO uploads VALUES (?, '', '', ?, 0.0)", (str(number), "x" * 900))
        for suffix in ("", "-journal"):
            shutil.copy(beside(writing, suffix), beside(path, suffix))
        db.execute("ROLLBACK")
    finding = examined(settings_for(home))[-1]
    assert (finding.state, "killed" in finding.message) == ("note", True)
    assert len(await use(path)) == 2
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM uploads").fetchone() == (0,)
    assert examined(settings_for(home))[-1].state == "ok"


async def test_a_file_of_the_first_version_is_left_alone(home: Path, path: Path) -> None:
    path.parent.mkdir()
    old = path.with_name("ledger.sqlite3")
    old.write_bytes(b"of 0.1.0")
    assert len(await use(path)) == 1
    assert old.read_bytes() == b"of 0.1.0"


# -- what it may hold -------------------------------------------------------------------------------------------------

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
    with closing(Ledger(found)) as ledger:
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


async def test_a_row_of_nonsense_is_no_damage(home: Path, found: Path) -> None:
    plant(found.parent, status="paid")
    assert len(await use(found)) == 1


# -- which SQLite -----------------------------------------------------------------------------------------------------


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


# -- which disk -------------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (sqlite3.SQLITE_IOERR_SHMOPEN, LOCAL_HINT),
        (sqlite3.SQLITE_IOERR_SHMMAP, LOCAL_HINT),
        (sqlite3.SQLITE_IOERR_SHMLOCK, LOCAL_HINT),
        (sqlite3.SQLITE_IOERR_LOCK, LOCAL_HINT),
        (sqlite3.SQLITE_PROTOCOL, LOCAL_HINT),
        (sqlite3.SQLITE_BUSY, LOCKED_HINT),
        (sqlite3.SQLITE_BUSY_RECOVERY, LOCKED_HINT),
        (sqlite3.SQLITE_FULL, FULL_HINT),
        (sqlite3.SQLITE_IOERR_READ, ""),
        (sqlite3.SQLITE_CANTOPEN, ""),
    ],
)
def test_each_error_of_the_disk_has_the_advice_that_fits(path: Path, code: int, hint: str) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    assert advice(error, path) == hint


def test_no_advice_is_to_begin_with_an_empty_folder() -> None:
    hints = [value for name, value in vars(errors).items() if name.endswith("HINT")]
    for hint in (LedgerUnusable.hint, run.ACCESS, run.GONE, *hints):
        assert "another" not in hint.replace("another host", "")
        assert "LUMA_MCP_DATA_DIR" not in hint or "with the ledger in it" in hint


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /home rw - nfs4 server:/home rw,vers=4.2
31 30 254:1 / /home/me/local\\040disk rw - ext4 /dev/vdb rw
32 22 0:27 / /mnt/c rw - 9p C: rw
33 22 0:28 / /mnt/cloud rw - fuse.rclone cloud: rw
34 22 0:29 / /mnt/usb rw - fuseblk /dev/sdb1 rw
35 22 0:30 / /mnt/over rw - ext4 /dev/vdc rw
36 35 0:31 / /mnt/over rw - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/luma", ""),
        ("/home/me/.local/share/luma-mcp", "nfs4"),
        ("/homes", ""),
        ("/home/me/local disk/luma", ""),
        ("/mnt/c/Users/me", "9p"),
        ("/mnt/cloud", "fuse.rclone"),
        ("/mnt/usb/luma", ""),
        ("/mnt/over/x", "cifs"),
    ],
)
def test_a_network_disk_is_told_from_a_local_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, folder: str, kind: str
) -> None:
    (home / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(place, "MOUNTS", home / "mounts")
    assert network_disk(Path(folder)) == kind
    monkeypatch.setattr(place, "MOUNTS", home / "none")
    assert network_disk(Path(folder)) == ""


def test_a_list_of_mounts_that_makes_no_sense_tells_nothing() -> None:
    assert disk_kind(Path("/home"), "x\n - \n1 2 3 4 / - \n\n") == ""


def test_the_doctor_tells_of_a_network_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "mounts").write_text("30 22 0:26 / / rw - nfs4 server:/ rw")
    monkeypatch.setattr(place, "MOUNTS", home / "mounts")
    found = [each for each in examined(settings_for(home)) if each.state == "note"]
    assert ["network disk" in each.message for each in found] == [True]
    assert found[0].fix == LOCAL_HINT


@posix
def test_the_doctor_tells_who_else_can_write_and_changes_nothing(home: Path, found: Path) -> None:
    found.parent.chmod(0o777)
    notes = [each for each in examined(settings_for(home)) if each.state == "note"]
    assert ["can be written by other users" in each.message for each in notes] == [True]
    assert mode_of(found.parent) == 0o777
