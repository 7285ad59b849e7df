"""Real server processes that can be told to die at a crash point: forked from one that has the imports done."""

import multiprocessing
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from luma_mcp.__main__ import main
from luma_mcp.core import failpoints
from luma_mcp.ledger import schema
from tests.support.stdio_client import StdioClient

ENDING_SECONDS = 10.0
KILL = 9  # the signal, which Windows has no name for
LATE_IMPORTS = ("httpcore", "anyio._backends._asyncio")  # what a server imports with its first request


@dataclass
class Crashing(StdioClient):
    """A server process, spoken to line by line."""

    process: BaseProcess

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.join(ENDING_SECONDS)

    @property
    def killed(self) -> bool:
        """Wait for the end, and tell whether it was SIGKILL."""
        self.process.join(ENDING_SECONDS)
        return self.process.exitcode == -KILL


@contextmanager
def server(
    environment: Mapping[str, str],
    log: Path,
    die_at: str = "",
    *,
    shakes_hands: bool = True,
    capabilities: dict[str, Any] | None = None,
) -> Generator[Crashing]:
    """Start a server, shake hands unless its client is of the later era, and kill it in the end.

    `die_at` is a crash point and which time it is reached; `capabilities` are those that the client declares in the
    handshake.
    """
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *LATE_IMPORTS])
    theirs_in, ours_out = context.Pipe(duplex=False)
    ours_in, theirs_out = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(theirs_in, theirs_out, dict(environment), str(log), die_at))
    process.start()
    theirs_in.close()
    theirs_out.close()
    with (
        ours_in,
        ours_out,
        os.fdopen(os.dup(ours_out.fileno()), "w", encoding="utf-8") as stdin,
        os.fdopen(os.dup(ours_in.fileno()), encoding="utf-8") as stdout,
    ):
        wire = Crashing(stdin, stdout, process)
        try:
            if shakes_hands:
                wire.initialize(capabilities)
            yield wire
        finally:
            wire.kill()


def serve(stdin: Connection, stdout: Connection, environment: dict[str, str], log: str, die_at: str) -> None:
    """Be the server: its pipes and environment in place, the crash point armed."""
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    stdin.close()
    stdout.close()
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(environment["HOME"])
    schema.SYNCHRONOUS = "PRAGMA synchronous = OFF"  # a process that is killed leaves behind what it wrote
    if die_at:
        arm(*die_at.split(":"))
    main([])


def arm(deadly: str, count: str = "1") -> None:
    """Die when the named crash point is reached for the `count`-th time."""
    left = [deadly] * int(count)

    def reach(point: str) -> None:
        if point == deadly:
            left.pop()
            if not left:
                os.kill(os.getpid(), KILL)

    failpoints.reach = reach
