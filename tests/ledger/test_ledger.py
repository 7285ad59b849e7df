"""The ledger: what goes in comes out, joins are decided once, and leases have one owner."""

import math
import sqlite3
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luma_mcp.core.errors import BudgetSpent, Failure, InvalidRequest, LedgerUnusable
from luma_mcp.core.models import (
    DAY_SECONDS,
    MAX_TAKES,
    Limits,
    Status,
    Task,
    VideoRequest,
    new_key,
    to_micros,
)
from luma_mcp.ledger import ledger as ledger_module
from luma_mcp.ledger.errors import LeaseLost
from luma_mcp.ledger.ledger import Ledger, insert
from luma_mcp.ledger.records import IMMUTABLE_COLUMNS, row_of
from luma_mcp.ledger.schema import open_database, transaction
from tests.support.ledger_statements import plans
from tests.support.ledgers import NO_LIMITS, Another, add, listed
from tests.support.rig import API_URL, EPOCH
from tests.support.tasks import task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
KEY = "550e8400-e29b-41d4-a716-446655440000"
words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60)  # PostgreSQL takes no NUL
names = st.text("abcXYZ019.-_é霧", max_size=60)
lines = st.text(max_size=60).map(lambda text: "".join(filter(str.isprintable, text)))
moments = st.floats(0, 4e9)
failures = st.builds(
    Failure,
    st.sampled_from(["conflict", "network", "download_failed", "output_not_writable"]),
    lines,
    charged=st.just("no"),
    retry_safe=st.booleans(),
    hint=lines,
)
requests = st.builds(
    VideoRequest,
    prompt=words,
    source=words,
    model=names,
    watermark=st.booleans(),
    callback_url=words,
    take=st.integers(1, 100),
)
tasks = st.builds(
    Task,
    key=st.uuids().map(str),
    caller=names,
    request=requests,
    created_at=moments,
    updated_at=moments,
    wants_file=st.booleans(),
    source_url=words,
    task_id=st.uuids().map(str) | st.just(""),
    status=st.sampled_from(Status),
    attempts=st.integers(0, 9),
    video_urls=st.lists(lines.map("https://example.com/{}".format), max_size=3).map(tuple),
    video_path=words,
    cost_usd=st.none() | st.floats(0, 100),
    error=st.none() | failures,
    finished_at=st.none() | moments,
    charged=st.sampled_from(["no", "yes", "unknown"]),
    wanted_at=moments,
    failures=st.integers(0, 9),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(draft=tasks, later=tasks)
async def test_what_is_written_is_read_back_and_what_is_fixed_stays(another: Another, draft: Task, later: Task) -> None:
    draft = with_its_cost(replace(draft, key=new_key(), task_id=draft.task_id and new_key(), status=Status.SUBMITTING))
    later = with_its_cost(later)
    with closing(another()) as ledger:
        await add(ledger, draft)
        await ledger.release_all()
    with closing(another()) as ledger:
        assert await ledger.get(draft.key) == draft
        await ledger.claim([draft.key], EPOCH, EPOCH)
        await ledger.record(replace(later, key=draft.key, task_id=draft.task_id))
        found = await ledger.get(draft.key)
    kept, changed = row_of(draft), row_of(replace(later, task_id=draft.task_id))
    assert row_of(found) == {name: kept[name] if name in IMMUTABLE_COLUMNS else changed[name] for name in kept}


def with_its_cost(one: Task) -> Task:
    """Let what went wrong with a task say what is known of the task's cost."""
    return replace(one, error=replace(one.error, charged=one.charged)) if one.error else one


@pytest.fixture
def ledger(another: Another) -> Generator[Ledger]:
    """Give a ledger in each kind of store."""
    with closing(another()) as opened:
        yield opened


@pytest.fixture
def file_ledger(path: Path) -> Generator[Ledger]:
    """Give a ledger in a file, for what only files have."""
    with closing(Ledger.in_file(path)) as opened:
        yield opened


async def test_nothing_touches_the_disk_before_the_first_use(path: Path) -> None:
    Ledger.in_file(path).close()
    assert not path.parent.exists()


async def test_the_file_is_readable_by_its_owner_only(file_ledger: Ledger, path: Path) -> None:
    with closing(file_ledger):
        await add(file_ledger, task())
        assert path.parent.stat().st_mode & 0o077 == 0


async def test_a_request_is_known_by_its_name_its_take_and_its_caller(ledger: Ledger) -> None:
    with closing(ledger):
        first, joined = await add(ledger, task(), "same")
        assert not joined
        assert await add(ledger, task(1), "same") == (first, True)
        assert await ledger.find_by_request("local", "same", 1) == first
        assert (await add(ledger, task(1), "other"))[1] is False
        assert (await add(ledger, task(2, caller="somebody else"), "same"))[1] is False
        assert (await add(ledger, take(task(3), 3), "same"))[1] is False
        assert await ledger.unused_take(first.key) == 2


async def test_what_has_a_nul_in_it_is_not_found(ledger: Ledger) -> None:
    with closing(ledger):
        kept, _ = await add(ledger, replace(task(), task_id="id"))
        assert await ledger.find("local", "i\0d") is None
        assert await ledger.find("lo\0cal", "id") is None
        assert await ledger.search_tasks("local", "take\0id", list(Status), 10) == [kept]
        assert (await ledger.page("local\0", "", 10, ""))[0] == []


async def test_of_a_request_that_had_every_take_none_is_left(ledger: Ledger) -> None:
    with closing(ledger):
        made = [(await add(ledger, take(task(number), number), "same"))[0] for number in range(1, MAX_TAKES + 1)]
        assert await ledger.unused_take(made[0].key) == 0


def take(draft: Task, number: int) -> Task:
    """Make another take of a task's request."""
    return replace(draft, request=replace(draft.request, take=number))


@pytest.mark.parametrize("charged", ["no", "yes", "unknown"])
@pytest.mark.parametrize("status", list(Status))
async def test_a_task_counts_unless_it_failed_and_cost_nothing(ledger: Ledger, status: Status, charged: Any) -> None:
    with closing(ledger):
        first, _ = await add(ledger, task(), "same")
        ended = await ledger.record(replace(first, status=status, charged=charged))
        assert (await add(ledger, task(1), "same"))[1] is ended.blocks_repeat
        assert ended.blocks_repeat is not (status is Status.FAILED and charged == "no")


def test_twenty_processes_with_the_same_request_make_one_task(another: Another) -> None:
    async def submit(number: int) -> str:
        with closing(another()) as ledger:
            return (await add(ledger, task(number), "same"))[0].key

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(anyio.run, [submit] * 20, range(20)))) == 1


