"""How long a server over stdio takes until it has told its tools, and how much memory it has then (Linux).

Ours is the peer's median times the median of the ratios of pairs: the two of a pair ran one after the other.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.system.benchmarks.figures import Figure
from tests.system.benchmarks.processes import EMPTY, LUMA, MeasuredServer, environment, over_stdio

PAIRS, QUICK_PAIRS = 11, 3
GOAL_RATIO, GOAL_MEBIBYTES = 1.10, 8.0
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
}


class Start(NamedTuple):
    """What one start took, each figure in the unit of its name."""

    wall_milliseconds: float
    cpu_milliseconds: float
    mebibytes: float


def run(*, quick: bool) -> Iterator[Figure]:
    """Measure in turn, so that a machine which becomes slower does so for both."""
    pairs = QUICK_PAIRS if quick else PAIRS
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        yield from figures_of("start, initialize", pairs, home, begin_with_handshake)
        if not quick:
            yield from figures_of("start, server/discover", pairs, home, begin_with_discovery)
        yield version_figure(pairs, home)


def figures_of(name: str, pairs: int, home: Path, begin: Callable[[MeasuredServer], None]) -> Iterator[Figure]:
    for command in (LUMA, EMPTY):
        measure(command, home, begin)  # compiles byte code
    measured = [(measure(LUMA, home, begin), measure(EMPTY, home, begin)) for _ in range(pairs)]
    peer = Start(*(statistics.median(column) for column in zip(*(empty for _, empty in measured), strict=True)))
    ratios = [[ours / empty for ours, empty in zip(*pair, strict=True)] for pair in measured]
    ours = Start(*(statistics.median(column) * of for column, of in zip(zip(*ratios, strict=True), peer, strict=True)))
    yield Figure(f"{name} and tools/list", "ms", ours.wall_milliseconds, peer.wall_milliseconds, at_most=GOAL_RATIO)
    yield Figure(f"{name}: CPU time", "ms", ours.cpu_milliseconds, peer.cpu_milliseconds, at_most=GOAL_RATIO)
    yield Figure(f"{name}: resident memory", "MiB", ours.mebibytes, peer.mebibytes, above=GOAL_MEBIBYTES)


def measure(command: list[str], home: Path, begin: Callable[[MeasuredServer], None]) -> Start:
    begun = time.perf_counter()
    with over_stdio(command, home) as server:
        begin(server)
        took = time.perf_counter() - begun
        return Start(1000 * took, 1000 * server.cpu_seconds(), server.resident_mebibytes())


def begin_with_handshake(server: MeasuredServer) -> None:
    server.initialize()
    assert server.ask("tools/list")["tools"]


def begin_with_discovery(server: MeasuredServer) -> None:
    server.ask("server/discover", _meta=MODERN_META)
    assert server.ask("tools/list", _meta=MODERN_META)["tools"]


def version_figure(pairs: int, home: Path) -> Figure:
    """Compare `--version` with a Python that does nothing."""
    commands = ([*LUMA, "--version"], [sys.executable, "-c", ""])
    measured = [[cpu_milliseconds(command, home) for command in commands] for _ in range(3 * pairs)]
    ours, peer = (statistics.median(figures) for figures in zip(*measured, strict=True))
    return Figure("--version, beside an empty Python: CPU time", "ms", ours, peer)


def cpu_milliseconds(command: list[str], home: Path) -> float:
    process: subprocess.Popen[Any] = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env=environment(home), cwd=home
    )
    if sys.platform != "win32":
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
        return 1000 * (used.ru_utime + used.ru_stime)
    raise NotImplementedError
