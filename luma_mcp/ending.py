"""How a server process comes to its end."""

import os
import signal
import threading

import anyio
from anyio.abc import TaskStatus


async def await_signal(ended: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Take SIGTERM and SIGINT as a request to end in order, from when this has started."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            ended.set()


def leave_by_force(seconds: float) -> None:
    """End the process even if what is closed in order gets stuck, on a locked ledger or a slow disk."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()
