"""What both stores do with jobs: each stands or falls by itself."""

import sqlite3
from collections.abc import Generator
from contextlib import closing
from typing import Any

import pytest

from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.ledger.batches import Job
from luma_mcp.ledger.errors import LeaseLost
from luma_mcp.ledger.store import Connection, Write, do_each, fail_all

VALUE_ERRORS = (sqlite3.IntegrityError,)


@pytest.fixture
def db() -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.execute("CREATE TABLE words (word TEXT PRIMARY KEY)")
        opened.execute("BEGIN")
        yield opened


def unusable(error: Exception) -> LedgerUnusable:
    return LedgerUnusable(f"because of {error}")


def say(db: Connection, word: str, error: Exception | None = None) -> str:
    db.execute("INSERT INTO words VALUES (?)", (word,))
    if error:
        raise error
    return word


def job(*arguments: Any) -> Job[Write]:
    return Job(Write(lambda db: say(db, *arguments), heeding=False))


def words(db: sqlite3.Connection) -> list[str]:
    return [word for (word,) in db.execute("SELECT word FROM words ORDER BY rowid")]


@pytest.mark.parametrize("error", [LeaseLost("key"), ValueError("no"), LedgerUnusable("no")])
def test_what_a_job_has_written_is_undone_when_it_fails_and_that_alone(
    db: sqlite3.Connection, error: Exception
) -> None:
    jobs = [job("one"), job("two", error), job("three")]
    done = do_each(db, jobs, VALUE_ERRORS, unusable)
    assert [result for _, result in done] == ["one", "three"]
    assert (jobs[1].error, words(db)) == (error, ["one", "three"])


def test_a_value_that_the_store_refuses_is_the_fault_of_its_job_alone(db: sqlite3.Connection) -> None:
    jobs = [job("one"), job("one"), job("two")]
    do_each(db, jobs, VALUE_ERRORS, unusable)
    assert isinstance(jobs[1].error, LedgerUnusable)
    assert words(db) == ["one", "two"]


def test_an_error_of_the_store_itself_is_raised_for_all(db: sqlite3.Connection) -> None:
    jobs = [job("one"), Job(Write(lambda db: db.execute("SELECT * FROM nowhere"), heeding=False))]
    with pytest.raises(sqlite3.OperationalError):
        do_each(db, jobs, VALUE_ERRORS, unusable)
    assert not any(each.done for each in jobs)


def test_each_caller_gets_an_error_of_its_own() -> None:
    jobs = [job("one"), job("two")]
    shared = LedgerUnusable("full", hint="free some", charged="unknown")
    fail_all(jobs, shared)
    errors = [each.error for each in jobs]
    assert errors[0] is not errors[1] is not shared
    assert [(str(each), getattr(each, "hint", ""), getattr(each, "charged", "")) for each in errors] == [
        ("full", "free some", "unknown")
    ] * 2
