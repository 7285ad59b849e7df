"""How long tasks take, learnt from the ledger for all who ask, and read again every few seconds."""

import math

import anyio

from luma_mcp.core.models import MODEL
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.polling import DurationProfile, duration_profile

KEPT_SECONDS = 5.0


class UsualTimes:
    """Gives how long tasks take; a thousand who ask at once cost one look at the ledger."""

    def __init__(self, ledger: Ledger, runapi: RunAPI) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._durations: list[float] = []
        self._reading = anyio.Lock()
        self._until = -math.inf

    async def profile(self) -> DurationProfile:
        """Give the usual times of now, or of up to `KEPT_SECONDS` ago; raise `LedgerUnusable`."""
        if anyio.current_time() >= self._until:
            async with self._reading:
                await self._read_if_old()
        return duration_profile(self._durations, self._runapi.told_seconds)

    async def _read_if_old(self) -> None:
        if anyio.current_time() >= self._until:
            self._durations = await self._ledger.durations(MODEL, self._runapi.origin)
            self._until = anyio.current_time() + KEPT_SECONDS
