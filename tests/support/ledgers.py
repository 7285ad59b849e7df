"""What tests do to a ledger and to its file."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from luma_mcp.core.errors import LedgerDamaged, LedgerUnusable
from luma_mcp.core.models import Limits, Task
from luma_mcp.ledger.ledger import Ledger
from tests.support.rig import EPOCH
from tests.support.tasks import task

NO_LIMITS = Limits()
Another = Callable[[], Ledger]
"""Opens one more ledger on the same tasks."""


async def add(ledger: Ledger, draft: Task, name: str = "") -> tuple[Task, bool]:
    """Add a task, under the name of a request if one is given, and take the lease that writing about it needs."""
    added, joined = await ledger.join_or_add(draft, name or draft.key, NO_LIMITS)
    await ledger.claim([added.key], EPOCH, EPOCH)
    return added, joined


async def listed(ledger: Ledger) -> list[Task]:
    """Give the newest tasks of the ledger."""
    return (await ledger.page("local", "", 100, ""))[0]


def damage_index(path: Path) -> None:
    """Write nonsense over the page that listing starts from."""
    with closing(sqlite3.connect(path)) as file:
        (root,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tasks_by_age'").fetchone()
    with path.open("r+b") as content:
        content.seek((root - 1) * 4096)
        content.write(os.urandom(4096))


def aside(path: Path) -> list[Path]:
    """List the files that were kept aside."""
    return sorted(found for found in path.parent.iterdir() if ".damaged-" in found.name and found.name[-1].isdigit())


async def use(path: Path, *, named: bool = False) -> list[Task]:
    """Read and write as a server does."""
    with closing(Ledger.in_file(path, named=named)) as ledger:
        await add(ledger, task())
        return await listed(ledger)


async def refusal(path: Path, *, named: bool = False) -> LedgerUnusable:
    """Find the file refused, for reading and for writing, and left as it is."""
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(LedgerUnusable) as raised:
        await use(path, named=named)
    with closing(Ledger.in_file(path, named=named)) as ledger, pytest.raises(LedgerUnusable):
        await listed(ledger)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert [each.name for each in path.parent.iterdir() if "damaged" in each.name] == []
    assert not isinstance(raised.value, LedgerDamaged)
    return raised.value
