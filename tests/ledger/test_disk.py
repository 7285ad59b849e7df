"""The ledger on a disk that hangs, cannot be written for a while, or loses files under running servers."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.core.storage_errors import LedgerDamaged, LedgerUnusable
from luma_mcp.ledger import connection, database, rows
from luma_mcp.ledger import ledger as ledger_module
from luma_mcp.ledger.errors import MOVED_HINT, SILENT_HINT
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.place import identity
from luma_mcp.ledger.schema import create_database
from tests.support.ledgers import add, damage_index, listed
from tests.support.privileges import NOBODY, without_privileges
from tests.support.rig import EPOCH
from tests.support.tasks import task
from tests.support.writing import WRITTEN

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no file that is open")
BESIDE = ("-wal", "-shm", "-journal")
ROWS = 60
FEW_THREADS = 6


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


def after_inserting(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Let something happen in the middle of the transaction that adds a task."""

    def insert(db: sqlite3.Connection, row: Any) -> None:
        rows.insert(db, row)
        then()

    monkeypatch.setattr(ledger_module, "insert", insert)


@pytest.fixture
def open_folder() -> Generator[Path]:
    """Give a folder below which every user may look."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def give_away(place: Path) -> None:
    """Let a place belong to the user that one is `without_privileges`."""
    if sys.platform != "win32" and os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)


# -- a disk that cannot be written for a while ------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o755), (0o444, 0o555), (0o644, 0o555)])
async def test_a_disk_that_can_be_written_again_is_written_to_without_a_restart(
    open_folder: Path, file_mode: int, folder_mode: int
) -> None:
    path = open_folder / "data" / "tasks.sqlite3"
    with closing(Ledger(path)) as before:
        kept, _ = await add(before, task())
    for place in (path, path.parent):
        give_away(place)
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    with without_privileges(), closing(Ledger(path)) as ledger:
        assert await listed(ledger) == [kept]
        with pytest.raises(LedgerUnusable) as raised:
            await add(ledger, task(1))
        assert raised.value.charged == "no"
        path.parent.chmod(0o755)
        path.chmod(0o644)
        added, _ = await add(ledger, task(1))
        assert await listed(ledger) == [added, kept]


# -- files that are removed under running servers ---------------------------------------------------------------------


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
    command = [sys.executable, "-m", "tests.support.writing", str(path), str(first), str(ROWS)]
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


# -- a disk that hangs ------------------------------------------------------------------------------------------------


@pytest.fixture
def answers() -> Generator[threading.Event]:
    """Give what happens when the disk answers again; it does in the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(connection, "STUCK_SECONDS", 0.1)
    return monkeypatch


async def test_a_disk_that_hangs_keeps_nobody_waiting_and_is_used_again_when_it_answers(
    ledger: Ledger, impatient: pytest.MonkeyPatch, answers: threading.Event
) -> None:
    kept, _ = await add(ledger, task())

    def hanging(path: Path) -> tuple[int, int] | None:
        answers.wait()
        return identity(path)

    said: list[LedgerUnusable] = []

    async def read() -> None:
        with pytest.raises(LedgerUnusable) as raised:
            await listed(ledger)
        said.append(raised.value)

    async def write() -> None:
        with pytest.raises(LedgerUnusable) as raised:
            await ledger.want(kept.key, EPOCH)
        said.append(raised.value)

    before = threading.active_count()
    impatient.setattr(connection, "identity", hanging)
    for _ in range(2):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(read)
                group.start_soon(write)
    ledger.close()
    assert threading.active_count() - before <= FEW_THREADS
    assert {error.hint for error in said if "answer" in error.message} == {SILENT_HINT}
    assert "unknown" in {error.charged for error in said if "did not answer in" in error.message}
    impatient.undo()
    answers.set()
    await ledger.want(kept.key, EPOCH)
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


# -- damage that another process finds --------------------------------------------------------------------------------


async def test_damage_that_another_process_finds_is_told_once_by_each_that_had_the_file_open(
    ledger: Ledger, path: Path
) -> None:
    kept, _ = await add(ledger, task())
    with closing(Ledger(path)) as idle, closing(Ledger(path)) as finder, closing(Ledger(path)) as later:
        await listed(idle)
        damage_index(path)
        with pytest.raises(LedgerDamaged, match="with 1 tasks"), finder.telling():
            await listed(finder)
        with pytest.raises(LedgerDamaged, match="Another server"), ledger.telling():
            await add(ledger, task(1))
        assert [found.key for found in await listed(idle)] == [kept.key], "whoever is no caller is told nothing"
        with pytest.raises(LedgerDamaged, match="Another server"), idle.telling():
            await listed(idle)
        for number, each in enumerate((finder, ledger, idle, later)):
            with each.telling():
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
    with ledger.telling():
        assert await listed(ledger) == []
        await add(ledger, task())


# -- a disk without hard links ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    return monkeypatch


@pytest.mark.parametrize("how", ["rename", "replace", "touch"])
async def test_a_kill_while_the_ledger_is_made_or_put_back_leaves_nothing_that_looks_damaged(
    ledger: Ledger, path: Path, no_links: pytest.MonkeyPatch, how: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    with no_links.context() as patched:
        patched.setattr(Path, how, die)
        with suppress(Killed):
            await add(ledger, task())
    assert not path.exists() or path.stat().st_size
    with ledger.telling():
        added, _ = await add(ledger, task(1))
    if sys.platform != "win32":
        with no_links.context() as patched:
            path.unlink()
            patched.setattr(Path, how, die)
            with suppress(Killed):
                await listed(ledger)
        assert not path.exists() or path.stat().st_size
    assert added in await listed(ledger)
