"""How a server process comes to its end."""

import asyncio  # noqa: TID251 - only its loop can be woken by a signal handler
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from types import FrameType

import anyio
from anyio.abc import TaskStatus

from luma_mcp.core.concurrency import background_work

if sys.platform == "win32":
    EXIT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
else:
    EXIT_SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED_STATUS = 130  # as shells say it of SIGINT


async def watch_exit_signals(ended: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Set `ended` at SIGTERM and SIGINT, and Ctrl-Break on Windows; none is lost once this has started."""
    if sys.platform == "win32":
        loop = asyncio.get_running_loop()  # which takes no signals there, but can be woken
        with install_signal_handlers(partial(wake, loop, ended)):
            task_status.started()
            await anyio.sleep_forever()
    else:
        with anyio.open_signal_receiver(*EXIT_SIGNALS) as signals:
            task_status.started()
            async for _ in signals:
                ended.set()


@asynccontextmanager
async def interrupt_on_signal(tell: Callable[[], None]) -> AsyncGenerator[None]:
    """Cancel the body at a signal, after `tell`, and raise `KeyboardInterrupt` once it has ended in order.

    A second signal ends the process at once: the ledger has what was sent.
    """
    loop, interrupted = asyncio.get_running_loop(), False

    def on_signal() -> None:
        nonlocal interrupted
        if interrupted:
            os._exit(INTERRUPTED_STATUS)
        interrupted = True
        loop.call_soon_threadsafe(interrupt)  # which wakes the loop, too

    def interrupt() -> None:
        tell()
        group.cancel_scope.cancel()

    with install_signal_handlers(on_signal) as handlers:
        async with background_work() as group:
            yield
        if interrupted:
            handlers.pop_all()  # they stay while the rest of the process ends
            raise KeyboardInterrupt


def wake(loop: asyncio.AbstractEventLoop, ended: anyio.Event) -> None:
    """Set an event from a signal handler, which may run while the loop sleeps."""
    loop.call_soon_threadsafe(ended.set)


@contextmanager
def install_signal_handlers(end: Callable[[], None]) -> Generator[ExitStack]:
    """Call `end` when a signal comes, inside; what is given puts the handlers of before back.

    On Windows a console that is closed and a user who logs off come as Ctrl-Break too, with a few seconds to end in.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        end()

    with ExitStack() as handlers:
        for number in EXIT_SIGNALS:
            before = signal.signal(number, handle)
            handlers.callback(signal.signal, number, before)
        yield handlers


def force_exit_after(seconds: float) -> None:
    """End the process after some seconds even if closing in order gets stuck, on a locked ledger or a slow disk."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()
