"""Waiting for a task: telling of its progress until it has come far enough, or the time is over."""

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from luma_mcp.app.drain import Answering
from luma_mcp.app.progress import Progress
from luma_mcp.core.models import MODEL, Clock, Task
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.transfers import Transfers
from luma_mcp.worker.polling import usual
from luma_mcp.worker.tracker import Tracker


def is_settled(task: Task) -> bool:
    """Tell whether waiting longer can bring nothing new."""
    return task.settled


def is_named(task: Task) -> bool:
    """Tell whether the caller can ask for the task by its id, or need not ask any more."""
    return bool(task.task_id) or task.settled


@dataclass(frozen=True, slots=True)
class Waiting:
    """Watches tasks in the ledger, whoever changes them."""

    ledger: Ledger
    tracker: Tracker
    transfers: Transfers
    answering: Answering
    now: Clock

    async def watch(
        self, key: str, deadline: float, progress: Progress, until: Callable[[Task], bool] = is_settled
    ) -> Task:
        """Tell of a task's progress until it has come far enough, or until the deadline on the event loop's clock."""
        if progress.usual is None:
            progress.usual = usual(await self.ledger.durations(MODEL))
        with anyio.CancelScope(deadline=deadline):
            while True:
                task = await self.ledger.get(key)
                await progress.tell(task, self.now(), self.transfers.of(key))
                if until(task) or self.answering.ending.is_set():
                    break
                await self.tracker.changed()
        return await self.ledger.get(key)
