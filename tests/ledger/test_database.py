"""The ledger's file in use: locks, full disks and those that hang, files that go away, damage that others find."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.core.errors import GenerationFailed, LedgerDamaged, LedgerUnusable
from luma_mcp.ledger import batches, database, schema
from luma_mcp.ledger import ledger as ledger_module
from luma_mcp.ledger.database import count_tasks_of
from luma_mcp.ledger.errors import DISK_STUCK_HINT, MOVED_HINT
from luma_mcp.ledger.files import inode_identity
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.schema import create_database, open_database
from tests.support.ledger_writer import WRITTEN
from tests.support.ledgers import add, damage_index, listed
from tests.support.privileges import NOBODY, without_privileges
from tests.support.rig import API_URL, EPOCH
from tests.support.tasks import task

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Threads and locks live in real time."""
    return "asyncio"


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock on the file, as a process does that is in the middle of a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


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
    first, _ = await add(ledger, task())
    said: list[str] = []

    async def write() -> None:
        with pytest.raises(LedgerUnusable) as raised:
            await ledger.set_wanted_at(first.key, EPOCH)
        said.append(str(raised.value))

    with locked(path):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(write)
    assert ["locked" in words for words in said] == [True, True, True]
    await ledger.set_wanted_at(first.key, EPOCH)