async def test_a_lease_has_an_owner_until_that_one_is_silent_or_gives_it_back(ledger: Ledger, another: Another) -> None:
    with closing(ledger) as one, closing(another()) as other:
        keys = [(await add(one, task(number)))[0].key for number in range(2)]
        assert await one.claim(keys, EPOCH, EPOCH + 20) == set(keys)
        assert await other.claim(keys, EPOCH + 19, EPOCH + 40) == set()
        await one.say_alive(EPOCH + 30)
        await other.free_tasks_of_silent_servers(EPOCH + 29)
        assert await other.find_unattended(API_URL, "", EPOCH + 29, 100) == []
        await other.free_tasks_of_silent_servers(EPOCH + 30)
        assert await other.find_unattended("https://other.example", "", EPOCH + 30, 100) == []
        assert await other.find_unattended(API_URL, "", EPOCH + 30, 100) == keys
        assert await other.claim(keys[:1], EPOCH + 30, EPOCH + 50) == {keys[0]}
        await one.release(keys[0])
        assert await one.claim(keys, EPOCH + 31, EPOCH + 50) == {keys[1]}
        await other.release(keys[0])
        assert await one.claim(keys, EPOCH + 31, EPOCH + 50) == set(keys)
        await one.release_all()
        assert await other.claim(keys, EPOCH + 32, EPOCH + 50) == set(keys)


async def test_a_task_can_be_added_with_its_lease_and_joined_without(ledger: Ledger, another: Another) -> None:
    with closing(ledger) as one, closing(another()) as other:
        added, _ = await one.join_or_add(task(1), "same", NO_LIMITS, lease_until=EPOCH + 15)
        assert await other.find_unattended(API_URL, "", EPOCH + 1, 100) == []
        assert await other.join_or_add(task(2), "same", NO_LIMITS, lease_until=EPOCH + 40) == (added, True)
        await other.free_tasks_of_silent_servers(EPOCH + 14)
        assert (await one.leased(), await other.leased()) == ([added.key], [])
        await other.free_tasks_of_silent_servers(EPOCH + 15)
        assert await other.claim([added.key], EPOCH + 15, EPOCH + 30) == {added.key}


