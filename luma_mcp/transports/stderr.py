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
from typing import IO, TextIO, cast

from typing_extensions import Buffer

if sys.platform != "win32":
    import fcntl

STDERR = 2
MOST_WAITING_BYTES = 1 << 20
LAST_SECONDS = 0.2  # for what was said last
MOST_TRIES = 5  # hosts wait 2 seconds for the whole end
LINE = "\n"
DROPPED = "luma-mcp: {count} messages were dropped here, because nobody read them in time\n"


class Outlet:
    """Writes pieces to a raw file on a thread of its own, in the order in which they came."""

    def __init__(self, sink: io.FileIO) -> None:
        self._sink = sink
        self._waiting = SimpleQueue[bytes | threading.Event]()
        self._lock = threading.RLock()  # what is collected as garbage may log, too
        self._bytes = 0
        self._dropped = 0
        self._ended = True
        threading.Thread(target=self._write_all, name="stderr", daemon=True).start()

    def put(self, piece: bytes) -> None:
        """Have a piece written some time, or drop it if too much waits; never wait."""
        with self._lock:
            if self._bytes >= MOST_WAITING_BYTES:
                self._dropped += 1
                return
            self._tell_of_dropped()
            self._add(piece)

    def drain(self) -> bool:
        """Wait a moment until all is written; tell whether it is.

        A busy machine gets more time than a reader that takes nothing, and a person who stopped a terminal gets any.
        """
        written = threading.Event()
        with self._lock:
            self._tell_of_dropped()
            self._waiting.put(written)
        tries = 0
        while not written.wait(LAST_SECONDS):
            tries += 1
            if not self._sink.isatty() and (tries == MOST_TRIES or not self._is_taken()):
                return False
        return True

    def _is_taken(self) -> bool:
        """Tell whether somebody takes what is written, where the system knows."""
        return sys.platform != "win32" and bool(select.select([], [self._sink], [], 0)[1])

    def _add(self, piece: bytes) -> None:
        self._bytes += len(piece)
        self._ended = piece.endswith(b"\n")
        self._waiting.put(piece)

    def _tell_of_dropped(self) -> None:
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
                    self._tell_of_dropped()

    def _write(self, piece: bytes) -> None:
        """Write a piece whole; it is lost where nobody takes it any more, or a disk is full."""
        rest = memoryview(piece)
        with suppress(OSError, ValueError):  # the second for a file that was closed
            while rest:
                written = self._sink.write(rest)
                if written is None:  # the descriptor does not wait, as some hosts set it
                    select.select([], [self._sink], [])
                rest = rest[written or 0 :]


class Raw(io.RawIOBase):
    """The bytes below the text: given to the outlet, looking like the descriptor that they end up at."""

    def __init__(self, outlet: Outlet, descriptor: int) -> None:
        self._outlet = outlet
        self._descriptor = descriptor

    def writable(self) -> bool:
        """Tell that this can be written to."""
        return True

    def write(self, piece: Buffer, /) -> int:
        """Take all of it, at once."""
        whole = bytes(piece)
        self._outlet.put(whole)
        return len(whole)

    def fileno(self) -> int:
        """Give the descriptor, for whoever asks how wide the terminal is."""
        return self._descriptor

    def isatty(self) -> bool:
        """Tell whether a person reads this."""
        return os.isatty(self._descriptor)


class Pipe:
    """Takes what is written to the descriptor itself, by the interpreter, libraries in C and old standard streams.

    Its writers do not wait either: what is too much for the pipe is lost, in a process that is too busy to read it.
    """

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._source, into = os.pipe()
        if sys.platform != "win32":
            os.set_blocking(self._source, False)
            os.set_blocking(into, False)
        os.dup2(into, STDERR, inheritable=True)
        os.close(into)
        threading.Thread(target=self._pass_on, name="stderr of others", daemon=True).start()

    def take(self) -> bool:
        """Pass on what lies there, and tell whether there may be more later."""
        with suppress(BlockingIOError):
            while piece := os.read(self._source, 1 << 16):
                self._outlet.put(piece)
            return False
        return True

    def _pass_on(self) -> None:
        while self.take():
            select.select([self._source], [], [])


class Stderr(io.TextIOWrapper):
    """Takes the place of `sys.stderr`, and of its descriptor where the system can move that."""

    def __init__(self, sink: io.FileIO, before: TextIO | None) -> None:
        self._sink = sink
        self._before = before
        self._outlet = Outlet(sink)
        self._others = Pipe(self._outlet) if sys.platform != "win32" else None
        raw = cast("IO[bytes]", Raw(self._outlet, sink.fileno()))
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def drain(self) -> bool:
        """Wait a moment until all is written; tell whether it is."""
        self.flush()
        if self._others:
            self._others.take()
        return self._outlet.drain()

    def give_back(self) -> None:
        """Have the interpreter write its last words itself, unless it would wait for that."""
        if self.drain() and self._before:
            if self._others:
                os.dup2(self._sink.fileno(), STDERR)
            sys.stderr = self._before


def spare_stderr() -> None:
    """Let nobody in this process wait for standard error, from now on to its end.

    Leaves alone what somebody else has put in its place.
    """
    before = cast("TextIO | None", sys.stderr)  # there is none under pythonw, or where a host closed it
    if before is None or is_standard(before):
        stream = Stderr(sink_of(before), before)
        sys.stderr = stream
        atexit.register(stream.give_back)


def drain_stderr() -> None:
    """Wait a moment until all that was said on standard error is written."""
    if isinstance(sys.stderr, Stderr):
        sys.stderr.drain()


def is_standard(stream: TextIO) -> bool:
    """Tell whether a stream leads to standard error."""
    try:
        return stream.fileno() == STDERR
    except (AttributeError, OSError, ValueError):
        return False


def sink_of(stream: TextIO | None) -> io.FileIO:
    """Give a raw file that leads to where standard error led when the process started."""
    take_numbers()
    if sys.platform == "win32":
        buffer: object = stream.buffer if stream else io.FileIO(os.devnull, "wb")
        return cast(
            "io.FileIO", getattr(buffer, "raw", buffer)
        )  # unbuffered, it is the raw file; consoles have a like one
    else:  # noqa: RET505 - so that each system's types are looked at
        return io.FileIO(fcntl.fcntl(STDERR, fcntl.F_DUPFD_CLOEXEC, STDERR + 1), "wb")


def take_numbers() -> None:
    """Open nothing in place of what a host closed, so that no file gets the number that libraries write to."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(opened)
