"""The life of the server process on stdin and stdout."""

import logging
import os
import select
import sys
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, redirect_stdout, suppress
from io import FileIO
from itertools import chain

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.os.win32.utilities import rebind_std_handle_to_fd
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, JSONRPCRequest, JSONRPCResponse, RequestId

if sys.platform != "win32":
    import fcntl
    import termios

from luma_mcp.app import App, open_app
from luma_mcp.deliveries import Way
from luma_mcp.ending import await_signal, leave_by_force
from luma_mcp.server import build_server
from luma_mcp.settings import Settings
from luma_mcp.stderr import drain_stderr
from luma_mcp.stdio_lines import Lines, Wrong, understood

PIECE_BYTES = 1 << 16
REMEMBERED = 1000
FORCE_SECONDS = 1.5  # hosts kill what has not ended after 2
LAST_SECONDS = 0.5  # of these, for what was asked last

logger = logging.getLogger(__name__)


class Pipe(Way):
    """The way to the host through stdout."""

    def __init__(self) -> None:
        self._stdout = os.dup(1)  # the original is moved away while this server speaks
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


@contextmanager
def private_pipes() -> Generator[tuple[FileIO, FileIO]]:
    """Give the two ends of the host's pipes, and keep everything else off them.

    Inside, whatever reads stdin finds its end, and whatever is printed goes to stderr, from child processes too.
    """
    with (
        open(os.devnull, "r+b", buffering=0) as nothing,
        FileIO(os.dup(0), "rb", closefd=False) as stdin,  # never closed: a thread may be reading
        FileIO(os.dup(1), "wb", closefd=False) as stdout,
    ):
        redirect(nothing.fileno(), 2)
        try:
            yield stdin, stdout
        finally:
            redirect(stdin.fileno(), stdout.fileno())


def redirect(stdin: int, stdout: int) -> None:
    """Have the standard streams lead elsewhere, for Windows too."""
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    for stream in (0, 1):
        rebind_std_handle_to_fd(stream)


def write_all(stdout: FileIO, line: bytes) -> None:
    """Write a line, however little the host takes at once."""
    rest = memoryview(line)
    while rest:
        rest = rest[stdout.write(rest) :]


async def serve_host(app: App, pipe: Pipe, ended: anyio.Event, calls: anyio.CancelScope) -> None:
    """Speak the protocol until stdin ends or the calls are cancelled.

    Once stdin has ended, the process waits a moment for the host to read what was written, but not for ever.
    """
    with calls, private_pipes() as (stdin, stdout), redirect_stdout(sys.stderr):  # what libraries print
        server = build_server(app)
        to_host, said = anyio.create_memory_object_stream[SessionMessage]()
        async with anyio.create_task_group() as passing:

            def begin() -> MemoryObjectSendStream[SessionMessage | Exception]:
                heard, from_host = anyio.create_memory_object_stream[SessionMessage | Exception]()
                passing.start_soon(server.run, from_host, to_host.clone(), server.create_initialization_options())
                return heard

            async def pass_in() -> None:
                heard, probed = begin(), False
                async with to_host:
                    async for found in messages(stdin):
                        if isinstance(found, Wrong):  # never wait here for a host that reads no answers
                            passing.start_soon(send, to_host.clone(), SessionMessage(found.answer))
                            continue
                        if probed and method_of(found) == "initialize":  # the probe took too long for this host
                            await app.answering.quiet()
                            heard.close()
                            heard = begin()
                        probed = method_of(found) == "server/discover"
                        await heard.send(SessionMessage(found))
                    pipe.host_left = True
                    leave_by_force(FORCE_SECONDS)
                    with anyio.move_on_after(LAST_SECONDS):  # what was asked last is answered if that is quick
                        await app.answering.quiet()
                    heard.close()

            passing.start_soon(pass_in, name="stdin")
            passing.start_soon(pass_out, said, stdout, pipe, name="stdout")
    ended.set()


async def pass_out(said: MemoryObjectReceiveStream[SessionMessage], stdout: FileIO, pipe: Pipe) -> None:
    """Write what is said to the host, a line each, until nobody says anything any more."""
    async with said:
        async for message in said:
            line = message.message.model_dump_json(by_alias=True, exclude_unset=True) + "\n"
            await anyio.to_thread.run_sync(write_all, stdout, line.encode())
            pipe.note(message)


async def send(way: MemoryObjectSendStream[SessionMessage], answer: SessionMessage) -> None:
    """Send one answer on a way of its own; nobody gets it once the server has ended."""
    async with way:
        with suppress(anyio.BrokenResourceError):
            await way.send(answer)


def method_of(message: JSONRPCMessage) -> str:
    """Name what a request asks for; empty for anything else."""
    return message.method if isinstance(message, JSONRPCRequest) else ""


async def messages(stdin: FileIO) -> AsyncGenerator[JSONRPCMessage | Wrong]:
    """Read what the host says until it closes stdin, and what is owed an error; log all that is no message."""
    lines, piece = Lines(), b"\n"
    while piece:
        piece = await anyio.to_thread.run_sync(stdin.read, PIECE_BYTES, abandon_on_cancel=True)
        for found in chain.from_iterable(map(understood, lines.of(piece) if piece else lines.last())):
            if isinstance(found, Wrong):
                logger.warning("A line on stdin was not understood: %s", found.reason)  # without what stands in it
            if not isinstance(found, Wrong) or found.answered:
                yield found
