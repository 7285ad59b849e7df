"""The ledger in PostgreSQL: what only a database has, which goes away and comes back, and which others use too."""

import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from luma_mcp.core import failpoints
from luma_mcp.core.errors import LedgerUnusable, LimitReached
from luma_mcp.core.models import Change, LedgerPosition, Limits, Status, Task
from luma_mcp.ledger import postgres
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.postgres import PostgresStore, change_of
from tests.support.ledgers import NO_LIMITS, add, listed
from tests.support.postgres import PASSWORD, PostgresServer, open_in
from tests.support.rig import EPOCH
from tests.support.tasks import task

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


@pytest.fixture
def ledger(url: str) -> Generator[Ledger]:
    with closing(open_in(url)) as opened:
        yield opened


def other_session(url: str) -> psycopg.Connection[dict[str, Any]]:
    """Connect as somebody else does, to the same tables."""
    db = psycopg.connect(url, autocommit=True, row_factory=dict_row)
    db.execute("SET search_path = luma_mcp")
    return db


async def test_a_database_that_goes_away_and_comes_back_has_lost_nothing(own_server: PostgresServer) -> None:
    with closing(open_in(own_server.new_database())) as ledger:
        kept, _ = await add(ledger, task())
        own_server.crash()
        with anyio.fail_after(20):
            for work in (partial(ledger.get, kept.key), partial(ledger.record, kept), ledger.check_writable):
                with pytest.raises(LedgerUnusable, match=r"PostgreSQL at 127\.0\.0\.1") as raised:
                    await work()
                assert PASSWORD not in f"{raised.value!r} {raised.value.message} {raised.value.hint}"
                assert raised.value.charged == "no"
        own_server.start()
        assert await ledger.get(kept.key) == kept
        assert (await ledger.record(replace(kept, attempts=1))).attempts == 1


async def test_connections_that_were_cut_are_opened_anew_without_anybody_noticing(url: str, ledger: Ledger) -> None:
    kept, _ = await add(ledger, task())
    with other_session(url) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert await ledger.get(kept.key) == kept
    with other_session(url) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert (await ledger.record(replace(kept, attempts=2))).attempts == 2


