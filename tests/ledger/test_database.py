"""The ledger's file under everything that happens to files: locks, damage, full disks, folders that go away."""

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from luma_mcp.core import failpoints
from luma_mcp.core.models import DAY_SECONDS, Status, Task
from luma_mcp.core.storage_errors import LedgerDamaged, LedgerUnusable
from luma_mcp.ledger import connection, database, schema
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.schema import MIGRATIONS, open_database
from tests.support.ledgers import add, aside, damage_index, listed
from tests.support.privileges import without_privileges
from tests.support.rig import API_URL, EPOCH
from tests.support.tasks import task

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Threads and locks live in real time."""
    return "asyncio"


@pytest.fixture
def path(home: Path) -> Path:
    return home / "data" / "tasks.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Generator[Ledger]:
    with closing(Ledger(path)) as opened:
        yield opened


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock on the file, as a process does that is in the middle of a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def all_of(ledger: Ledger) -> list[Task]:
    """Give every task of the ledger."""
    found, cursor = await ledger.page("local", "", 100, "")
    while cursor:
        page, cursor = await ledger.page("local", "", 100, cursor)
        found += page
    return found


async def test_anothers_lock_holds_up_neither_readers_nor_the_event_loop(ledger: Ledger, path: Path) -> None:
    first, _ = await add(ledger, task())
    written = anyio.Event()

    async def write() -> None:
        await add(ledger, task(1))
        written.set()

    async with anyio.create_task_group() as group:
        with locked(path):
            group.start_soon(write)
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
                assert [found.key for found in await listed(ledger)] == [first.key]
            assert not written.is_set()
        await written.wait()
    assert len(await listed(ledger)) == 2


async def test_a_lock_that_is_never_given_back_ends_in_an_error_for_all_who_wait(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(database, "QUEUE_SECONDS", 0.1)
    first, _ = await add(ledger, task())
    said: list[str] = []

    async def write() -> None:
        with pytest.raises(LedgerUnusable) as raised:
            await ledger.want(first.key, EPOCH)
        said.append(str(raised.value))

    with locked(path):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(write)
    assert sum("others are still writing" in words for words in said) == 2
    assert sum("locked" in words for words in said) == 1
    await ledger.want(first.key, EPOCH)


async def test_a_file_that_is_no_database_is_kept_aside_and_a_caller_is_told_once(ledger: Ledger, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are not the tasks you are looking for" * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerDamaged) as raised, ledger.telling():
        await add(ledger, task())
    (kept,) = aside(path)
    assert kept.read_bytes() == before
    assert str(kept) in raised.value.message
    assert (raised.value.code, raised.value.charged, raised.value.retry_safe) == ("output_not_writable", "no", False)
    assert await listed(ledger) == []
    assert (await add(ledger, task()))[1] is False


async def test_damage_that_the_background_finds_is_told_to_the_next_caller(ledger: Ledger, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\0" * 5000)
    with pytest.raises(LedgerDamaged):
        await ledger.unattended(API_URL, "", EPOCH, 1)
    assert await ledger.unattended(API_URL, "", EPOCH, 1) == []
    assert await listed(ledger) == [], "whoever is no caller is told nothing"
    with pytest.raises(LedgerDamaged, match="damaged"), ledger.telling():
        await listed(ledger)
    with ledger.telling():
        assert await listed(ledger) == []


async def test_damage_that_the_background_finds_during_a_call_is_told_before_anything_is_asked_for(
    ledger: Ledger, path: Path
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\0" * 5000)

    async def called_while_the_background_looks() -> None:
        with ledger.telling():
            with suppress(LedgerDamaged):
                await ledger.unattended(API_URL, "", EPOCH, 1)
            await add(ledger, task())

    with pytest.raises(LedgerDamaged, match="damaged"):
        await called_while_the_background_looks()
    assert await listed(ledger) == []
    with ledger.telling():
        assert (await add(ledger, task()))[1] is False


async def test_what_can_still_be_read_of_a_damaged_file_goes_on(ledger: Ledger, path: Path) -> None:
    for number in range(200):
        await add(ledger, replace(task(number), task_id=f"id-{number}"))
    ledger.close()
    content = bytearray(path.read_bytes())
    page_of_row = content.index(b"take 100") // 4096 * 4096
    content[page_of_row : page_of_row + 4096] = os.urandom(4096)
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged, match=r"\d+ tasks"):
        await all_of(ledger)
    (kept,) = aside(path)
    assert kept.read_bytes() == content
    found = await all_of(ledger)
    assert 100 < len(found) < 200
    assert all(one.request == task(int(one.task_id.removeprefix("id-"))).request for one in found)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("point", ["rescue.kept", "rescue.salvaged", "rescue.cleared"])
async def test_a_rescue_that_is_killed_is_done_by_the_next_process(
    path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    with closing(Ledger(path)) as ledger:
        for number in range(50):
            await add(ledger, task(number))
    damage_index(path)

    def die(reached: str) -> None:
        if reached == point:
            raise Killed

    with monkeypatch.context() as armed, closing(Ledger(path)) as ledger:
        armed.setattr(failpoints, "reach", die)
        with pytest.raises(Killed):
            await listed(ledger)
    with closing(Ledger(path)) as ledger:
        with suppress(LedgerDamaged):
            await listed(ledger)
        assert len(await listed(ledger)) == 50
    assert aside(path)


async def test_a_file_that_was_cut_off_loses_what_was_cut_off_only(ledger: Ledger, path: Path) -> None:
    for number in range(300):
        await add(ledger, task(number))
    ledger.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4096)
    with pytest.raises(LedgerDamaged):
        await all_of(ledger)
    assert len(await all_of(ledger)) > 250


async def test_a_file_that_was_emptied_is_kept_aside_with_what_lies_beside_it(ledger: Ledger, path: Path) -> None:
    await add(ledger, task())
    ledger.close()
    path.write_bytes(b"")
    journal = path.with_name(f"{path.name}-journal")
    journal.write_bytes(b"of a transaction that was cut short")
    with pytest.raises(LedgerDamaged):
        await listed(ledger)
    (kept,) = aside(path)
    assert kept.with_name(f"{kept.name}-journal").read_bytes() == b"of a transaction that was cut short"
    assert not journal.exists(), "it would be played back into the new file"
    assert await listed(ledger) == []


async def test_a_file_that_was_emptied_is_told_of(ledger: Ledger, path: Path) -> None:
    await add(ledger, task())
    ledger.close()
    path.write_bytes(b"")
    with pytest.raises(LedgerDamaged):
        await listed(ledger)
    assert await listed(ledger) == []


async def test_a_rescue_without_room_says_so_and_leaves_the_file_alone(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await add(ledger, task())
    ledger.close()
    damage_index(path)
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copy2", full)
        with pytest.raises(LedgerUnusable, match="damaged, and cannot be kept aside: No space"):
            await listed(ledger)
    assert path.read_bytes() == before
    assert aside(path) == []
    with pytest.raises(LedgerDamaged):
        await listed(ledger)
    assert len(await listed(ledger)) == 1


async def test_a_rescue_by_another_process_holds_up_the_reader_alone(ledger: Ledger, path: Path) -> None:
    await add(ledger, task())
    ledger.close()
    damage_index(path)
    told = anyio.Event()

    async def read() -> None:
        with pytest.raises(LedgerUnusable):
            await listed(ledger)
        told.set()

    async with anyio.create_task_group() as group:
        with closing(sqlite3.connect(f"{path}-lock", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            group.start_soon(read)
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            assert not told.is_set()
        await told.wait()


async def test_a_running_process_does_not_write_to_a_file_that_a_newer_version_took_over(
    ledger: Ledger, path: Path
) -> None:
    await add(ledger, task())
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(LedgerUnusable, match="newer version"):
        await add(ledger, task(1))


async def test_closing_waits_for_a_write_that_nobody_awaits_any_more(ledger: Ledger, path: Path) -> None:
    first, _ = await add(ledger, task())

    async def write() -> None:
        with suppress(LedgerUnusable):
            await add(ledger, task(1))

    pool = ThreadPoolExecutor(1)
    with locked(path):
        async with anyio.create_task_group() as group:
            group.start_soon(write)
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
            pool.submit(ledger.close)
    pool.shutdown()
    assert [found.key for found in await listed(ledger)] == [first.key]


def test_processes_that_meet_a_damaged_file_together_keep_it_aside_once(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)

    async def submit(draft: Task) -> bool:
        with closing(Ledger(path)) as ledger:
            try:
                await add(ledger, draft)
            except LedgerUnusable:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(anyio.run, [submit] * 8, map(task, range(8))))
    assert len(aside(path)) == 1
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM tasks").fetchone() == (sum(added),)


async def test_a_folder_that_was_removed_while_in_use_is_put_back(ledger: Ledger, path: Path) -> None:
    first, _ = await add(ledger, task())
    for removed in path.parent.iterdir():
        removed.unlink()
    path.parent.rmdir()
    second, _ = await add(ledger, task(1))
    with closing(Ledger(path)) as another:
        assert {found.key for found in await listed(another)} == {first.key, second.key}


async def test_a_file_that_was_replaced_is_the_one_that_counts(ledger: Ledger, path: Path, home: Path) -> None:
    await add(ledger, task())
    with closing(Ledger(home / "backup" / "tasks.sqlite3")) as backup:
        kept, _ = await add(backup, task(7))
    (home / "backup" / "tasks.sqlite3").replace(path)
    assert await listed(ledger) == [kept]


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


async def test_a_folder_that_was_mended_is_used_without_a_restart(ledger: Ledger, path: Path) -> None:
    path.parent.touch()
    with pytest.raises(LedgerUnusable):
        await add(ledger, task())
    path.parent.unlink()
    assert (await add(ledger, task()))[1] is False


async def fill(ledger: Ledger) -> None:
    """Add tasks until no more are taken."""
    for number in range(1000):
        try:
            await add(ledger, task(number))
        except LedgerUnusable as error:
            if "full" in error.message:
                return
            raise
    raise AssertionError("the disk was not full")


async def test_on_a_full_disk_writing_is_refused_and_reading_goes_on(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cramped(path: Path) -> sqlite3.Connection:
        db = open_database(path)
        db.execute("PRAGMA max_page_count = 30")
        return db

    monkeypatch.setattr(connection, "open_database", cramped)
    await fill(ledger)
    kept = await listed(ledger)
    assert kept
    await fill(ledger)
    assert {found.key for found in kept} <= {found.key for found in await listed(ledger)}


@pytest.fixture
def open_folder() -> Generator[Path]:
    """Give a folder below which every user may look."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def test_in_a_folder_that_is_read_only_history_can_be_read(open_folder: Path) -> None:
    path = open_folder / "data" / "tasks.sqlite3"
    with closing(Ledger(path)) as ledger:
        kept, _ = await add(ledger, task())
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with closing(Ledger(path)) as ledger, without_privileges():
            assert await listed(ledger) == [kept]
            assert await ledger.get(kept.key) == kept
            with pytest.raises(LedgerUnusable):
                await add(ledger, task(1))
    finally:
        path.parent.chmod(0o755)


