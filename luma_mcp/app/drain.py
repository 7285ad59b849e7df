"""The requests being answered, and how the end of a server waits for them."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio

from luma_mcp.core.concurrency import Signal

QUIET_SECONDS = 0.3
MAX_STALL_SECONDS = 1.0


class ActiveRequests:
    """Counts the requests being answered. Once `draining` is set, whoever waits answers with how things stand."""

    def __init__(self) -> None:
        self.draining = anyio.Event()
        self._under_way = 0
        self._changed = Signal()

    @contextmanager
    def track_request(self) -> Generator[None]:
        self._change_active(1)
        try:
            yield
        finally:
            self._change_active(-1)

    async def wait_until_idle(self) -> None:
        """Wait until no request was under way for `QUIET_SECONDS`, or none began or ended for `MAX_STALL_SECONDS`.

        The quiet moment is what a client needs to read an answer and ask for more.
        """
        while True:
            with anyio.move_on_after(MAX_STALL_SECONDS if self._under_way else QUIET_SECONDS) as still:
                await self._changed.wait()
            if still.cancelled_caught:
                return

    def _change_active(self, difference: int) -> None:
        self._under_way += difference
        self._changed.give()
