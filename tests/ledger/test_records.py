"""How a task is laid out as a row, and what a row must be like to be a task, whoever wrote it."""

import json
import sqlite3
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from luma_mcp.core.errors import Conflict
from luma_mcp.core.models import Status, Task
from luma_mcp.ledger.records import MAX_STORED_URLS, Row, is_key, is_url, is_valid_row, row_of, task_of
from luma_mcp.ledger.schema import MIGRATIONS, configure_connection, run
from tests.support.rig import EPOCH
from tests.support.tasks import task

TROUBLED = replace(
    task(1),
    task_id="a-1",
    status=Status.UNCONFIRMED,
    charged="unknown",
    error=Conflict("RunAPI holds it.").failure(),
    video_urls=("https://a.example/v.mp4",),
    file_name="fog.mp4",
    sent_at=EPOCH,
    cost_usd=0.5,
    source_bytes=7,
)
FAILURE = json.loads(str(row_of(TROUBLED)["error"]))


@pytest.fixture
def db() -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as opened:
        configure_connection(opened)
        run(opened, MIGRATIONS)
        opened.execute("PRAGMA ignore_check_constraints = ON")
        yield opened


def stored(db: sqlite3.Connection, row: Row) -> sqlite3.Row:
    """Write a row, whatever the checks say, and read it."""
    row = row | {"name": "n"}
    db.execute(f"INSERT INTO tasks ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))  # noqa: S608 - ours
    found: sqlite3.Row = db.execute("SELECT * FROM tasks").fetchone()
    return found


@pytest.mark.parametrize("one", [task(), TROUBLED], ids=["new", "troubled"])
def test_a_task_is_read_back_as_it_was_laid_out(db: sqlite3.Connection, one: Task) -> None:
    assert task_of(stored(db, row_of(one))) == one


def test_what_went_wrong_takes_its_charge_from_the_tasks_own_column(db: sqlite3.Connection) -> None:
    read = task_of(stored(db, row_of(TROUBLED) | {"charged": "yes"}))
    assert (read.charged, read.error and read.error.charged) == ("yes", "yes")
    assert "charged" not in FAILURE


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("key", "../x"),
        ("prompt", "x" * 40_001),
        ("origin", "a\nb"),
        ("task_id", "a/b"),
        ("watermark", 2),
        ("created_at", 9e999),
        ("finished_at", 1e15),
        ("cost_usd", 1e9),
        ("cost_usd", -0.5),
        ("attempts", 1 << 51),
        ("status", "paid"),
        ("charged", "maybe"),
        ("video_urls", "{}"),
        ("video_urls", "[" * 100_000),
        ("error", "{}"),
        ("error", json.dumps(FAILURE | {"code": "unheard_of"})),
        ("error", json.dumps(FAILURE | {"retry_safe": 1})),
        ("error", json.dumps(FAILURE | {"more": 1})),
    ],
)
def test_a_row_that_this_server_cannot_have_written_is_no_task(db: sqlite3.Connection, column: str, value: Any) -> None:
    assert not is_valid_row(stored(db, row_of(TROUBLED) | {column: value}))


@pytest.mark.parametrize("name", ["../up.mp4", "CON.mp4", "x.sh", ".hidden.mp4", "a\0b.mp4", "x" * 300 + ".mp4"])
def test_a_file_name_that_no_caller_could_have_chosen_is_passed_over_and_the_task_counts(
    db: sqlite3.Connection, name: str
) -> None:
    assert task_of(stored(db, row_of(TROUBLED) | {"file_name": name})).file_name == ""


def test_of_stored_addresses_those_count_that_can_be_meant_and_a_hundred_at_most(db: sqlite3.Connection) -> None:
    good = [f"https://a.example/{number}" for number in range(MAX_STORED_URLS + 5)]
    urls = json.dumps(["file:///etc/passwd", 5, *good])
    assert task_of(stored(db, row_of(TROUBLED) | {"video_urls": urls})).video_urls == tuple(good[:MAX_STORED_URLS])


def test_stored_words_direct_no_terminal_and_are_bounded(db: sqlite3.Connection) -> None:
    error = json.dumps(FAILURE | {"message": "\x1b[2J" + "x" * 6000, "hint": "a\u202eb"})
    read = task_of(stored(db, row_of(TROUBLED) | {"error": error}))
    assert read.error
    assert read.error.message == " [2J" + "x" * 4996
    assert read.error.hint == "a b"


def test_keys_are_uuids_as_this_server_writes_them() -> None:
    key = "550e8400-e29b-41d4-a716-446655440000"
    assert is_key(key)
    assert not any(map(is_key, (key.upper(), f"{{{key}}}", key.replace("-", ""), "", 5, None)))


def test_an_address_is_of_the_web_printable_and_bounded() -> None:
    assert is_url("HTTPS://a.example/v.mp4")
    assert not any(map(is_url, ("ftp://a.example", "https://a\n", "https://" + "x" * 8200, b"https://a", None)))
