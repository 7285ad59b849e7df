"""Work that goes on while nobody calls."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


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
