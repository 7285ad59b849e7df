"""What the tasks on disk add up to."""

from luma_mcp.ledger_file import LedgerFile
from luma_mcp.ledger_queries import ACTIVE, SPENT, SUBMITTED
from luma_mcp.ledger_records import LARGEST_AMOUNT
from luma_mcp.ledger_rows import ages
from luma_mcp.models import DAY_SECONDS
from luma_mcp.money import PRICE_USD, Spending


class LedgerSums:
    """Sums over a caller's tasks. Every method raises `LedgerUnusable` when the file cannot be used."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    async def spending(self, caller: str, origin: str, now: float) -> Spending:
        """Add up what a caller spent at an origin since midnight (UTC) and in all, and count tasks against the limits.

        Where RunAPI did not report a charge, the documented price counts.
        """
        facts = {"caller": caller, "origin": origin, "price": PRICE_USD, "midnight": now - now % DAY_SECONDS}
        spent = (await self._file.read(SPENT, facts | {"largest": LARGEST_AMOUNT}))[0]
        active = (await self._file.read(ACTIVE, ages(caller, now)))[0][0]
        submitted = (await self._file.read(SUBMITTED, ages(caller, now)))[0][0]
        return Spending(float(spent["today"]), float(spent["total"]), active, submitted)
