"""Places for a few at a time, taken in turns, so that what takes long keeps nobody waiting for its end."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio


@dataclass(eq=False, slots=True)
class Turn:
    """A turn of a worker, who works inside `scope`, which is cancelled when others wait for the place."""

    seconds: float  # how long it lasts even if others wait
    due_at: float  # who is due earlier gets a free place first
    ends_at: float = math.inf  # until it has begun
    begun: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Turns:
    """Gives out places, first come, first served.

    A turn that is over ends when somebody waits for its place, and not before; of several, the one that is over
    longest. Whoever comes back gets a turn twice as long, and waits for it like one who comes a turn later: else
    who comes for a moment would end the turns of all, who would end each other's.
    """

    def __init__(self, places: int, seconds: float) -> None:
        self._places = places
        self._seconds = seconds
        self._having: list[Turn] = []
        self._waiting: list[Turn] = []

    @asynccontextmanager
    async def turn(self, earlier: int) -> AsyncGenerator[anyio.CancelScope]:
        """Wait for a place, and have it inside, after so many earlier turns of the same worker."""
        came_at = anyio.current_time()
        turn = Turn(self._seconds * 2.0**earlier, came_at + (self._seconds if earlier else 0.0))
        self._waiting.append(turn)
        try:
            self._share_out()
            await turn.begun.wait()
            yield turn.scope
        finally:
            (self._having if turn in self._having else self._waiting).remove(turn)
            self._share_out()

    def _share_out(self) -> None:
        now = anyio.current_time()
        self._waiting.sort(key=lambda turn: turn.due_at)
        while self._waiting and len(self._having) < self._places:
            turn = self._waiting.pop(0)
            turn.ends_at = now + turn.seconds
            self._having.append(turn)
            turn.begun.set()
        for place, turn in enumerate(sorted(self._having, key=lambda turn: turn.ends_at)):
            due_at = self._waiting[place].due_at if place < len(self._waiting) else math.inf
            turn.scope.deadline = max(turn.ends_at, due_at)
