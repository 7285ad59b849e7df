"""Waiting for a task and reporting its progress, until it has come far enough or the time is over."""

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from luma_mcp.app.changes import Changes
from luma_mcp.app.drain import ActiveRequests
from luma_mcp.app.progress import Progress
from luma_mcp.core.models import Clock, Task
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.transfers import Transfers
from luma_mcp.worker.usual_times import UsualTimes


def is_named(task: Task) -> bool:
    """Tell whether the caller has an id to ask with, or need not ask any more."""
    return bool(task.task_id) or task.is_settled


@dataclass(frozen=True, slots=True)
class TaskWaiter:
    """Watches tasks in the ledger, whichever process changes them."""

    ledger: Ledger
    changes: Changes
    transfers: Transfers
    active_requests: ActiveRequests
    usual_times: UsualTimes
    now: Clock

    async def watch(
        self,
        key: str,
        deadline: float,
        progress: Progress,
        until: Callable[[Task], bool] = lambda task: task.is_settled,
        *,
        added: Task | None = None,
    ) -> Task:
        """Report progress until `until` holds, the server drains, or the event loop's clock is at `deadline`.

        A task that was `added` just now, and has not been worked on since, need not be looked up first.
        """
        async with self.changes.watch(key) as changed:
            with anyio.CancelScope(deadline=deadline):
                while True:
                    task, added = added or await self.ledger.get(key), None
                    if progress.profile is None and is_named(task):  # by then the sandbox has told how long it takes
                        progress.profile = await self.usual_times.profile()
                    await progress.report_if_due(task, self.now(), self.transfers.of(key))
                    if until(task) or self.active_requests.draining.is_set():
                        return task
                    await changed.wait(progress.heartbeat_seconds)
        return await self.ledger.get(key)
