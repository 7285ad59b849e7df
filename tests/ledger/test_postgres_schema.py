"""What the ledger's tables are like in PostgreSQL, and how they come to be so."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

import anyio
import psycopg
import pytest
from psycopg.rows import dict_row

from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.postgres_schema import MIGRATIONS, migrate, translate
from tests.support.ledgers import add, listed
from tests.support.postgres import open_in
from tests.support.tasks import task

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


@pytest.fixture
def ledger(url: str) -> Generator[Ledger]:
    with closing(open_in(url)) as opened:
        yield opened


async def test_many_servers_may_start_on_an_empty_database_at_once(url: str) -> None:
    ledgers = [open_in(url) for _ in range(8)]
    async with anyio.create_task_group() as group:
        for ledger in ledgers:
            group.start_soon(ledger.page, "local", "", 10, "")
    for ledger in ledgers:
        ledger.close()


async def test_versions_that_differ_by_one_work_together_and_others_do_not(url: str, ledger: Ledger) -> None:
    kept, _ = await add(ledger, task())
    newer = (*MIGRATIONS, "ALTER TABLE tasks ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'")
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as db:
        migrate(db, "luma_mcp", newer)
        assert (await ledger.record(replace(kept, attempts=3))).attempts == 3
        with closing(open_in(url)) as started_later:
            assert (await add(started_later, task(2)))[1] is False
        migrate(db, "luma_mcp", (*newer, "ALTER TABLE tasks ADD COLUMN tone TEXT"))
    with closing(open_in(url)) as too_old, pytest.raises(LedgerUnusable, match="much newer"):
        await listed(too_old)


async def test_the_sandbox_has_tables_of_its_own(url: str, ledger: Ledger) -> None:
    await add(ledger, task())
    with closing(open_in(url, "luma_mcp_sandbox")) as sandbox:
        assert await listed(sandbox) == []


def test_a_statement_is_put_for_postgresql() -> None:
    sql = """
        SELECT a FROM tasks INDEXED BY tasks_free -- a comment: with words?
        WHERE b = :b AND key IN (SELECT value FROM json_each(:keys)) AND c = ?"""
    assert (
        translate(sql).split()
        == (
            b"SELECT a FROM tasks WHERE b = %(b)s AND key IN (SELECT value FROM"
            b" json_array_elements_text(CAST(%(keys)s AS JSON)) AS listed (value)) AND c = %s"
        ).split()
    )
