"""Requests that are being answered, and how that comes to an end."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio

QUIET_SECONDS = 0.3
STUCK_SECONDS = 1.0


class Answering:
    """Counts the requests under way. Once `ending` is set, whoever waits should answer with how things stand."""

    def __init__(self) -> None:
        self.ending = anyio.Event()
        self._under_way = 0
        self._changed = anyio.Event()

    @contextmanager
    def under_way(self) -> Generator[None]:
        """Answer a request inside."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    async def quiet(self) -> None:
        """Wait until nothing is being answered, for as long as a client needs to ask for more, or nothing comes on."""
        while True:
            with anyio.move_on_after(STUCK_SECONDS if self._under_way else QUIET_SECONDS) as still:
                await self._changed.wait()
            if still.cancelled_caught:
                return

    def _count(self, difference: int) -> None:
        self._under_way += difference
        self._changed.set()
        self._changed = anyio.Event()
