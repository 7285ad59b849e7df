"""How long a `get_task` takes, beside a call of a tool that does nothing, over stdio and over HTTP (Linux)."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from tests.system.benchmarks.figures import Figure
from tests.system.benchmarks.processes import EMPTY, LUMA, SANDBOX, MeasuredServer, over_http, over_stdio

ROUNDS, QUICK_ROUNDS = 9, 3
CALLS = 100  # in a round; those for a task that runs must be over before it ends
STDIO_GOAL, HTTP_GOAL = 1.5, 2.0  # milliseconds above the peer
HTTP = ["--transport", "streamable-http", "--port", "0"]


class Round(NamedTuple):
    """What a call took in the middle, in milliseconds."""

    wall: float
    cpu: float


def run(*, quick: bool) -> Iterator[Figure]:
    """Measure ours and the peer in turn, first while a task runs, then when it has finished."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        yield from compare("stdio", over_stdio([*LUMA, SANDBOX], home), over_stdio(EMPTY, home), rounds, STDIO_GOAL)
        ours, peer = over_http([*LUMA, SANDBOX, *HTTP], home), over_http([*EMPTY, "http"], home)
        yield from compare("HTTP, kept connection", ours, peer, rounds, HTTP_GOAL)


def compare(
    way: str,
    ours: AbstractContextManager[MeasuredServer],
    peer: AbstractContextManager[MeasuredServer],
    rounds: int,
    goal: float,
) -> Iterator[Figure]:
    with ours as luma, peer as empty:
        luma.initialize()
        empty.initialize()
        asked = {"prompt": f"fog, {way}", "source_video_url": "https://example.com/clip.mp4"}
        task: dict[str, Any] = luma.call("modify_video", **asked, wait_seconds=0)
        yield from figures_of(f"get_task, {way}, it runs", luma, empty, task, QUICK_ROUNDS, goal)
        assert luma.call("modify_video", **asked, wait_seconds=60)["done"]
        yield from figures_of(f"get_task, {way}, it has finished", luma, empty, task, rounds, goal)


def figures_of(
    name: str, luma: MeasuredServer, empty: MeasuredServer, task: dict[str, Any], rounds: int, goal: float
) -> Iterator[Figure]:
    pairs = [
        (measure(luma, "get_task", task_id=task["task_id"]), measure(empty, "nothing")) for _ in range(rounds + 1)
    ][1:]
    ours, peer = (Round(*map(statistics.median, zip(*each, strict=True))) for each in zip(*pairs, strict=True))
    yield Figure(name, "ms", ours.wall, peer.wall, above=goal)
    yield Figure(f"{name}: CPU time", "ms", ours.cpu, peer.cpu, above=goal)


def measure(server: MeasuredServer, tool: str, **arguments: Any) -> Round:
    took: list[float] = []
    cpu = server.cpu_seconds()
    for _ in range(CALLS):
        begun = time.perf_counter()
        server.call(tool, **arguments)
        took.append(time.perf_counter() - begun)
    return Round(1000 * statistics.median(took), 1000 * (server.cpu_seconds() - cpu) / CALLS)
