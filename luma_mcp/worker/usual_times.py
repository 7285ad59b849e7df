"""How long tasks take, learnt from the ledger for all who ask, and read again every few seconds."""

import math

import anyio

from luma_mcp.core.models import MODEL
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.worker.polling import DOCUMENTED, DurationProfile, duration_profile

KEPT_SECONDS = 5.0


class UsualTimes:
    """Gives the profile of the newest finished tasks; a thousand who ask at once cost one look."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._profile = DOCUMENTED
        self._reading = anyio.Lock()
        self._until = -math.inf

    async def profile(self) -> DurationProfile:
        """Give the usual times of now, or of up to `KEPT_SECONDS` ago; raise `LedgerUnusable`."""
        if anyio.current_time() < self._until:
            return self._profile
        async with self._reading:
            if anyio.current_time() >= self._until:
                self._profile = duration_profile(await self._ledger.durations(MODEL))
                self._until = anyio.current_time() + KEPT_SECONDS
        return self._profile
