"""Which finished results have reached a caller: only of those may a repeated call make, and charge, another one."""

import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
from mcp.types import RequestId

from luma_mcp import crash_points
from luma_mcp.errors import LumaError
from luma_mcp.ledger import Ledger
from luma_mcp.models import Task

LEAVING_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Way:
    """The way of answers to a client; here nothing ever gets stuck or lost."""

    def has_sent(self, request: RequestId | None) -> bool:
        """Tell whether the answer to a request was sent."""
        return True

    def is_lost(self, request: RequestId | None) -> bool:
        """Tell whether the answer to a request will never arrive."""
        return False

    @contextmanager
    def answering(self) -> Generator[None]:
        """Answer a request of the client's inside."""
        yield

    def is_read_before_more_is_asked(self) -> bool:
        """Tell whether a caller that asks for something else has read what was sent."""
        return True

    def is_clear(self) -> bool:
        """Tell whether the client has read what was sent, as far as anybody can know."""
        return True


@dataclass(frozen=True, slots=True)
class Handed:
    """An answer on its way to a caller."""

    caller: str
    way: Way
    request: RequestId | None


class Deliveries:
    """Results that were handed over as answers, until it is clear that they reached their callers.

    An answer that was sent has arrived when its caller asks for another video, or when a second has passed and the way
    to the client is clear.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: Counter[str] = Counter()
        self._given_up: set[str] = set()
        self._handed: dict[str, Handed] = {}

    @property
    def waiting(self) -> int:
        """Count the calls that wait for a task."""
        return self._waiting.total()

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

    def handed(self, task: Task, way: Way, request: RequestId | None) -> None:
        """Note that a task was given as the answer to an open request that came on some way."""
        if task.status.done and not task.delivered and task.key not in self._given_up:
            self._handed[task.key] = Handed(task.caller, way, request)

    def sent_to(self, caller: str) -> list[str]:
        """List what was sent to a caller and has arrived if the caller asks for something else now."""
        own = [key for key in self._sent() if self._handed[key].caller == caller]
        return [key for key in own if self._handed[key].way.is_read_before_more_is_asked()]

    def _sent(self) -> list[str]:
        return [key for key, handed in self._handed.items() if handed.way.has_sent(handed.request)]

    def _arrived(self, sent: list[str]) -> list[str]:
        return [key for key in sent if key in self._handed and self._handed[key].way.is_clear()]

    def _lost(self) -> list[str]:
        return [key for key, handed in self._handed.items() if handed.way.is_lost(handed.request)]

    def forget(self, keys: list[str]) -> None:
        """Stop looking after results whose delivery is written down."""
        for key in keys:
            self._handed.pop(key, None)

    async def leave(self) -> None:
        """Count what was sent as delivered at the end, if the way to its client is clear."""
        with anyio.move_on_after(LEAVING_SECONDS, shield=True):
            await self.deliver(self._arrived(self._sent()))

    async def attend(self) -> None:
        """Look after what was handed over, for ever."""
        while True:
            before = self._sent()
            await anyio.sleep(LEAVING_SECONDS)
            self.forget(self._lost())
            await self.deliver(self._arrived(before))

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
