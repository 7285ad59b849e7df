"""When each of many things is due: one that waits costs its place in a heap, and nothing else."""

import math
from heapq import heappop, heappush

import anyio

from luma_mcp.core.concurrency import Pause


class Schedule:
    """Gives each key when it is due, the one that is due longest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}  # an entry of the heap with another time counts no more
        self._earlier = Pause()

    def add(self, key: str, seconds: float) -> None:
        """Have a key due in some seconds, instead of when it was before."""
        due = anyio.current_time() + seconds
        self._due[key] = due
        heappush(self._heap, (due, key))
        if self._heap[0] == (due, key):
            self._earlier.cut_short()

    def hasten(self, key: str, seconds: float) -> None:
        """Have a key that waits due in some seconds, unless it is due earlier anyway."""
        if anyio.current_time() + seconds < self._due.get(key, -math.inf):
            self.add(key, seconds)

    def remove(self, key: str) -> bool:
        """Take a key out, and tell whether it was there."""
        return self._due.pop(key, None) is not None

    def count(self) -> tuple[int, int]:
        """Count the keys that are due, and all that are there."""
        now = anyio.current_time()
        return sum(due <= now for due in self._due.values()), len(self._due)

    async def next(self) -> str:
        """Wait until a key is due, and take it out."""
        while True:
            while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
                heappop(self._heap)
            wait = self._heap[0][0] - anyio.current_time() if self._heap else math.inf
            if wait <= 0:
                _, key = heappop(self._heap)
                del self._due[key]
                return key
            await self._earlier.wait(wait)


class Rate:
    """Lets at most so many through in a second, evenly spaced, each after the one before."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._interval = 1 / per_second
        self._next = 0.0

    def share(self, servers: int) -> None:
        """Let through what is left of the rate for each of so many servers."""
        self._interval = max(1, servers) / self._per_second

    async def wait(self) -> None:
        """Wait for one's turn."""
        now = anyio.current_time()
        turn = max(now, self._next)
        self._next = turn + self._interval
        if turn > now:
            await anyio.sleep(turn - now)
