"""How a server process comes to its end."""

import asyncio  # noqa: TID251 - only its loop can be woken by a signal on Windows
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import FrameType

import anyio
from anyio.abc import TaskStatus

from luma_mcp.core.concurrency import background_work

if sys.platform == "win32":
    EXIT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
else:
    EXIT_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def watch_exit_signals(ended: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Set `ended` at SIGTERM and SIGINT, and Ctrl-Break on Windows; none is lost once this has started."""
    if sys.platform == "win32":
        with install_signal_handlers(ended):
            task_status.started()
            await anyio.sleep_forever()
    else:
        with anyio.open_signal_receiver(*EXIT_SIGNALS) as signals:
            task_status.started()
            async for _ in signals:
                ended.set()


@asynccontextmanager
async def interrupt_on_signal() -> AsyncGenerator[None]:
    """Cancel the body at a signal, and raise `KeyboardInterrupt` once it has ended in order."""
    ended, interrupted = anyio.Event(), False
    async with background_work() as group:

        async def interrupt() -> None:
            nonlocal interrupted
            await ended.wait()
            interrupted = True
            group.cancel_scope.cancel()

        await group.start(watch_exit_signals, ended)
        group.start_soon(interrupt)
        yield
    if interrupted:
        raise KeyboardInterrupt


@contextmanager
def install_signal_handlers(ended: anyio.Event) -> Generator[None]:
    """Set an event when a signal comes; event loops take none on Windows, so the interpreter does.

    There a console that is closed and a user who logs off come as Ctrl-Break too, with a few seconds to end in.
    """
    loop = asyncio.get_running_loop()

    def end(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(ended.set)  # which wakes the loop, too

    with ExitStack() as afterwards:
        for number in EXIT_SIGNALS:
            before = signal.signal(number, end)
            afterwards.callback(signal.signal, number, before)
        yield


def force_exit_after(seconds: float) -> None:
    """End the process after some seconds even if closing in order gets stuck, on a locked ledger or a slow disk."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()