async def test_what_may_have_been_committed_is_called_unknown(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_before_the_commit(point: str) -> None:
        if point == "ledger.written":
            own_server.crash()

    with closing(open_in(own_server.new_database())) as ledger:
        kept, _ = await add(ledger, task())
        monkeypatch.setattr(failpoints, "reach", stop_before_the_commit)
        with pytest.raises(LedgerUnusable) as raised:
            await ledger.record(replace(kept, attempts=1))
        assert raised.value.charged == "unknown"


async def test_two_that_lock_each_other_out_are_both_written(url: str, ledger: Ledger) -> None:
    one, _ = await add(ledger, task(1))
    two, _ = await add(ledger, task(2))
    both_hold, told = threading.Barrier(2), list[str]()

    def in_the_other_order() -> None:
        with other_session(url) as db, db.transaction():
            db.execute("SET LOCAL deadlock_timeout = '10s'")  # so that ours is the one that is undone
            db.execute("UPDATE tasks SET failures = 1 WHERE key = %s", (two.key,))
            both_hold.wait(10)
            db.execute("UPDATE tasks SET failures = 1 WHERE key = %s", (one.key,))

    def in_this_order(db: Any) -> None:
        told.append("begun")
        db.execute("UPDATE tasks SET attempts = 1 WHERE key = ?", (one.key,))
        if len(told) == 1:
            both_hold.wait(10)
        db.execute("UPDATE tasks SET attempts = 1 WHERE key = ?", (two.key,))

    other = threading.Thread(target=in_the_other_order)
    other.start()
    await ledger._store.write(in_this_order)
    other.join()
    assert told == ["begun", "begun"]
    assert [(row.attempts, row.failures) for row in await listed(ledger)] == [(1, 1), (1, 1)]


async def test_a_limit_holds_however_many_servers_add_at_once(url: str) -> None:
    """Each server adds without waiting for the others, as tasks of one caller."""
    made, refused = list[Task](), list[LimitReached]()

    async def submit(ledger: Ledger, number: int) -> None:
        try:
            made.append((await ledger.join_or_add(task(number), f"r{number}", Limits(7)))[0])
        except LimitReached as error:
            refused.append(error)

    ledgers = [open_in(url) for _ in range(4)]
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(submit, ledgers[number % 4], number)
    for ledger in ledgers:
        ledger.close()
    assert (len(made), len(refused)) == (7, 33)


async def test_two_servers_take_up_what_is_free_without_taking_anything_twice(url: str, ledger: Ledger) -> None:
    keys = [(await ledger.join_or_add(task(number), f"r{number}", NO_LIMITS))[0].key for number in range(60)]
    taken = dict[int, set[str]]()

    async def claim(number: int, other: Ledger) -> None:
        taken[number] = await other.claim(keys if number % 2 else keys[::-1], EPOCH, EPOCH + 15)

    others = [open_in(url) for _ in range(4)]
    async with anyio.create_task_group() as group:
        for number, other in enumerate(others):
            group.start_soon(claim, number, other)
    for other in others:
        other.close()
    assert sum(map(len, taken.values())) == len(set().union(*taken.values()))
    assert sum(map(len, taken.values())) == len(keys)


END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


async def test_the_tasks_of_a_server_that_is_gone_are_free_at_once_and_of_one_that_is_not_only_when_it_is_silent(
    url: str, ledger: Ledger
) -> None:
    kept, _ = await add(ledger, task())
    with closing(open_in(url)) as other:
        assert await ledger.claim([kept.key], EPOCH, EPOCH + 15) == {kept.key}
        await other.free_tasks_of_silent_servers(EPOCH + 1)
        assert await ledger.leased() == [kept.key]
        with other_session(url) as db:
            db.execute(END_SESSIONS)
        await other.free_tasks_of_silent_servers(EPOCH + 1)
        assert (await ledger.leased(), await other.count_servers(EPOCH + 1)) == ([], 0)
        await ledger.say_alive(EPOCH + 16)
        assert await other.count_servers(EPOCH + 1) == 1, "it has connected again"


async def test_a_server_that_stands_still_in_a_transaction_holds_nobody_up_for_long(url: str, ledger: Ledger) -> None:
    kept, _ = await add(ledger, task())
    with closing(open_in(url)) as other:
        assert await other.get(kept.key) == kept
        stuck = other_session(url)
        stuck.execute("SET idle_in_transaction_session_timeout = '1s'")  # ours: five
        stuck.execute("BEGIN")
        stuck.execute("SELECT pg_advisory_xact_lock(hashtext('luma_mcp.limits'))")
        _, joined = await other.join_or_add(task(2), "another", NO_LIMITS)
        assert not joined
        stuck.close()


async def test_what_another_server_changes_is_heard_in_order_and_once(url: str, ledger: Ledger) -> None:
    with closing(open_in(url)) as other:
        start, changed = await ledger.changes(None)
        assert changed == []
        one, _ = await add(other, task())
        accepted = await other.record(replace(one, task_id="id", status=Status.PENDING))
        await other.record(replace(accepted, updated_at=EPOCH + 3))
        await other.record(replace(accepted, updated_at=EPOCH + 3))
        now, changed = await heard(ledger, start, 3)
        assert changed == [
            Change("local", "", listed=False, key=one.key),
            Change("local", "id", listed=True, key=one.key),
            Change("local", "id", listed=False, key=one.key),
        ]
        await other.record(replace(accepted, status=Status.FAILED, updated_at=EPOCH))
        await other.forget(EPOCH + 9e6, 1)
        _, changed = await heard(ledger, now, 2)
        assert changed[-1] == Change("local", None, listed=True)


async def heard(ledger: Ledger, since: LedgerPosition, number: int) -> tuple[LedgerPosition, list[Change]]:
    """Listen until so many changes were heard of."""
    changed = list[Change]()
    with anyio.fail_after(10):
        while len(changed) < number:
            since, more = await ledger.changes(since)
            changed += more
    return since, changed


async def test_whoever_could_not_listen_is_told_that_anything_may_have_changed(url: str, ledger: Ledger) -> None:
    start, _ = await ledger.changes(None)
    with other_session(url) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'", ())
    with pytest.raises(LedgerUnusable):
        await heard(ledger, start, 1)
    later, changed = await ledger.changes(start)
    assert changed == [Change(None, None, listed=True)]
    await ledger.stop_watching()
    assert (await ledger.changes(later))[1] == [Change(None, None, listed=True)]


async def test_what_a_cancelled_call_has_heard_is_not_lost(url: str, ledger: Ledger) -> None:
    start, _ = await ledger.changes(None)
    with closing(open_in(url)) as other:
        await add(other, task())
    await heard(ledger, start, 1)  # as by a call whose answer nobody had
    now, changed = await ledger.changes(start)
    assert changed == [Change(None, None, listed=True)]
    assert (await ledger.changes(now))[1] == []


async def test_a_question_that_takes_too_long_fails_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "BOUNDS", postgres.BOUNDS.replace("'4s'", "'50ms'"))
    answers = list[str]()
    with closing(PostgresStore(SecretStr(url), "luma_mcp")) as store:

        async def ask(seconds: int) -> None:
            try:
                await store.read("SELECT pg_sleep(?)", (seconds,))
                answers.append("an answer")
            except LedgerUnusable as error:
                answers.append(error.message)

        async with anyio.create_task_group() as group:
            for seconds in (60, 0):
                group.start_soon(ask, seconds)
    assert len(answers) == 2
    assert answers.count("an answer") == 1
    assert any("statement timeout" in each for each in answers)


async def test_who_does_not_listen_keeps_nothing_waiting_in_the_database(url: str, ledger: Ledger) -> None:
    await ledger.changes(None)
    await ledger.stop_watching()
    listening = "SELECT count(*) AS sessions FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    with other_session(url) as db, anyio.fail_after(10):
        while db.execute(listening).fetchone() != {"sessions": 0}:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("payload", ["", "x", "[]", "{}", '{"caller": "a"}', "null"])
def test_a_notice_that_is_none_of_ours_means_that_anything_may_have_changed(payload: str) -> None:
    assert change_of(payload) == Change(None, None, listed=True)


async def test_an_account_without_rights_or_a_database_that_is_not_there_is_said_without_the_password(
    postgres: PostgresServer,
) -> None:
    for address in (postgres.url("nowhere"), postgres.url("postgres").replace(PASSWORD, "wrong-password")):
        with closing(open_in(address)) as ledger, pytest.raises(LedgerUnusable) as raised:
            await listed(ledger)
        said = f"{raised.value.message} {raised.value.hint} {raised.value!r}"
        assert "cannot be used" in said
        assert not {PASSWORD, "wrong-password"} & set(said.split())


async def test_a_database_for_reading_only_takes_no_task(url: str, ledger: Ledger) -> None:
    await add(ledger, task())
    ledger.close()
    with other_session(url) as db:
        name = url.rpartition("/")[2]
        db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    with pytest.raises(LedgerUnusable, match="read-only"):
        await ledger.check_writable()
    assert len(await listed(ledger)) == 1