async def test_damage_that_the_background_finds_is_told_to_the_next_caller(ledger: Ledger, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\0" * 5000)
    with pytest.raises(LedgerDamaged):
        await ledger.find_unattended(API_URL, "", EPOCH, 1)
    assert await ledger.find_unattended(API_URL, "", EPOCH, 1) == []
    assert await listed(ledger) == [], "whoever is no caller is told nothing"
    with pytest.raises(LedgerDamaged, match="damaged"), ledger.report_damage_once():
        await listed(ledger)
    with ledger.report_damage_once():
        assert await listed(ledger) == []


async def test_damage_that_the_background_finds_during_a_call_is_told_before_anything_is_asked_for(
    ledger: Ledger, path: Path
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\0" * 5000)

    async def called_while_the_background_looks() -> None:
        with ledger.report_damage_once():
            with suppress(LedgerDamaged):
                await ledger.find_unattended(API_URL, "", EPOCH, 1)
            await add(ledger, task())

    with pytest.raises(LedgerDamaged, match="damaged"):
        await called_while_the_background_looks()
    assert await listed(ledger) == []
    with ledger.report_damage_once():
        assert (await add(ledger, task()))[1] is False


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


async def test_a_file_that_was_replaced_is_the_one_that_counts(ledger: Ledger, path: Path, home: Path) -> None:
    await add(ledger, task())
    with closing(Ledger.in_file(home / "backup" / "tasks.sqlite3")) as backup:
        kept, _ = await add(backup, task(7))
    (home / "backup" / "tasks.sqlite3").replace(path)
    assert await listed(ledger) == [kept]


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

    monkeypatch.setattr(database, "open_database", cramped)
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
    with closing(Ledger.in_file(path)) as ledger:
        kept, _ = await add(ledger, task())
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with closing(Ledger.in_file(path)) as ledger, without_privileges():
            assert await listed(ledger) == [kept]
            assert await ledger.get(kept.key) == kept
            with pytest.raises(LedgerUnusable):
                await add(ledger, task(1))
    finally:
        path.parent.chmod(0o755)


async def test_what_is_written_again_and_again_does_not_pile_up(ledger: Ledger, path: Path) -> None:
    draft, _ = await add(ledger, task())
    for number in range(1500):
        await ledger.record(replace(draft, attempts=number))
    assert path.stat().st_size < 200_000
    assert {found.name for found in path.parent.iterdir()} == {path.name, f"{path.name}-lock"}


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no file that is open")


BESIDE = ("-wal", "-shm", "-journal")


ROWS = 60


FEW_THREADS = 6


def after_inserting(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Let something happen in the middle of the transaction that adds a task."""

    original = ledger_module.insert

    def insert(db: sqlite3.Connection, row: Any) -> None:
        original(db, row)
        then()

    monkeypatch.setattr(ledger_module, "insert", insert)


def give_away(place: Path) -> None:
    """Let a place belong to the user that one is `without_privileges`."""
    if sys.platform != "win32" and os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)


@posix
@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o755), (0o444, 0o555), (0o644, 0o555)])
async def test_a_disk_that_can_be_written_again_is_written_to_without_a_restart(
    open_folder: Path, file_mode: int, folder_mode: int
) -> None:
    path = open_folder / "data" / "tasks.sqlite3"
    with closing(Ledger.in_file(path)) as before:
        kept, _ = await add(before, task())
    for place in (path, path.parent):
        give_away(place)
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    with without_privileges(), closing(Ledger.in_file(path)) as ledger:
        assert await listed(ledger) == [kept]
        with pytest.raises(LedgerUnusable) as raised:
            await add(ledger, task(1))
        assert raised.value.charged == "no"
        path.parent.chmod(0o755)
        path.chmod(0o644)
        added, _ = await add(ledger, task(1))
        assert await listed(ledger) == [added, kept]


@posix
def test_nothing_that_was_acknowledged_is_lost_when_what_lies_beside_the_ledger_is_removed(path: Path) -> None:
    path.parent.mkdir()
    create_database(path)
    said: list[list[str]] = []
    with ExitStack() as running:
        writers = [running.enter_context(writer(path, 1000 * number)) for number in range(3)]
        while any(process.poll() is None for process in writers):
            for process in writers:
                with stopped(process):
                    for suffix in BESIDE:
                        path.with_name(path.name + suffix).unlink(missing_ok=True)
        for process in writers:
            assert process.stdout
            said += [line.split(maxsplit=2) for line in process.stdout]
    assert len(said) == 3 * ROWS
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        there = {key for (key,) in db.execute("SELECT key FROM tasks")}
    assert {key for outcome, key, *_ in said if outcome == WRITTEN} - there == set()
    assert there & {key for outcome, key, *_ in said if outcome == "no"} == set()


def writer(path: Path, first: int) -> subprocess.Popen[str]:
    """Start a process that adds tasks."""
    command = [sys.executable, "-m", "tests.support.ledger_writer", str(path), str(first), str(ROWS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


@contextmanager
def stopped(process: subprocess.Popen[str]) -> Generator[None]:
    """Let a process stand still, wherever it is."""
    process.send_signal(signal.Signals["SIGSTOP"])
    try:
        yield
    finally:
        process.send_signal(signal.Signals["SIGCONT"])


@posix
async def test_a_write_whose_end_met_an_error_may_have_been_written(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(ledger, task())
    with monkeypatch.context() as patched:
        after_inserting(patched, path.with_name(f"{path.name}-journal").unlink)
        with pytest.raises(LedgerUnusable) as raised:
            await add(ledger, task(1))
    assert raised.value.charged == "unknown"
    assert len(await listed(ledger)) == 2
    assert (await add(ledger, task(2)))[1] is False


@posix
@pytest.mark.parametrize("replaced", [False, True])
async def test_what_was_written_to_a_file_that_was_taken_away_meanwhile_is_not_acknowledged(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    await add(ledger, task())
    create_database(path.with_name("other"))
    other = path.with_name("other")
    with monkeypatch.context() as patched:
        after_inserting(patched, (lambda: other.replace(path)) if replaced else path.unlink)
        with pytest.raises(LedgerUnusable, match="removed or replaced while") as raised:
            await add(ledger, task(1))
    assert (raised.value.charged, raised.value.hint) == ("unknown", MOVED_HINT)
    assert len(await listed(ledger)) == (0 if replaced else 2), "put back with all that was in it"


@pytest.fixture
def answers() -> Generator[threading.Event]:
    """Give what happens when the disk answers again; it does in the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(batches, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(database, "STUCK_SECONDS", 0.1)
    return monkeypatch


async def test_a_disk_that_hangs_keeps_nobody_waiting_and_is_used_again_when_it_answers(
    ledger: Ledger, impatient: pytest.MonkeyPatch, answers: threading.Event
) -> None:
    kept, _ = await add(ledger, task())

    def hanging(path: Path) -> tuple[int, int] | None:
        answers.wait()
        return inode_identity(path)

    said: list[LedgerUnusable] = []

    async def read() -> None:
        with pytest.raises(LedgerUnusable) as raised:
            await listed(ledger)
        said.append(raised.value)

    async def write() -> None:
        with pytest.raises(LedgerUnusable) as raised:
            await ledger.set_wanted_at(kept.key, EPOCH)
        said.append(raised.value)

    before = threading.active_count()
    impatient.setattr(database, "inode_identity", hanging)
    for _ in range(2):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(read)
                group.start_soon(write)
    ledger.close()
    assert threading.active_count() - before <= FEW_THREADS
    assert {error.hint for error in said if "answer" in error.message} == {DISK_STUCK_HINT}
    assert "unknown" in {error.charged for error in said if "did not answer in" in error.message}
    impatient.undo()
    answers.set()
    await ledger.set_wanted_at(kept.key, EPOCH)
    assert [found.key for found in await listed(ledger)] == [kept.key]


async def test_a_write_that_was_given_up_is_not_written_later(
    ledger: Ledger, path: Path, impatient: pytest.MonkeyPatch, answers: threading.Event
) -> None:
    kept, _ = await add(ledger, task())
    after_inserting(impatient, answers.wait)
    with pytest.raises(LedgerUnusable, match="did not answer") as raised:
        await add(ledger, task(1))
    assert raised.value.charged == "unknown"
    impatient.undo()
    answers.set()
    added, _ = await add(ledger, task(2))
    assert await listed(ledger) == [added, kept]


async def test_a_call_that_is_cancelled_waits_no_longer_for_a_disk_that_hangs(
    ledger: Ledger, impatient: pytest.MonkeyPatch, answers: threading.Event
) -> None:
    await listed(ledger)
    after_inserting(impatient, answers.wait)

    async def write() -> None:
        with suppress(LedgerUnusable):
            await add(ledger, task())

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    answers.set()
    assert await listed(ledger) == []


async def test_damage_that_another_process_finds_is_told_once_by_each_that_had_the_file_open(
    ledger: Ledger, path: Path
) -> None:
    kept, _ = await add(ledger, task())
    with (
        closing(Ledger.in_file(path)) as idle,
        closing(Ledger.in_file(path)) as finder,
        closing(Ledger.in_file(path)) as later,
    ):
        await listed(idle)
        damage_index(path)
        with pytest.raises(LedgerDamaged, match="with 1 tasks"), finder.report_damage_once():
            await listed(finder)
        with pytest.raises(LedgerDamaged, match="Another server"), ledger.report_damage_once():
            await add(ledger, task(1))
        assert [found.key for found in await listed(idle)] == [kept.key], "whoever is no caller is told nothing"
        with pytest.raises(LedgerDamaged, match="Another server"), idle.report_damage_once():
            await listed(idle)
        for number, each in enumerate((finder, ledger, idle, later)):
            with each.report_damage_once():
                await add(each, task(10 + number))
                assert len(await listed(each)) == 2 + number


async def test_a_file_that_was_replaced_beside_an_old_damaged_one_is_not_called_damaged(
    ledger: Ledger, path: Path
) -> None:
    path.parent.mkdir()
    path.with_name(f"{path.name}.damaged-20260101-000000").touch()
    await add(ledger, task())
    create_database(path.with_name("other"))
    path.with_name("other").replace(path)
    with ledger.report_damage_once():
        assert await listed(ledger) == []
        await add(ledger, task())


async def test_a_callers_tasks_are_counted_without_making_or_trusting_a_file(home: Path) -> None:
    place = home / "tasks.sqlite3"
    assert (count_tasks_of(place, "ann"), place.exists()) == (0, False)
    with closing(Ledger.in_file(place)) as ledger:
        await add(ledger, task(caller="ann"))
        await add(ledger, task(1, caller="bob"))
        assert [count_tasks_of(place, caller) for caller in ("ann", "bob", "eve")] == [1, 1, 0]
    link = home / "link.sqlite3"
    link.symlink_to(place)
    (home / "text.sqlite3").write_text("no database")
    assert [count_tasks_of(other, "ann") for other in (link, home / "text.sqlite3")] == [0, 0]


@pytest.mark.parametrize("bad", ["\ud800", "x" * (1 << 21), 1 << 70, object()])
async def test_what_one_caller_asks_for_amiss_is_no_error_of_those_who_ask_with_it(ledger: Ledger, bad: Any) -> None:
    known, wanted = (await add(ledger, task()))[0], (await add(ledger, task(1)))[0]
    outcomes, expected = dict[str, object](), await ledger.get(known.key)

    async def note(name: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            outcomes[name] = await call()
        except (LedgerUnusable, ValueError, OverflowError) as error:
            outcomes[name] = type(error)

    good = (known.key, wanted.key)  # two tasks, as either thread may be the first
    async with anyio.create_task_group() as callers:
        for name, (read, written) in (("before", good), ("bad", (bad, bad)), ("after", good)):
            callers.start_soon(note, f"read {name}", partial(ledger.get, read))
            callers.start_soon(note, f"written {name}", partial(ledger.set_wanted_at, written, EPOCH + 5))
    assert outcomes.pop("read bad") == outcomes.pop("written bad") is not None
    assert outcomes == {"read before": expected, "read after": expected, "written before": None, "written after": None}
    assert (await ledger.get(wanted.key)).wanted_at == EPOCH + 5


async def test_deleted_tasks_hold_up_nobody_in_a_file_that_cannot_shrink(ledger: Ledger, path: Path) -> None:
    old = [(await add(ledger, task(number)))[0] for number in range(20)]
    await ledger.claim([one.key for one in old], EPOCH, EPOCH + 15)
    for one in old:
        await ledger.record(one.refused(GenerationFailed("no").failure(), EPOCH))
    ledger.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.executescript("PRAGMA auto_vacuum = NONE; VACUUM")
    await ledger.forget(EPOCH + 10 * 86_400, 1)
    assert await listed(ledger) == []