async def test_servers_are_counted_as_long_as_they_say_that_they_follow_tasks(ledger: Ledger, another: Another) -> None:
    with closing(ledger) as one, closing(another()) as other:
        assert await one.count_servers(EPOCH) == 0
        await one.say_alive(EPOCH + 15)
        await other.say_alive(EPOCH + 20)
        assert [await one.count_servers(EPOCH + seconds) for seconds in (1, 16, 21)] == [2, 1, 0]


async def test_what_a_silent_server_had_is_freed_in_pieces_and_all_of_it(
    ledger: Ledger, another: Another, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "CHANGED_AT_ONCE", 2)
    with closing(ledger) as one, closing(another()) as other:
        keys = [(await add(one, replace(task(number), status=Status.FAILED)))[0].key for number in range(5)]
        assert await one.claim(keys, EPOCH, EPOCH + 15) == set(keys)
        await other.free_tasks_of_silent_servers(EPOCH + 16)
        assert (await one.leased(), await other.count_servers(EPOCH)) == ([], 0)
        await other.forget(EPOCH + 2 * DAY_SECONDS, 1)
        assert await listed(other) == []


async def test_a_lease_that_no_server_answers_for_strands_no_task(ledger: Ledger, another: Another) -> None:
    with closing(ledger) as one, closing(another()) as other:
        key = (await add(one, task()))[0].key
        await one._store.change("UPDATE tasks SET lease_owner = 'nobody'", ())
        assert await other.claim([key], EPOCH + 1, EPOCH + 16) == set()
        await other.free_tasks_of_silent_servers(EPOCH + 1)
        assert await other.claim([key], EPOCH + 1, EPOCH + 16) == {key}


async def test_nothing_is_kept_of_a_server_that_ended_when_it_had_no_task(ledger: Ledger, another: Another) -> None:
    with closing(ledger) as one, closing(another()) as other:
        key = (await add(one, task()))[0].key
        assert await one.claim([key], EPOCH, EPOCH + 15)
        await one.release(key)
        await other.say_alive(EPOCH + 30)
        await other.free_tasks_of_silent_servers(EPOCH + 16)
        assert [row["alive_until"] for row in await one._store.read("SELECT alive_until FROM servers", ())] == [
            EPOCH + 30
        ]


async def test_a_lease_from_the_future_does_not_strand_a_task(ledger: Ledger, another: Another) -> None:
    with closing(ledger) as one, closing(another()) as other:
        key = (await add(one, task()))[0].key
        assert await one.claim([key], EPOCH + 1e7, EPOCH + 1e7 + 15)  # then the clock was corrected
        await other.free_tasks_of_silent_servers(EPOCH + 1)
        assert await one.find_unattended(API_URL, "", EPOCH + 1, 100) == [key]
        assert await other.claim([key], EPOCH + 1, EPOCH + 16)


async def test_only_who_has_the_lease_is_given_the_task_to_work_on(ledger: Ledger, another: Another) -> None:
    with closing(ledger) as one, closing(another()) as other:
        draft, _ = await add(one, task())
        assert await one.get_held(draft.key) == draft
        with pytest.raises(LeaseLost):
            await other.get_held(draft.key)


async def test_who_lost_the_lease_writes_nothing(ledger: Ledger, another: Another) -> None:
    with closing(ledger) as one, closing(another()) as other:
        draft, _ = await add(one, task())
        taken = replace(draft, task_id="id", status=Status.COMPLETED, finished_at=EPOCH + 9, video_path="/v.mp4")
        await other.free_tasks_of_silent_servers(EPOCH + 30)
        assert await other.claim([draft.key], EPOCH + 30, EPOCH + 50)
        await other.record(taken)
        with pytest.raises(LeaseLost):
            await one.record(replace(draft, status=Status.FAILED))
        await other.release(draft.key)
        with pytest.raises(LeaseLost):
            await one.record(replace(taken, video_path=""))
        assert await one.get(draft.key) == taken


async def test_tasks_of_another_account_are_left_to_those_who_have_its_key(ledger: Ledger) -> None:
    with closing(ledger):
        unsent = replace(task(1), key_id="theirs")
        doubted = replace(task(2), key_id="theirs", attempts=1, status=Status.UNCONFIRMED)
        accepted = replace(task(3), key_id="theirs", attempts=1, status=Status.PENDING, task_id="id")
        for one in (unsent, doubted, accepted):
            await add(ledger, one)
            await ledger.release(one.key)
        assert await ledger.find_unattended(API_URL, "ours", EPOCH + 100, 1000) == [accepted.key]
        assert len(await ledger.find_unattended(API_URL, "theirs", EPOCH + 100, 1000)) == 3


