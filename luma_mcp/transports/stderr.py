"""Standard error that nobody in this process ever waits for: hosts may not read it, close it, or never have opened it.

What is written goes into memory, and one thread passes it on. Where too much waits, what comes is dropped and counted.
"""

import atexit
import io
import os
import select
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

if sys.platform != "win32":
    import fcntl

STDERR = 2
MAX_QUEUED_BYTES = 1 << 20
DRAIN_TRY_SECONDS = 0.2  # for what was written last
MAX_DRAIN_TRIES = 5  # hosts wait 2 seconds for the whole end
LINE = "\n"
DROPPED = "luma-mcp: {count} messages were dropped here, because nobody read them in time\n"


class BackgroundWriter:
    """Writes pieces to a raw file on a thread of its own, in order; too much at once is dropped, and counted."""

    def __init__(self, sink: io.FileIO) -> None:
        self._sink = sink
        self._waiting = SimpleQueue[bytes | threading.Event]()
        self._lock = threading.RLock()  # what is collected as garbage may log, too
        self._bytes = 0
        self._dropped = 0
        self._ended = True
        threading.Thread(target=self._write_all, name="stderr", daemon=True).start()

    def put(self, piece: bytes) -> None:
        with self._lock:
            if self._bytes >= MAX_QUEUED_BYTES:
                self._dropped += 1
                return
            self._report_dropped()
            self._add(piece)

    def drain(self) -> bool:
        """Wait until all is written; tell whether it is.

        A slow reader gets more time than one that takes nothing, and a person who stopped a terminal gets any.
        """
        written = threading.Event()
        with self._lock:
            self._report_dropped()
            self._waiting.put(written)
        tries = 0
        while not written.wait(DRAIN_TRY_SECONDS):
            tries += 1
            if not self._sink.isatty() and (tries == MAX_DRAIN_TRIES or not self._is_read()):
                return False
        return True

    def _is_read(self) -> bool:
        """Tell whether somebody reads what is written, where the system knows."""
        return sys.platform != "win32" and bool(select.select([], [self._sink], [], 0)[1])

    def _add(self, piece: bytes) -> None:
        self._bytes += len(piece)
        self._ended = piece.endswith(b"\n")
        self._waiting.put(piece)

    def _report_dropped(self) -> None:
        if self._dropped:
            count, self._dropped = self._dropped, 0
            self._add(f"{'' if self._ended else LINE}{DROPPED.format(count=count)}".encode())

    def _write_all(self) -> None:
        while True:
            piece = self._waiting.get()
            if isinstance(piece, threading.Event):
                piece.set()
                continue
            self._write(piece)
            with self._lock:
                self._bytes -= len(piece)
                if not self._bytes:
                    self._report_dropped()

    def _write(self, piece: bytes) -> None:
        """Write a piece whole; it is lost where nobody reads any more, or a disk is full."""
        with suppress(OSError, ValueError):  # the second for a file that was closed
            write_all(self._sink, piece)


def write_all(sink: io.FileIO, piece: bytes) -> None:
    """Write a piece whole, however little the reader takes at once; raise `OSError` where nobody reads any more."""
    rest = memoryview(piece)
    while rest:
        written = sink.write(rest)
        if written is None:  # the descriptor does not wait, as some hosts set it
            select.select([], [sink], [])
        rest = rest[written or 0 :]


class WriterIO(io.RawIOBase):
    """The binary layer below `sys.stderr`: hands bytes to the writer, and looks like the descriptor they end up at."""

    def __init__(self, writer: BackgroundWriter, descriptor: int) -> None:
        self._writer = writer
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, piece: "Buffer", /) -> int:
        whole = bytes(piece)
        self._writer.put(whole)
        return len(whole)

    def fileno(self) -> int:
        """Give the descriptor, for libraries that ask how wide the terminal is."""
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


class StderrPipe:
    """Takes what is written to the descriptor itself, by the interpreter, libraries in C and old standard streams.

    Its writers do not wait either: what is too much for the pipe is lost, in a process that is too busy to read it.
    """

    def __init__(self, writer: BackgroundWriter) -> None:
        self._writer = writer
        self._source, into = os.pipe()
        if sys.platform != "win32":
            os.set_blocking(self._source, False)
            os.set_blocking(into, False)
        os.dup2(into, STDERR, inheritable=True)
        os.close(into)
        threading.Thread(target=self._pass_on, name="stderr of others", daemon=True).start()

    def forward_available(self) -> bool:
        """Forward what is in the pipe, and tell whether more may come."""
        with suppress(BlockingIOError):
            while piece := os.read(self._source, 1 << 16):
                self._writer.put(piece)
            return False
        return True

    def _pass_on(self) -> None:
        while self.forward_available():
            select.select([self._source], [], [])


class NonBlockingStderr(io.TextIOWrapper):
    """Replaces `sys.stderr`, and its descriptor where the system can move that."""

    def __init__(self, sink: io.FileIO, before: TextIO | None) -> None:
        self._sink = sink
        self._before = before
        self._writer = BackgroundWriter(sink)
        self._others = StderrPipe(self._writer) if sys.platform != "win32" else None
        raw = cast("IO[bytes]", WriterIO(self._writer, sink.fileno()))
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def drain(self) -> bool:
        """Wait until all is written; tell whether it is (see `BackgroundWriter.drain`)."""
        self.flush()
        if self._others:
            self._others.forward_available()
        return self._writer.drain()

    def restore(self) -> None:
        """Let the interpreter write its last words itself, unless it would wait for that."""
        if self.drain() and self._before:
            if self._others:
                os.dup2(self._sink.fileno(), STDERR)
            sys.stderr = self._before


def install_nonblocking_stderr() -> None:
    """Let nobody in this process wait for standard error, from now on.

    Leaves alone what somebody else has put in its place.
    """
    before = cast("TextIO | None", sys.stderr)  # there is none under pythonw, or where a host closed it
    if before is None or is_standard(before):
        stream = NonBlockingStderr(open_sink(before), before)
        sys.stderr = stream
        atexit.register(stream.restore)


def drain_stderr() -> None:
    """Wait a moment until all that was written to standard error has been passed on."""
    if isinstance(sys.stderr, NonBlockingStderr):
        sys.stderr.drain()


def is_standard(stream: TextIO) -> bool:
    try:
        return stream.fileno() == STDERR
    except (AttributeError, OSError, ValueError):
        return False


def open_sink(stream: TextIO | None) -> io.FileIO:
    """Open a raw file that leads to where standard error led when the process started."""
    reserve_standard_fds()
    if sys.platform == "win32":
        buffer: object = stream.buffer if stream else io.FileIO(os.devnull, "wb")
        return cast(
            "io.FileIO", getattr(buffer, "raw", buffer)
        )  # unbuffered, it is the raw file; consoles have a like one
    else:  # noqa: RET505 - so that each system's types are looked at
        return io.FileIO(fcntl.fcntl(STDERR, fcntl.F_DUPFD_CLOEXEC, STDERR + 1), "wb")


def reserve_standard_fds() -> None:
    """Occupy the standard descriptors that a host closed, so that no file gets a number that libraries write to."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(opened)
