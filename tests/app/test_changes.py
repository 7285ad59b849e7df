"""What counts as a change that callers can see, for whoever reads it, in this or another process."""

from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luma_mcp.app.changes import ALL_TASKS, ChangeSet, change_set_for
from luma_mcp.core.errors import GenerationFailed, LedgerUnusable
from luma_mcp.core.models import Change, LedgerPosition, Status, Task, TaskSnapshot
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.schema import create_database
from tests.support.ledger_statements import plans
from tests.support.ledgers import add
from tests.support.rig import EPOCH, open_rig, sandbox_for
from tests.support.tasks import task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
ANYTHING = Change(None, None, listed=True)
WORK: dict[str, Callable[[Task], Task]] = {
    "accept": lambda one: one if one.task_id else one.accepted(f"t-{one.key}", Status.PENDING, EPOCH),
    "run": lambda one: one.read(TaskSnapshot(status=Status.PROCESSING), EPOCH),
    "complete": lambda one: one.read(TaskSnapshot(status=Status.COMPLETED, video_urls=("u",), cost_usd=0.5), EPOCH + 9),
    "fail": lambda one: one.refused(GenerationFailed("no").failure(), EPOCH + 9),
    "trouble": lambda one: one.troubled(GenerationFailed("slow").failure(), EPOCH),
    "save": lambda one: one.saved("/videos/1.mp4", EPOCH),
    "nothing": lambda one: replace(one, attempts=one.attempts + 1),
}


class Reader:
    """Reads what changed since it read last."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger.in_file(path)
        self.since: LedgerPosition | None = None

    async def news(self) -> list[Change]:
        self.since, changed = await self.ledger.changes(self.since)
        return [replace(change, key=None) for change in changed]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tasks.sqlite3"


@pytest.fixture
async def ledger(path: Path) -> AsyncGenerator[Ledger]:
    with closing(Ledger.in_file(path)) as ledger:
        yield ledger


@pytest.fixture
async def reader(path: Path, ledger: Ledger) -> AsyncGenerator[Reader]:
    """Read from another connection, as another process does, from now on."""
    reader = Reader(path)
    with closing(reader.ledger):
        await reader.news()
        yield reader


async def held(ledger: Ledger, number: int = 0) -> Task:
    """Add a task and hold its lease."""
    added, _ = await add(ledger, task(number))
    assert await ledger.claim([added.key], EPOCH, EPOCH + 15)
    return added


async def test_a_new_task_its_id_and_its_states_change_the_list_too(ledger: Ledger, reader: Reader) -> None:
    added = await held(ledger)
    assert await reader.news() == [Change("local", "", listed=False)]
    accepted = await ledger.record(added.accepted("t-1", Status.PENDING, EPOCH))
    assert await reader.news() == [Change("local", "t-1", listed=True)]
    running = await ledger.record(replace(accepted, status=Status.PROCESSING))
    assert await reader.news() == [Change("local", "t-1", listed=True)]
    await ledger.record(running.refused(GenerationFailed("no").failure(), EPOCH))
    assert await reader.news() == [Change("local", "t-1", listed=True)]


async def test_a_trouble_or_a_saved_file_changes_the_task_alone(ledger: Ledger, reader: Reader) -> None:
    added = await held(ledger)
    accepted = await ledger.record(added.accepted("t-1", Status.PROCESSING, EPOCH))
    await reader.news()
    troubled = await ledger.record(accepted.troubled(GenerationFailed("slow").failure(), EPOCH))
    assert await reader.news() == [Change("local", "t-1", listed=False)]
    await ledger.record(troubled.saved("/videos/1.mp4", EPOCH))
    assert await reader.news() == [Change("local", "t-1", listed=False)]


async def test_what_no_caller_sees_is_no_change(ledger: Ledger, reader: Reader) -> None:
    added = await held(ledger)
    accepted = await ledger.record(added.accepted("t-1", Status.PROCESSING, EPOCH))
    await reader.news()
    await ledger.say_alive(EPOCH + 60)
    await ledger.record(replace(accepted, attempts=3, source_url="https://example.com/uploaded.mp4"))
    await ledger.record(accepted)
    await ledger.release(accepted.key)
    await ledger.set_wanted_at(accepted.key, EPOCH)
    assert await reader.news() == []


async def test_each_change_is_read_once_and_several_of_one_task_as_one(ledger: Ledger, reader: Reader) -> None:
    for number in range(3):
        added = await held(ledger, number)
        await ledger.record(added.accepted(f"t-{number}", Status.PENDING, EPOCH))
    assert await reader.news() == [Change("local", f"t-{number}", listed=True) for number in range(3)]
    assert await reader.news() == []
    await held(ledger, 4)
    assert await reader.news() == [Change("local", "", listed=False)]


async def test_an_earlier_state_of_the_same_file_means_that_anything_may_have_changed(
    ledger: Ledger, reader: Reader
) -> None:
    await held(ledger)
    await reader.news()
    assert reader.since
    reader.since = replace(reader.since, revision=reader.since.revision + 5)  # as if a backup had been put back
    assert await reader.news() == [ANYTHING]


async def test_forgotten_tasks_change_the_list_of_their_caller(ledger: Ledger, reader: Reader) -> None:
    added = await held(ledger)
    await ledger.record(added.refused(GenerationFailed("no").failure(), EPOCH))
    await reader.news()
    await ledger.forget(EPOCH + 10 * 86_400, 1)
    assert await reader.news() == [Change("local", None, listed=True)]
    assert await reader.news() == []


async def test_another_file_means_that_anything_may_have_changed(ledger: Ledger, reader: Reader, path: Path) -> None:
    await held(ledger)
    await reader.news()
    create_database(path.with_name("other.sqlite3"))
    path.with_name("other.sqlite3").replace(path)
    assert await reader.news() == [ANYTHING]


async def test_what_is_written_during_a_look_is_told_by_the_next_one(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a task is completed, somebody looks, and its video is saved meanwhile."""
    running = await ledger.record((await held(ledger)).accepted("t-1", Status.PROCESSING, EPOCH))
    await reader.news()
    done = await ledger.record(running.read(TaskSnapshot(status=Status.COMPLETED, video_urls=("u",)), EPOCH))
    read = reader.ledger._store.read
    told: list[Change] = []

    async def and_write(query: str, values: Any) -> Any:
        rows = await read(query, values)
        await ledger.record(done.saved("/videos/1.mp4", EPOCH))
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(reader.ledger._store, "read", and_write)
        told += await reader.news()
    told += await reader.news()
    assert {(change.task_id, change.listed) for change in told} == {("t-1", True), ("t-1", False)}


