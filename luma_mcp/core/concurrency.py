"""Work that goes on while nobody calls."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
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
        """Wait, at most some seconds."""
        with anyio.move_on_after(seconds):
            await self._cut.wait()
        self._cut = anyio.Event()


async def cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    """Cancel something once an event has happened."""
    await event.wait()
    scope.cancel()


async def guarded(work: Callable[[], Awaitable[T]], *, otherwise: T, what: str) -> T:
    """Do some work and give its result, or `otherwise` if it ends unexpectedly: a bug in it must end nothing else."""
    try:
        return await work()
    except Exception:
        # The one boundary of all background work: a follower's bug stays that follower's.
        logger.exception("%s ended unexpectedly", what)
        return otherwise
