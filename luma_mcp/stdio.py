"""The life of the server process on stdin and stdout."""

import os
import select
import sys
from collections import deque
from contextlib import redirect_stdout, suppress

import anyio
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCResponse, RequestId

if sys.platform != "win32":
    import fcntl
    import termios

from luma_mcp.app import App, open_app
from luma_mcp.deliveries import Way
from luma_mcp.ending import await_signal, leave_by_force
from luma_mcp.server import build_server
from luma_mcp.settings import Settings
from luma_mcp.stderr import drain_stderr

REMEMBERED = 1000
FORCE_SECONDS = 1.5  # hosts kill what has not ended after 2


class Pipe(Way):
    """The way to the host through stdout."""

    def __init__(self) -> None:
        self._stdout = os.dup(1)  # the SDK moves the original away while it serves
        self._sent: deque[RequestId] = deque(maxlen=REMEMBERED)
        self.host_left = False

    def note(self, message: SessionMessage) -> None:
        """Remember an answer that was sent."""
        if isinstance(message.message, JSONRPCResponse):
            self._sent.append(message.message.id)

    def has_sent(self, request: RequestId | None) -> bool:
        """Tell whether the answer to a request was sent, among the last ones."""
        return request in self._sent

    def is_clear(self) -> bool:
        """Tell whether the host still holds its end of stdout and has read what was written there.

        Windows cannot tell: there an answer counts as read if the host stays for as long as answers are given.
        """
        clear = not self.host_left
        if sys.platform != "win32":
            watched = select.poll()
            watched.register(self._stdout, select.POLLOUT)
            clear = [state for _, state in watched.poll(0)] == [select.POLLOUT] and not unread(self._stdout)
        return clear


async def serve_stdio(settings: Settings) -> None:
    """Serve one host until it closes stdin or a signal asks for the end; then end the process, within a moment.

    The process ends by itself rather than by returning: the SDK's reader may sit in a blocking read of stdin, and a
    name look-up in a thread, and the interpreter would wait for both.
    """
    pipe = Pipe()
    async with anyio.create_task_group() as host_side:
        async with open_app(settings, way=pipe) as app:
            ended, calls = anyio.Event(), anyio.CancelScope()
            host_side.start_soon(serve_host, app, pipe, ended, calls, name="host")
            host_side.start_soon(await_signal, ended, name="signals")
            await ended.wait()
            leave_by_force(FORCE_SECONDS)
            calls.cancel()
        drain_stderr()
        os._exit(0)


def unread(stdout: int) -> int:
    """Count the bytes that the host has not read, where a pipe can tell."""
    if sys.platform != "win32":
        with suppress(OSError):
            return int.from_bytes(fcntl.ioctl(stdout, termios.FIONREAD, bytes(4)), sys.byteorder)
    return 0


async def serve_host(app: App, pipe: Pipe, ended: anyio.Event, calls: anyio.CancelScope) -> None:
    """Speak the protocol until stdin ends or the calls are cancelled.

    Once stdin has ended, the process waits a moment for the host to read what was written, but not for ever.
    """
    with calls:
        server = build_server(app)
        heard, from_host = anyio.create_memory_object_stream[SessionMessage | Exception]()
        to_host, said = anyio.create_memory_object_stream[SessionMessage]()
        async with stdio_server() as (stdin, stdout), anyio.create_task_group() as passing:

            async def pass_in() -> None:
                async with stdin, heard:
                    async for message in stdin:
                        await heard.send(message)
                pipe.host_left = True
                leave_by_force(FORCE_SECONDS)

            async def pass_out() -> None:
                async with stdout, said:
                    async for message in said:
                        await stdout.send(message)
                        pipe.note(message)

            passing.start_soon(pass_in, name="stdin")
            passing.start_soon(pass_out, name="stdout")
            with redirect_stdout(sys.stderr):  # what libraries print
                await server.run(from_host, to_host, server.create_initialization_options())
    ended.set()