async def test_ended_tasks_are_forgotten_only_when_told_and_the_space_is_given_back(ledger: Ledger, path: Path) -> None:
    for number in range(400):
        status = Status.COMPLETED if number else Status.PROCESSING
        await add(ledger, replace(task(number), status=status, finished_at=EPOCH, source_url="x" * 4000))
    recent, _ = await add(ledger, replace(task(2 * DAY_SECONDS), status=Status.COMPLETED))
    await ledger.forget(EPOCH + 2 * DAY_SECONDS, 3)
    ledger.close()
    full = path.stat().st_size
    await ledger.forget(EPOCH + 2 * DAY_SECONDS, 1)
    running = (await ledger.page("local", "processing", 10, ""))[0]
    assert [found.key for found in await listed(ledger)] == [recent.key, running[0].key]
    ledger.close()
    assert path.stat().st_size < full / 10


async def test_a_finished_video_that_is_still_to_be_saved_is_not_forgotten(ledger: Ledger) -> None:
    unsaved = replace(task(), status=Status.COMPLETED, finished_at=EPOCH, wants_file=True, video_urls=("https://x/y",))
    await add(ledger, unsaved)
    await ledger.forget(EPOCH + 2 * DAY_SECONDS, 1)
    assert await listed(ledger) == [unsaved]
    await ledger.forget(EPOCH + 8 * DAY_SECONDS, 1)
    assert await listed(ledger) == []


async def test_what_is_written_again_and_again_does_not_pile_up(ledger: Ledger, path: Path) -> None:
    draft, _ = await add(ledger, task())
    for number in range(1500):
        await ledger.record(replace(draft, attempts=number))
    assert path.stat().st_size < 200_000
    assert {found.name for found in path.parent.iterdir()} == {path.name, f"{path.name}-lock"}
