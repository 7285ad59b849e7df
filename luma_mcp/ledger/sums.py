"""What the tasks on disk add up to."""

from luma_mcp.core.models import DAY_SECONDS
from luma_mcp.core.money import PRICE_USD, Spending
from luma_mcp.ledger.database import LedgerFile
from luma_mcp.ledger.queries import ACTIVE, SPENT, SUBMITTED
from luma_mcp.ledger.records import LARGEST_AMOUNT
from luma_mcp.ledger.rows import ages


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
