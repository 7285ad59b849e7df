"""Which finished results have reached a caller: only of those may a repeated call make, and charge, another one."""

import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import anyio
from mcp.types import RequestId

from luma_mcp import crash_points
from luma_mcp.errors import LumaError
from luma_mcp.ledger import Ledger
from luma_mcp.models import Task

LEAVING_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Way:
    """The way of answers to their callers; here nothing ever gets stuck."""

    def has_sent(self, request: RequestId | None) -> bool:
        """Tell whether the answer to a request was sent."""
        return True

    def is_clear(self) -> bool:
        """Tell whether the callers have read what was sent, as far as anybody can know."""
        return True


class Deliveries:
    """Results that were handed over as answers, until it is clear that they reached their callers.

    An answer that was sent has arrived when its caller asks for another video, or when a second has passed and the way
    to the caller is clear.
    """

    def __init__(self, ledger: Ledger, way: Way) -> None:
        self._ledger = ledger
        self._way = way
        self._waiting: Counter[str] = Counter()
        self._given_up: set[str] = set()
        self._handed: dict[str, tuple[str, RequestId | None]] = {}

    @contextmanager
    def call(self, key: str) -> Generator[None]:
        """Be a call that waits for a task.

        A second one at the same time shows that its caller has given up on the first, without a word: then nobody knows
        which of their answers anyone reads.
        """
        if self._waiting[key]:
            self._given_up.add(key)
        else:
            self._given_up.discard(key)
        self._waiting[key] += 1
        try:
            yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def handed(self, task: Task, request: RequestId | None) -> None:
        """Note that a task was given as the answer to an open request."""
        if task.status.done and not task.delivered and task.key not in self._given_up:
            self._handed[task.key] = (task.caller, request)

    def sent_to(self, caller: str) -> list[str]:
        """List what was sent to a caller: it has arrived if the caller asks for something else now."""
        return [key for key in self._sent() if self._handed[key][0] == caller]

    def _sent(self) -> list[str]:
        return [key for key, (_, request) in self._handed.items() if self._way.has_sent(request)]

    def forget(self, keys: list[str]) -> None:
        """Stop looking after results whose delivery is written down."""
        for key in keys:
            self._handed.pop(key, None)

    async def leave(self) -> None:
        """Count what was sent as delivered at the end, if the way to the callers is clear."""
        if self._way.is_clear():
            with anyio.move_on_after(LEAVING_SECONDS, shield=True):
                await self.deliver(self._sent())

    async def attend(self) -> None:
        """Look after what was handed over, for ever."""
        while True:
            before = self._sent()
            await anyio.sleep(LEAVING_SECONDS)
            if self._way.is_clear():
                await self.deliver([key for key in before if key in self._handed])

    async def deliver(self, keys: list[str]) -> None:
        """Write down that these results have reached a caller."""
        if not keys:
            return
        try:
            crash_points.reach("delivery.noting")
            await self._ledger.deliver(keys)
            crash_points.reach("delivery.noted")
        except LumaError as error:
            logger.warning("The delivery of a result was not noted: %s", error.message)
            return
        self.forget(keys)