async def test_a_task_that_was_put_back_to_work_is_not_put_aside(ledger: Ledger) -> None:
    with closing(ledger):
        doubted, _ = await add(ledger, replace(task(), status=Status.UNCONFIRMED))
        await ledger.resubmit(doubted.key, EPOCH + 1)
        await ledger.release(doubted.key, EPOCH + 60, while_status="unconfirmed")
        assert await ledger.find_unattended(API_URL, "", EPOCH + 2, 100) == [doubted.key]


async def test_an_end_is_final_and_an_id_is_never_replaced(ledger: Ledger) -> None:
    with closing(ledger):
        draft, _ = await add(ledger, task())
        stale = replace(draft, task_id="one", status=Status.PROCESSING)
        ended = await ledger.record(replace(stale, status=Status.COMPLETED, finished_at=EPOCH + 9, video_path="/v.mp4"))
        assert await ledger.record(stale) == ended
        assert await ledger.record(replace(stale, status=Status.FAILED)) == ended
        assert await ledger.record(replace(ended, task_id="two")) == ended
        assert await ledger.get(draft.key) == ended


async def test_a_state_never_goes_back(ledger: Ledger) -> None:
    with closing(ledger):
        draft, _ = await add(ledger, task())
        running = await ledger.record(replace(draft, task_id="one", status=Status.PROCESSING))
        for status in (Status.SUBMITTING, Status.UNCONFIRMED, Status.PENDING):
            assert await ledger.record(replace(running, status=status)) == running
        assert await ledger.get(draft.key) == running


async def test_a_row_that_makes_no_sense_hides_no_other(file_ledger: Ledger, path: Path) -> None:
    with closing(file_ledger):
        rows = [(await add(file_ledger, replace(task(number), task_id=f"id-{number}")))[0] for number in range(6)]
        nonsense = [("status", "'processinh'"), ("video_urls", "'[\"http'"), ("error", "'{}'")]
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("PRAGMA ignore_check_constraints = ON")
            for broken, (column, value) in zip(rows, nonsense, strict=False):
                file.execute(f"UPDATE tasks SET {column} = {value} WHERE key = ?", (broken.key,))  # noqa: S608 - ours
            file.execute("UPDATE tasks SET prompt = CAST(x'ff74' AS TEXT) WHERE key = ?", (rows[3].key,))
        page, cursor = await file_ledger.page("local", "", 100, "")
        assert ([one.key for one in page], cursor) == ([one.key for one in rows[:2:-1]], "")
        with pytest.raises(LedgerUnusable, match=rows[0].key):
            await file_ledger.find("local", "id-0")


