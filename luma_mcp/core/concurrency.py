"""Work that goes on while nobody calls."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")
logger = logging.getLogger(__name__)


@asynccontextmanager
async def background_work() -> AsyncGenerator[TaskGroup]:
    """Give a task group whose tasks are stopped when it is left."""
    try:
        async with anyio.create_task_group() as group:
            yield group
            group.cancel_scope.cancel()
    except BaseExceptionGroup as failures:
        # Whoever leaves with an error should see that error, not the group that it passed through.
        if len(failures.exceptions) == 1:
            raise failures.exceptions[0] from None
        raise


class Pause:
    """A wait that somebody else can cut short."""

    def __init__(self) -> None:
        self._cut = anyio.Event()

    def cut_short(self) -> None:
        """End the wait, or the next one if there is none now."""
        self._cut.set()

    async def wait(self, seconds: float) -> None:
        """Wait until it is cut short, at most `seconds`."""
        with anyio.move_on_after(seconds):
            await self._cut.wait()
        self._cut = anyio.Event()


class Signal:
    """Wakes all who wait for it, each time that it is given; who comes later waits for the next time."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def give(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = anyio.Event()

    async def wait(self) -> None:
        """Wait for the next time."""
        await self._event.wait()


class Signals:
    """Wakes those who wait for one of many things, by its name."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[Pause]] = {}

    @contextmanager
    def expect(self, name: str) -> Generator[Pause]:
        """Give a pause that is cut short each time the name is given meanwhile."""
        pause = Pause()
        self._waiting.setdefault(name, set()).add(pause)
        try:
            yield pause
        finally:
            self._waiting[name].discard(pause)
            if not self._waiting[name]:
                del self._waiting[name]

    def give(self, name: str) -> None:
        """Wake those who wait for a name."""
        for pause in self._waiting.get(name, ()):
            pause.cut_short()

    def give_all(self) -> None:
        """Wake all who wait."""
        for name in self._waiting:
            self.give(name)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))


async def cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    """Cancel `scope` once `event` is set."""
    await event.wait()
    scope.cancel()


async def guarded(work: Callable[[], Awaitable[T]], *, otherwise: T, what: str) -> T:
    """Give the result of `work`, or `otherwise` if it raises: a bug is logged under `what`, and ends nothing else."""
    try:
        return await work()
    except Exception:
        # The one boundary of all background work, and the one broad `except` of this package.
        logger.exception("%s ended unexpectedly", what)
        return otherwise
