"""A damaged file is kept aside with all that is in it, and what can be read of it goes on."""

import errno
import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from luma_mcp.cli.doctor.storage import check_ledger as examined
from luma_mcp.core import failpoints
from luma_mcp.core.errors import LedgerDamaged, LedgerUnusable
from luma_mcp.core.models import Task
from luma_mcp.ledger.files import sidecar_path
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.schema import open_database
from tests.support.forged_ledger import plant
from tests.support.ledgers import add, aside, damage_index, listed, use
from tests.support.rig import settings_for
from tests.support.tasks import task

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Threads and locks live in real time."""
    return "asyncio"


async def all_of(ledger: Ledger) -> list[Task]:
    """Give every task of the ledger."""
    found, cursor = await ledger.page("local", "", 100, "")
    while cursor:
        page, cursor = await ledger.page("local", "", 100, cursor)
        found += page
    return found


async def test_a_file_that_is_no_database_is_kept_aside_and_a_caller_is_told_once(ledger: Ledger, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are not the tasks you are looking for" * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerDamaged) as raised, ledger.report_damage_once():
        await add(ledger, task())
    (kept,) = aside(path)
    assert kept.read_bytes() == before
    assert str(kept) in raised.value.message
    assert (raised.value.code, raised.value.charged, raised.value.retry_safe) == ("output_not_writable", "no", False)
    assert await listed(ledger) == []
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
    with closing(Ledger.in_file(path)) as ledger:
        for number in range(50):
            await add(ledger, task(number))
    damage_index(path)

    def die(reached: str) -> None:
        if reached == point:
            raise Killed

    with monkeypatch.context() as armed, closing(Ledger.in_file(path)) as ledger:
        armed.setattr(failpoints, "reach", die)
        with pytest.raises(Killed):
            await listed(ledger)
    with closing(Ledger.in_file(path)) as ledger:
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


def test_processes_that_meet_a_damaged_file_together_keep_it_aside_once(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)

    async def submit(draft: Task) -> bool:
        with closing(Ledger.in_file(path)) as ledger:
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
    with closing(Ledger.in_file(path)) as another:
        assert {found.key for found in await listed(another)} == {first.key, second.key}


async def test_a_row_of_nonsense_is_no_damage(home: Path, found: Path) -> None:
    plant(found.parent, status="paid")
    assert len(await use(found)) == 1


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
            shutil.copy(sidecar_path(writing, suffix), sidecar_path(path, suffix))
        db.execute("ROLLBACK")
    finding = examined(settings_for(home))[-1]
    assert (finding.state, "killed" in finding.message) == ("note", True)
    assert len(await use(path)) == 2
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM uploads").fetchone() == (0,)
    assert examined(settings_for(home))[-1].state == "ok"


async def test_a_rescue_that_another_process_is_in_the_way_of_takes_nothing_and_loses_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "data" / "tasks.sqlite3"
    with closing(Ledger.in_file(path)) as ledger:
        await add(ledger, task(1))
    damage_index(path)
    replace_file, before = os.replace, path.read_bytes()

    def in_use(source: Path, target: Path) -> None:
        if target == path:
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        replace_file(source, target)

    with closing(Ledger.in_file(path)) as ledger:
        with monkeypatch.context() as busy:
            busy.setattr(os, "replace", in_use)
            with pytest.raises(LedgerUnusable, match="used by another process"):
                await listed(ledger)
        assert path.read_bytes() == before
        assert not [each.name for each in path.parent.iterdir() if "rescued" in each.name or "damaged" in each.name]
        with pytest.raises(LedgerDamaged):
            await listed(ledger)
        assert len(await listed(ledger)) == 1
