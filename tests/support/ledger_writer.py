"""A process that adds tasks to a ledger and says what came of each.

Usage: python -m tests.support.ledger_writer LEDGER FIRST COUNT
"""

import sys
from contextlib import closing, suppress
from pathlib import Path

import anyio

from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.ledger.ledger import Ledger
from tests.support.ledgers import NO_LIMITS
from tests.support.tasks import task

WRITTEN = "written"


async def write(path: Path, first: int, count: int) -> None:
    """Add tasks one after the other, and read them."""
    with closing(Ledger.in_file(path)) as ledger:
        for number in range(first, first + count):
            draft = task(number)
            try:
                await ledger.join_or_add(draft, draft.request.prompt, NO_LIMITS)
            except LedgerUnusable as error:
                print(error.charged, draft.key, error.message, flush=True)
            else:
                print(WRITTEN, draft.key, flush=True)
            with suppress(LedgerUnusable):
                await ledger.page("local", "", 10, "")


if __name__ == "__main__":
    anyio.run(write, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
