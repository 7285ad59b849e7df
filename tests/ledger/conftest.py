"""A ledger in every test's home."""

from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.schema import create_database
from tests.support.ledgers import Another
from tests.support.postgres import PostgresServer, postgres_ledgers


@pytest.fixture
def path(home: Path) -> Path:
    return home / "data" / "tasks.sqlite3"


@pytest.fixture
def found(path: Path) -> Path:
    """Let there be a ledger already."""
    path.parent.mkdir()
    create_database(path)
    return path


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """Give the address of an empty database."""
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgres"])
def another(request: pytest.FixtureRequest, path: Path) -> Another:
    """Give what opens one more ledger on the same tasks, as another server does."""
    if request.param == "sqlite":
        return partial(Ledger.in_file, path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return postgres_ledgers(server)


@pytest.fixture
def ledger(path: Path) -> Generator[Ledger]:
    with closing(Ledger.in_file(path)) as opened:
        yield opened
