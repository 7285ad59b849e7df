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
from luma_mcp.core.observer import Observers
from luma_mcp.core.settings import Settings
from luma_mcp.server.server import build_server
from luma_mcp.transports.shutdown import force_exit_after, watch_exit_signals
from luma_mcp.transports.stderr import drain_stderr, write_all
from luma_mcp.transports.stdio_lines import InvalidLine, LineBuffer, OversizedLine, parse_line
from luma_mcp.transports.tracing import open_tracing

PIECE_BYTES = 1 << 16
MAX_CHUNKS_AHEAD = 64  # pieces
FORCED_EXIT_SECONDS = 1.8  # hosts kill what has not ended after 2; the app's `LAST_ANSWERS_SECONDS` are within these
FINAL_CALLS_SECONDS = 0.4  # for what was asked last
WRITING_SECONDS = 0.1  # for the host to take the last answers

logger = logging.getLogger(__name__)


async def serve_stdio(settings: Settings) -> None:
    """Serve one host until it closes stdin or a signal asks for the end; then end the process, within a moment.

    The process ends by itself rather than by returning: the reader may sit in a blocking read of stdin, and a name
    look-up in a thread, and the interpreter would wait for both.
    """
    async with anyio.create_task_group() as host_side:
        async with open_tracing() as tracing, open_app(settings, observer=Observers(tracing)) as app:
            host, ended = HostConnection(app), anyio.Event()
            host_side.start_soon(host.serve, ended, name="host")
            host_side.start_soon(watch_exit_signals, ended, name="signals")
            await ended.wait()
            force_exit_after(FORCED_EXIT_SECONDS)
            host.close()
        drain_stderr()
        os._exit(0)


class HostConnection:
    """The one host of this process: a reader of stdin, a session of the protocol, and a writer of stdout."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._server = build_server(app)
        self._open = anyio.CancelScope()  # around everything; calls are cancelled with it
        self._taking = anyio.CancelScope()  # around taking messages from stdin
        self._tasks = anyio.create_task_group()
        self._pieces_in, self._pieces = anyio.create_memory_object_stream[bytes](MAX_CHUNKS_AHEAD)
        self._outgoing, self._to_write = anyio.create_memory_object_stream[SessionMessage]()
        self._session: MemoryObjectSendStream[SessionMessage | Exception]
        self._last_method = ""

    async def serve(self, ended: anyio.Event) -> None:
        """Speak the protocol until stdin has ended and the last calls are answered, or `close`; then set `ended`."""
        with self._open, private_pipes() as (stdin, stdout), redirect_stdout(sys.stderr):  # what libraries print
            async with self._tasks:
                self._tasks.start_soon(self._read, stdin, name="stdin")
                self._tasks.start_soon(self._dispatch, name="messages")
                self._tasks.start_soon(self._write, stdout, name="stdout")
        ended.set()

    def close(self) -> None:
        self._open.cancel()

    async def _read(self, stdin: FileIO) -> None:
        """Read some way ahead of what is understood, so that the end of stdin is noticed soon."""
        async with self._pieces_in:
            while piece := await anyio.to_thread.run_sync(stdin.read, PIECE_BYTES, abandon_on_cancel=True):
                await self._pieces_in.send(piece)
        self._bound_what_is_left()

    def _bound_what_is_left(self) -> None:
        """Let what was asked last be answered if that is quick, whether the host reads the answers or not."""
        force_exit_after(FORCED_EXIT_SECONDS)
        self._taking.deadline = anyio.current_time() + FINAL_CALLS_SECONDS
        self._open.deadline = self._taking.deadline + WRITING_SECONDS

    async def _dispatch(self) -> None:
        async with self._outgoing:
            self._begin_session()
            with self._taking:
                async for found in parse_messages(self._pieces):
                    if isinstance(found, InvalidLine):
                        self._refuse(found)
                    else:
                        await self._pass_on(found)
                await self._app.wait_until_idle()
            self._session.close()

    def _begin_session(self) -> None:
        self._session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
        options = self._server.create_initialization_options()
        self._tasks.start_soon(self._server.run, incoming, self._outgoing.clone(), options)

    async def _pass_on(self, message: JSONRPCMessage) -> None:
        method = method_of(message)
        if is_probe_given_up(self._last_method, method):
            await self._app.wait_until_idle()
            self._session.close()
            self._begin_session()
        self._last_method = method
        await self._session.send(SessionMessage(message))

    def _refuse(self, line: InvalidLine) -> None:
        """Answer beside the session: reading on must never wait for a host that reads no answers."""
        self._tasks.start_soon(send_and_close, self._outgoing.clone(), SessionMessage(line.error_response))

    async def _write(self, stdout: FileIO) -> None:
        async with self._to_write:
            async for message in self._to_write:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True) + "\n"
                await anyio.to_thread.run_sync(write_all, stdout, line.encode(), abandon_on_cancel=True)


def is_probe_given_up(last: str, method: str) -> bool:
    """Tell whether a probe took too long for this host, so that it begins a new session with `initialize`.

    A session that has answered `server/discover` speaks the era of that, and would refuse the handshake.
    """
    return (last, method) == ("server/discover", "initialize")


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
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    for stream in (0, 1):
        rebind_std_handle_to_fd(stream)


async def send_and_close(way: MemoryObjectSendStream[SessionMessage], answer: SessionMessage) -> None:
    """Send one answer on a stream of its own; it is dropped once the server has ended."""
    async with way:
        with suppress(anyio.BrokenResourceError):
            await way.send(answer)


def method_of(message: JSONRPCMessage) -> str:
    return message.method if isinstance(message, JSONRPCRequest) else ""


async def parse_messages(pieces: MemoryObjectReceiveStream[bytes]) -> AsyncGenerator[JSONRPCMessage | InvalidLine]:
    """Yield the host's messages, and the lines that must be refused; log every line that is no message."""
    lines = LineBuffer()
    async with pieces:
        async for piece in pieces:
            for found in parse_lines(lines.feed(piece)):
                yield found
    for found in parse_lines(lines.finish()):
        yield found


def parse_lines(lines: Iterator[bytes | OversizedLine]) -> Iterator[JSONRPCMessage | InvalidLine]:
    """Yield messages and lines that must be refused; log invalid lines without their content."""
    for found in chain.from_iterable(map(parse_line, lines)):
        if isinstance(found, InvalidLine):
            logger.warning("A line on stdin was not understood: %s", found.reason)
        if not isinstance(found, InvalidLine) or found.needs_response:
            yield found