async def test_the_search_for_changes_has_an_index(ledger: Ledger, path: Path) -> None:
    await held(ledger)
    found = await plans(path, lambda asked: asked.changes(None))
    assert any("tasks_by_revision" in plan for plan in found)


async def test_a_look_that_fails_at_first_leaves_later_listeners_their_changes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox, told = sandbox_for(home), list[ChangeSet]()
    async with open_rig(home, sandbox=sandbox) as rig, open_rig(home, sandbox=sandbox) as other:
        task = await other.submit(wait=0)
        with monkeypatch.context() as patched:
            patched.setattr(rig.parts.ledger, "changes", refuse)
            with pytest.raises(LedgerUnusable):
                await rig.settle(task)
        await rig.app.add_change_listener("local", told.append)
        await other.settle(task)
        await anyio.sleep(1)
    assert told


async def refuse(_: object) -> None:
    """Be a ledger that cannot be read."""
    raise LedgerUnusable("The ledger is busy.")


@given(batches=st.lists(st.lists(st.tuples(st.sampled_from(list(WORK)), st.integers(0, 4)), max_size=6), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_a_caller_sees_to_differ_is_told_and_nothing_that_nobody_touched(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, int]]]
) -> None:
    path = tmp_path_factory.mktemp("changes") / "tasks.sqlite3"
    reader = Reader(path)
    with closing(Ledger.in_file(path)) as ledger, closing(reader.ledger):
        keys = [(await held(ledger, number)).key for number in range(4)]
        await reader.news()
        for batch in batches:
            before = {key: await ledger.get(key) for key in keys}
            for name, number in batch:
                if number == len(keys):
                    keys.append((await held(ledger, number)).key)
                await ledger.record(WORK[name](await ledger.get(keys[number])))
                await ledger.set_wanted_at(keys[number], EPOCH)
            after = {key: await ledger.get(key) for key in keys}
            differs = {
                seen(task) for key, task in after.items() if key not in before or seen(before[key]) != seen(task)
            }
            touched = {after[keys[number]].task_id for _, number in batch}
            told = {change.task_id for change in await reader.news()}
            assert {ids[0] for ids in differs} <= told <= touched


def seen(one: Task) -> tuple[object, ...]:
    """Give what a caller sees of a task that may change."""
    words = (one.task_id, one.status, one.video_urls, one.video_path)
    return (*words, one.cost_usd, one.error, one.updated_at, one.finished_at)


def test_changes_are_summed_up_for_the_caller_whose_tasks_they_are() -> None:
    changed = [Change("a", "1", listed=False), Change("a", "", listed=False), Change("b", "3", listed=True)]
    mixed = [Change("a", "1", listed=True), Change("a", "2", listed=False)]
    assert change_set_for("a", mixed) == ChangeSet(frozenset({"1", "2", ALL_TASKS}), anything=False, listed=True)
    assert change_set_for("a", changed) == ChangeSet(frozenset({"1", ALL_TASKS}), anything=False, listed=False)
    assert change_set_for("b", changed) == ChangeSet(frozenset({"3", ALL_TASKS}), anything=False, listed=True)
    assert change_set_for("c", changed) is None
    assert change_set_for("a", [Change("a", None, listed=True)]) == ChangeSet(
        frozenset({ALL_TASKS}), anything=True, listed=True
    )
    assert change_set_for("c", [Change(None, None, listed=True)]) == ChangeSet(
        frozenset({ALL_TASKS}), anything=True, listed=True
    )
