"""A ledger in every test's home."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.schema import create_database


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
def ledger(path: Path) -> Generator[Ledger]:
    with closing(Ledger.in_file(path)) as opened:
        yield opened
