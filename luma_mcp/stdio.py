"""The life of the server process on stdin and stdout."""

import os
import select
import signal
import sys
import threading
from functools import partial

import anyio
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

if sys.platform != "win32":
    import fcntl
    import termios

from luma_mcp.app import App, open_app
from luma_mcp.server import build_server
from luma_mcp.settings import Settings

FORCE_SECONDS = 1.5  # hosts kill what has not ended after 2


async def serve_stdio(settings: Settings) -> None:
    """Serve one host until it closes stdin or a signal asks for the end; then end the process, within a moment.

    The process ends by itself rather than by returning: the SDK's reader may sit in a blocking read of stdin, and a
    name look-up in a thread, and the interpreter would wait for both.
    """
    stdout = os.dup(1)
    async with anyio.create_task_group() as host_side:
        async with open_app(settings, leaves=partial(host_reads, stdout)) as app:
            ended, calls = anyio.Event(), anyio.CancelScope()
            host_side.start_soon(serve_host, app, ended, calls, name="host")
            if sys.platform != "win32":
                host_side.start_soon(await_signal, ended, name="signals")
            await ended.wait()
            leave_by_force()
            calls.cancel()
        sys.stderr.flush()
        os._exit(0)


def host_reads(stdout: int) -> bool:
    """Tell whether the host still holds its end of stdout and has read what was written there."""
    if sys.platform == "win32":
        return True
    watched = select.poll()
    watched.register(stdout, select.POLLOUT)
    return [state for _, state in watched.poll(0)] == [select.POLLOUT] and not unread(stdout)


def unread(stdout: int) -> int:
    """Count the bytes that the host has not read, where a pipe can tell."""
    if sys.platform == "win32":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(stdout, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def leave_by_force() -> None:
    """End the process even if what is closed in order gets stuck, on a locked ledger or a slow disk."""
    timer = threading.Timer(FORCE_SECONDS, os._exit, (0,))
    timer.daemon = True
    timer.start()


async def serve_host(app: App, ended: anyio.Event, calls: anyio.CancelScope) -> None:
    """Speak the protocol until stdin ends or the calls are cancelled.

    Once stdin has ended, the host gets a moment to read what it is answered, but the process does not wait for ever.
    """
    with calls:
        server = build_server(app)
        heard, from_host = anyio.create_memory_object_stream[SessionMessage | Exception]()
        async with stdio_server() as (stdin, to_host), anyio.create_task_group() as listening:

            async def pass_on() -> None:
                async with stdin, heard:
                    async for message in stdin:
                        await heard.send(message)
                leave_by_force()

            listening.start_soon(pass_on, name="stdin")
            await server.run(from_host, to_host, server.create_initialization_options())
    ended.set()


async def await_signal(ended: anyio.Event) -> None:
    """Take SIGTERM and SIGINT as a request to end in order."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            ended.set()