async def test_pages_are_stable_while_tasks_come(ledger: Ledger) -> None:
    with closing(ledger):
        for number in range(25):
            await add(ledger, task(number // 3))  # several at the same moment
        seen: list[str] = []
        cursor = ""
        for _ in range(9):
            page, cursor = await ledger.page("local", "", 4, cursor)
            seen += [found.key for found in page]
            await add(ledger, task(1000))
            if not cursor:
                break
    assert len(seen) == len(set(seen)) == 25


async def first_pages(ledger: Ledger) -> None:
    for status in ("", "completed"):
        await ledger.page("local", status, 100, "")


async def test_ten_thousand_tasks_are_listed_by_page_without_reading_them_all(file_ledger: Ledger, path: Path) -> None:
    with closing(file_ledger):
        await add(file_ledger, task())
        made = [replace(task(n), status=Status.FAILED if n % 100 else Status.COMPLETED) for n in range(1, 10_000)]
        with closing(open_database(path)) as db, transaction(db):
            for one in made:
                insert(db, row_of(one) | {"name": one.key})
        found = await plans(path, first_pages)
        assert [plan.split(" (")[0] for plan in found] == [
            "SEARCH tasks USING INDEX tasks_by_age",
            "SEARCH tasks USING INDEX tasks_by_status",
        ]
        for status, number in (("", 10_000), ("completed", 99), ("pending", 0)):
            seen, cursor = await file_ledger.page("local", status, 100, "")
            while cursor:
                page, cursor = await file_ledger.page("local", status, 100, cursor)
                seen += page
            assert len({one.key for one in seen}) == len(seen) == number
            assert [one.created_at for one in seen] == sorted((one.created_at for one in seen), reverse=True)


PRICE = to_micros(0.5)
BUDGET = Limits(budget=to_micros(1))
ENDED: dict[str, Any] = {"status": Status.COMPLETED, "charged": "yes", "finished_at": EPOCH, "task_id": "id"}


async def committed(ledger: Ledger, now: float = EPOCH, price: int = PRICE) -> int:
    return (await ledger.spending("local", API_URL, now, price)).used.committed


@pytest.mark.parametrize(
    ("facts", "counted"),
    [
        ({}, PRICE),
        ({"status": Status.PENDING, "task_id": "id", "charged": "unknown"}, PRICE),
        ({"status": Status.PROCESSING, "task_id": "id", "charged": "unknown"}, PRICE),
        ({"status": Status.UNCONFIRMED, "charged": "unknown", "attempts": 1}, PRICE),
        (ENDED | {"cost_usd": 0.3}, 300_000),
        (ENDED | {"cost_usd": 0.1 + 0.2}, 300_000),
        (ENDED | {"cost_usd": 0.0}, 0),
        (ENDED | {"cost_usd": None}, PRICE),
        (ENDED | {"cost_usd": 2e6}, PRICE),
        (ENDED | {"charged": "unknown", "cost_usd": 0.0}, PRICE),
        (ENDED | {"status": Status.FAILED, "charged": "no"}, 0),
        (ENDED | {"status": Status.FAILED, "charged": "unknown"}, PRICE),
        (ENDED | {"status": Status.FAILED, "cost_usd": 0.2}, 200_000),
        (ENDED | {"status": Status.FAILED, "created_at": EPOCH - 9 * DAY_SECONDS}, PRICE),
        (ENDED | {"finished_at": EPOCH - DAY_SECONDS - 1, "created_at": EPOCH - 2 * DAY_SECONDS}, 0),
        (ENDED | {"finished_at": EPOCH - DAY_SECONDS + 1, "created_at": EPOCH - 9 * DAY_SECONDS}, PRICE),
        ({"created_at": EPOCH - 9 * DAY_SECONDS, "wanted_at": EPOCH - 1}, PRICE),
        ({"created_at": EPOCH - 9 * DAY_SECONDS, "wanted_at": EPOCH - DAY_SECONDS}, 0),
        ({"caller": "ann"}, 0),
    ],
)
async def test_what_was_charged_or_may_be_in_24_hours_counts_against_a_budget(
    ledger: Ledger, facts: dict[str, Any], counted: int
) -> None:
    with closing(ledger):
        await add(ledger, replace(task(), **facts))
        assert await committed(ledger) == counted
        assert await committed(ledger, price=0) == (0 if counted == PRICE else counted)


async def test_a_budget_bounds_what_is_recorded_and_what_is_sent(ledger: Ledger) -> None:
    with closing(ledger):
        one, _ = await ledger.join_or_add(task(1), "one", BUDGET)
        two, _ = await ledger.join_or_add(task(2), "two", BUDGET)
        with pytest.raises(BudgetSpent, match=r"0\.00 USD are left"):
            await ledger.join_or_add(task(3), "three", BUDGET)
        assert (await ledger.join_or_add(task(4), "one", BUDGET))[0].key == one.key, "a join needs no money"
        assert len(await listed(ledger)) == 2
        await ledger.claim([two.key], EPOCH, EPOCH)
        dearer = replace(BUDGET, price=PRICE + 1)
        with pytest.raises(BudgetSpent):
            await ledger.record_sending(replace(two, attempts=1), dearer, EPOCH)
        assert (await ledger.record_sending(replace(two, attempts=1), BUDGET, EPOCH)).attempts == 1


async def test_sums_of_money_are_exact_and_bounded_whatever_a_ledger_holds(ledger: Ledger) -> None:
    with closing(ledger):
        await add(ledger, task())
        made = [replace(task(n), **ENDED | {"task_id": f"id-{n}", "cost_usd": 0.1}) for n in range(1, 10_001)]
        await ledger._store.write(lambda db: [insert(db, row_of(one) | {"name": one.key}) for one in made])
        assert await committed(ledger) == 10_000 * 100_000 + PRICE
        spending = await ledger.spending("local", API_URL, EPOCH)
        assert (spending.today_usd, spending.total_usd) == (1000.0, 1000.0)
        await ledger._store.change("UPDATE tasks SET cost_usd = 1e6 WHERE charged = 'yes'", ())
        assert await committed(ledger) == 10**4 * 10**12 + PRICE
        await ledger._store.change("UPDATE tasks SET cost_usd = ? WHERE charged = 'yes'", (math.inf,))
        assert await committed(ledger) == 10_001 * PRICE


async def test_what_counts_against_a_budget_is_found_by_indexes(file_ledger: Ledger, path: Path) -> None:
    with closing(file_ledger):
        await add(file_ledger, task())
        found = await plans(path, lambda asked: asked.join_or_add(task(2), "two", BUDGET))
    assert not [plan for plan in found if plan.startswith("SCAN tasks")]
    used = {plan.split(" INDEX ")[1].split()[0] for plan in found if " INDEX " in plan}
    assert {"tasks_by_end", "tasks_unended"} <= used


@pytest.mark.parametrize(
    "cursor",
    ["x", "1_", "_", "1_x", f"x_{KEY}", f"nan_{KEY}", f"inf_{KEY}", f"1_{KEY}", f"1.0_{{{KEY}}}", "1; DROP TABLE"],
)
async def test_a_cursor_that_is_not_ours_is_refused(ledger: Ledger, cursor: str) -> None:
    with closing(ledger), pytest.raises(InvalidRequest):
        await ledger.page("local", "", 4, cursor)


async def test_durations_are_those_of_tasks_that_were_watched(ledger: Ledger) -> None:
    with closing(ledger):
        for number, took in enumerate((40.0, 50.0, 90_000.0)):
            draft = replace(task(number), status=Status.COMPLETED, finished_at=EPOCH + number + took)
            await add(ledger, draft)
        assert await ledger.durations("luma-modify-video", API_URL) == [50, 40]
        assert await ledger.durations("another", API_URL) == []
        assert await ledger.durations("luma-modify-video", "https://other.example") == []


async def test_a_failed_write_changes_nothing(ledger: Ledger) -> None:
    with closing(ledger):
        draft, _ = await add(ledger, task())
        with pytest.raises(LedgerUnusable):
            await add(ledger, task(key=draft.key), "another")
        assert await ledger.get(draft.key) == draft


async def test_ended_tasks_are_forgotten_only_when_told_and_the_space_is_freed(file_ledger: Ledger, path: Path) -> None:
    for number in range(400):
        status = Status.COMPLETED if number else Status.PROCESSING
        await add(file_ledger, replace(task(number), status=status, finished_at=EPOCH, source_url="x" * 4000))
    recent, _ = await add(file_ledger, replace(task(2 * DAY_SECONDS), status=Status.COMPLETED))
    await file_ledger.forget(EPOCH + 2 * DAY_SECONDS, 3)
    file_ledger.close()
    full = path.stat().st_size
    await file_ledger.forget(EPOCH + 2 * DAY_SECONDS, 1)
    running = (await file_ledger.page("local", "processing", 10, ""))[0]
    assert [found.key for found in await listed(file_ledger)] == [recent.key, running[0].key]
    file_ledger.close()
    assert path.stat().st_size < full / 10


async def test_a_finished_video_that_is_still_to_be_saved_is_not_forgotten(ledger: Ledger) -> None:
    unsaved = replace(task(), status=Status.COMPLETED, finished_at=EPOCH, wants_file=True, video_urls=("https://x/y",))
    await add(ledger, unsaved)
    await ledger.forget(EPOCH + 2 * DAY_SECONDS, 1)
    assert await listed(ledger) == [unsaved]
    await ledger.forget(EPOCH + 8 * DAY_SECONDS, 1)
    assert await listed(ledger) == []


async def test_tasks_that_have_not_ended_are_counted_by_state(ledger: Ledger) -> None:
    for number in range(6):
        added, _ = await add(ledger, task(number, caller=f"caller {number % 2}"))
        if number:
            status = Status.COMPLETED if number > 3 else Status.PENDING
            await ledger.record_accepted(replace(added, task_id=f"id-{number}", status=status, finished_at=EPOCH))
    assert await ledger.count_unended() == {Status.SUBMITTING: 1, Status.PENDING: 3}


async def test_however_many_have_ended_is_not_looked_at_for_that(path: Path) -> None:
    found = await plans(path, lambda asked: asked.count_unended())
    assert any("USING COVERING INDEX tasks_unended" in step for step in found)
