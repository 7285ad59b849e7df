"""The life of the server process on stdin and stdout."""

import logging
import os
import sys
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import FileIO
from itertools import chain

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.os.win32.utilities import rebind_std_handle_to_fd
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, JSONRPCRequest

from luma_mcp.app.app import App, open_app
from luma_mcp.core.settings import Settings
from luma_mcp.server.server import build_server
from luma_mcp.transports.shutdown import await_signal, leave_by_force
from luma_mcp.transports.stderr import drain_stderr
from luma_mcp.transports.stdio_lines import Lines, TooLong, Wrong, understood

PIECE_BYTES = 1 << 16
MOST_AHEAD = 64  # pieces
FORCE_SECONDS = 1.8  # hosts kill what has not ended after 2; submissions have 1.2 of these
LAST_SECONDS = 0.4  # for what was asked last
WRITING_SECONDS = 0.1  # for the host to take the last answers

logger = logging.getLogger(__name__)


async def serve_stdio(settings: Settings) -> None:
    """Serve one host until it closes stdin or a signal asks for the end; then end the process, within a moment.

    The process ends by itself rather than by returning: the SDK's reader may sit in a blocking read of stdin, and a
    name look-up in a thread, and the interpreter would wait for both.
    """
    async with anyio.create_task_group() as host_side:
        async with open_app(settings) as app:
            ended, calls = anyio.Event(), anyio.CancelScope()
            host_side.start_soon(serve_host, app, ended, calls, name="host")
            host_side.start_soon(await_signal, ended, name="signals")
            await ended.wait()
            leave_by_force(FORCE_SECONDS)
            calls.cancel()
        drain_stderr()
        os._exit(0)


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


async def serve_host(app: App, ended: anyio.Event, calls: anyio.CancelScope) -> None:
    """Speak the protocol until stdin ends or the calls are cancelled.

    Once stdin has ended, what was asked last is answered if that is quick, whether the host reads the answers or not.
    """
    with calls, private_pipes() as (stdin, stdout), redirect_stdout(sys.stderr):  # what libraries print
        server = build_server(app)
        to_host, said = anyio.create_memory_object_stream[SessionMessage]()
        ahead, pieces = anyio.create_memory_object_stream[bytes](MOST_AHEAD)
        async with anyio.create_task_group() as passing:
            taking = anyio.CancelScope()

            def begin() -> MemoryObjectSendStream[SessionMessage | Exception]:
                heard, from_host = anyio.create_memory_object_stream[SessionMessage | Exception]()
                passing.start_soon(server.run, from_host, to_host.clone(), server.create_initialization_options())
                return heard

            async def pass_in() -> None:
                heard, probed = begin(), False
                async with to_host:
                    with taking:
                        async for found in messages(pieces):
                            if isinstance(found, Wrong):  # never wait here for a host that reads no answers
                                passing.start_soon(send, to_host.clone(), SessionMessage(found.answer))
                                continue
                            if probed and method_of(found) == "initialize":  # the probe took too long for this host
                                await app.answering.quiet()
                                heard.close()
                                heard = begin()
                            probed = method_of(found) == "server/discover"
                            await heard.send(SessionMessage(found))
                        await app.answering.quiet()
                    heard.close()

            async def read_to_the_end() -> None:
                await read_ahead(stdin, ahead)
                leave_by_force(FORCE_SECONDS)
                taking.deadline = anyio.current_time() + LAST_SECONDS
                calls.deadline = taking.deadline + WRITING_SECONDS

            passing.start_soon(read_to_the_end, name="stdin")
            passing.start_soon(pass_in, name="messages")
            passing.start_soon(pass_out, said, stdout, name="stdout")
    ended.set()


async def read_ahead(stdin: FileIO, ahead: MemoryObjectSendStream[bytes]) -> None:
    """Read what the host writes, some way ahead of what is understood, so that its end is noticed soon."""
    async with ahead:
        while piece := await anyio.to_thread.run_sync(stdin.read, PIECE_BYTES, abandon_on_cancel=True):
            await ahead.send(piece)


async def pass_out(said: MemoryObjectReceiveStream[SessionMessage], stdout: FileIO) -> None:
    """Write what is said to the host, a line each, until nobody says anything any more."""
    async with said:
        async for message in said:
            line = message.message.model_dump_json(by_alias=True, exclude_unset=True) + "\n"
            await anyio.to_thread.run_sync(write_all, stdout, line.encode(), abandon_on_cancel=True)


async def send(way: MemoryObjectSendStream[SessionMessage], answer: SessionMessage) -> None:
    """Send one answer on a way of its own; nobody gets it once the server has ended."""
    async with way:
        with suppress(anyio.BrokenResourceError):
            await way.send(answer)


def method_of(message: JSONRPCMessage) -> str:
    """Name what a request asks for; empty for anything else."""
    return message.method if isinstance(message, JSONRPCRequest) else ""


async def messages(pieces: MemoryObjectReceiveStream[bytes]) -> AsyncGenerator[JSONRPCMessage | Wrong]:
    """Understand what the host says, and what is owed an error; log all that is no message."""
    lines = Lines()
    async with pieces:
        async for piece in pieces:
            for found in reported(lines.of(piece)):
                yield found
    for found in reported(lines.last()):
        yield found


def reported(lines: Iterator[bytes | TooLong]) -> Iterator[JSONRPCMessage | Wrong]:
    """Give what lines say, or the errors that are owed for them; log those without what stands in them."""
    for found in chain.from_iterable(map(understood, lines)):
        if isinstance(found, Wrong):
            logger.warning("A line on stdin was not understood: %s", found.reason)
        if not isinstance(found, Wrong) or found.answered:
            yield found
