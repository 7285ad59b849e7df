"""What tasks cost a server, and how that grows with the number of them that are open (Linux).

A real server over stdio, its own ledger on disk, and a RunAPI over real sockets that costs next to nothing. Beside each
figure stands that of bare httpx, which asks the same RunAPI from the same machine in the same run.

Its goals are those for 10,000 open tasks; that a poll costs the same with 100 of them shows that it does not grow.
"""

import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from luma_mcp.core.models import Status, Task, VideoRequest, new_key
from luma_mcp.ledger.ledger import Ledger, insert
from luma_mcp.ledger.records import row_of
from tests.support.busy_runapi import TASKS, task_id_for
from tests.support.rig import KEY, SOURCE
from tests.support.stdio_client import INITIALIZE
from tests.system.benchmarks.figures import Figure

OPEN_TASKS = (100, 1_000, 10_000)
QUICK_SIZE = 1_000
POLLS_PER_SECOND = 200
TAKEN_UP_SECONDS = 15.0
SETTLING_SECONDS = 2.0
WATCHED_SECONDS = 12.0
LISTS = 200
CALLS_PER_SECOND = 100
CALLING_SECONDS = 10.0
GENERATION_SECONDS = 25.0
WHOLE_TASKS = 400
AT_ONCE = 1_000
BOUND_SECONDS = 40
LONG_SECONDS = 100_000.0


@dataclass
class Server:
    """A server process, and the answers that are awaited from it."""

    process: asyncio.subprocess.Process
    awaited: dict[int, asyncio.Future[dict[str, Any]]] = field(
        default_factory=dict[int, asyncio.Future[dict[str, Any]]]
    )

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = len(self.awaited) + 1
        self.awaited[number] = asyncio.get_running_loop().create_future()
        self.say({"id": number, "method": method, "params": params})
        return await self.awaited[number]

    def say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")

    async def read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            message = json.loads(line)
            if (number := message.get("id")) and "method" not in message:
                self.awaited[number].set_result(message["result"])

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return await self.request("tools/call", {"name": name, "arguments": arguments})

    def cpu_seconds(self) -> float:
        """Give the processor time that the server has used, its threads' too."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / clock_ticks()

    def resident_mebibytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def clock_ticks() -> int:
    """Give how many of its units of time the system counts in a second."""
    if sys.platform != "win32":
        return os.sysconf("SC_CLK_TCK")
    raise NotImplementedError


@contextmanager
def busy_runapi(seconds: float) -> Generator[str]:
    """Run a RunAPI whose tasks take so many seconds, and give its address."""
    command = [sys.executable, "-m", "tests.support.busy_runapi", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@asynccontextmanager
async def serving(home: Path, url: str) -> AsyncGenerator[Server]:
    """Run a server on the ledger below `home`, initialized."""
    settings = {
        "HOME": str(home),
        "RUNAPI_API_KEY": KEY,
        "RUNAPI_BASE_URL": url,
        "LUMA_MCP_DATA_DIR": str(home / "data"),
        "LUMA_MCP_OUTPUT_DIR": str(home / "out"),
        "LUMA_MCP_ALLOW_PRIVATE": "true",
        "LUMA_MCP_MAX_ACTIVE": "1000000",
        "LUMA_MCP_POLLS_PER_SECOND": str(POLLS_PER_SECOND),
        "LUMA_MCP_LOG_LEVEL": "ERROR",
    }
    command, pipe = [sys.executable, "-m", "luma_mcp"], subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | settings, limit=1 << 24, stdin=pipe, stdout=pipe
    )
    server = Server(process)
    reading = asyncio.create_task(server.read())
    try:
        await server.request("initialize", INITIALIZE)
        server.say({"method": "notifications/initialized"})
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        reading.cancel()


async def fill(path: Path, url: str, tasks: int) -> None:
    """Make a ledger of tasks that RunAPI took a minute ago and will not finish."""
    now = time.time() - 60
    request = VideoRequest(prompt="", source=SOURCE)
    draft = Task(
        key="",
        caller="local",
        request=request,
        created_at=now,
        updated_at=now,
        wanted_at=now,
        sent_at=now,
        origin=url,
        key_id=hashlib.sha256(KEY.encode()).hexdigest()[:16],
        status=Status.PROCESSING,
        charged="unknown",
        attempts=1,
    )

    def write(db: Any) -> None:
        for number in range(tasks):
            own = {
                "key": new_key(),
                "task_id": task_id_for(number, now, LONG_SECONDS),
                "prompt": f"Foggy morning {number}",
            }
            insert(db, row_of(draft) | own | {"name": own["key"]})

    with closing(Ledger.in_file(path)) as ledger:
        await ledger._store.write(write)


async def asked(url: str, kind: str) -> int:
    async with httpx.AsyncClient() as client:
        return int((await client.get(f"{url}/asked")).json().get(kind, 0))


async def bare_request_milliseconds(url: str, polls: int = 1_000) -> float:
    """Measure what one question costs bare httpx, in milliseconds of processor time."""
    address = f"{url}{TASKS}/{task_id_for(0, time.time(), LONG_SECONDS)}"
    async with httpx.AsyncClient() as client:
        await client.get(address)
        begun = time.process_time()
        for _ in range(polls):
            (await client.get(address)).json()
        return 1000 * (time.process_time() - begun) / polls


async def measure_open(size: int, *, calls: bool) -> AsyncIterator[Figure]:
    """Measure a server with so many open tasks: taking them up, asking for them, and new calls beside that."""
    name = f"{size:,} open tasks"
    with tempfile.TemporaryDirectory() as folder, busy_runapi(LONG_SECONDS) as url:
        home = Path(folder)
        await fill(home / "data" / "tasks.sqlite3", url, size)
        async with serving(home, url) as server:
            memory = server.resident_mebibytes()
            begun = time.perf_counter()
            await server.call("list_tasks")
            await taken_up(home / "data" / "tasks.sqlite3", size)
            yield Figure(
                f"{name}, until all are taken up", "s", time.perf_counter() - begun, TAKEN_UP_SECONDS, at_most=1
            )
            await asyncio.sleep(SETTLING_SECONDS)
            before, cpu = await asked(url, "poll"), server.cpu_seconds()
            await asyncio.sleep(WATCHED_SECONDS)
            polls = await asked(url, "poll") - before
            a_poll = 1000 * (server.cpu_seconds() - cpu) / polls
            yield Figure(f"{name}, a poll: CPU time", "ms", a_poll, await bare_request_milliseconds(url), within=2)
            yield Figure(f"{name}: resident memory", "MiB", server.resident_mebibytes(), memory, within=150)
            if calls:
                lists = await measure_idle_lists()
                beside = await measure_calls(server)
                yield Figure(f"{name} and new calls, tools/list, p99", "ms", beside.lists, lists, within=20)
                yield Figure(f"{name}, new calls in a second", "calls", CALLS_PER_SECOND, beside.rate, at_most=1.02)


async def taken_up(path: Path, tasks: int) -> None:
    """Wait until the server has a lease on each task."""
    with closing(Ledger.in_file(path)) as ledger:
        while True:
            found = await ledger._store.read("SELECT count(*) AS tasks FROM tasks WHERE lease_owner <> ''", ())
            if found[0]["tasks"] >= tasks:
                return
            await asyncio.sleep(0.05)


class Beside(NamedTuple):
    """What calls took beside the open tasks."""

    rate: float  # new calls answered in a second
    lists: float  # milliseconds of `tools/list`, of the slowest hundredth


async def measure_idle_lists() -> float:
    """Ask a server without tasks for its tools, and give how many milliseconds the slowest hundredth took."""
    took = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder), "http://127.0.0.1:9") as server:
            for _ in range(LISTS):
                await timed(server, took, "tools/list", {})
    return 1000 * percentile(took, 99)


async def measure_calls(server: Server) -> Beside:
    """Make new calls at an even rate, and ask for the tools meanwhile."""
    new, lists = list[float](), list[float]()
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(CALLS_PER_SECOND * CALLING_SECONDS)):
            await asyncio.sleep(max(0.0, begun + number / CALLS_PER_SECOND - time.perf_counter()))
            arguments = {"prompt": f"new {number}", "source_video_url": SOURCE, "wait_seconds": 0}
            group.create_task(timed(server, new, "tools/call", {"name": "modify_video", "arguments": arguments}))
            if number % 5 == 0:
                group.create_task(timed(server, lists, "tools/list", {}))
    return Beside(len(new) / (time.perf_counter() - begun), 1000 * percentile(lists, 99))


async def timed(server: Server, into: list[float], method: str, params: dict[str, Any]) -> None:
    begun = time.perf_counter()
    await server.request(method, params)
    into.append(time.perf_counter() - begun)


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]


async def measure_whole_tasks(tasks: int) -> AsyncIterator[Figure]:
    """Measure tasks from the call to the saved file: processor time for each, and how late their end was seen."""
    with tempfile.TemporaryDirectory() as folder, busy_runapi(GENERATION_SECONDS) as url:
        async with serving(Path(folder), url) as server:
            await server.call("list_tasks")
            cpu = server.cpu_seconds()
            async with asyncio.TaskGroup() as group:
                late = [group.create_task(seconds_late(server, number)) for number in range(tasks)]
            cost = 1000 * (server.cpu_seconds() - cpu) / tasks
            requests = (await asked(url, "poll") + await asked(url, "create") + await asked(url, "video")) / tasks
            bare = requests * await bare_request_milliseconds(url)
    yield Figure("a task of 25 s, from call to file: CPU time", "ms", cost, bare, within=35)
    yield Figure("a task of 25 s, its end seen late", "s", statistics.mean(each.result() for each in late), 2.5)


async def seconds_late(server: Server, number: int) -> float:
    arguments = {"prompt": f"task {number}", "source_video_url": SOURCE, "wait_seconds": 300}
    result = await server.call("modify_video", **arguments)
    found = result["structuredContent"]
    assert found["video_path"], found
    return float(found["elapsed_seconds"]) - GENERATION_SECONDS


async def measure_burst(calls: int) -> AsyncIterator[Figure]:
    """Make many calls at once, and see when the last one is answered, beside the bound of each."""
    with tempfile.TemporaryDirectory() as folder, busy_runapi(LONG_SECONDS) as url:
        async with serving(Path(folder), url) as server:
            begun, arguments = time.perf_counter(), {"source_video_url": SOURCE, "wait_seconds": BOUND_SECONDS}
            async with asyncio.TaskGroup() as group:
                for number in range(calls):
                    group.create_task(server.call("modify_video", prompt=f"task {number}", **arguments))
            took = time.perf_counter() - begun
    yield Figure(f"{calls:,} calls at once, until all are answered", "s", took, BOUND_SECONDS, at_most=1.05)


async def measure(*, quick: bool) -> AsyncIterator[Figure]:
    for size in (QUICK_SIZE,) if quick else OPEN_TASKS:
        async for figure in measure_open(size, calls=not quick):
            yield figure
    for figures in () if quick else (measure_whole_tasks(WHOLE_TASKS), measure_burst(AT_ONCE)):
        async for figure in figures:
            yield figure


def run(*, quick: bool) -> Iterator[Figure]:
    """Measure servers with more and more open tasks, whole tasks, and many calls at once; of these one if quick."""
    with asyncio.Runner() as runner:
        figures = measure(quick=quick)
        while (figure := runner.run(next_of(figures))) is not None:
            yield figure


async def next_of(figures: AsyncIterator[Figure]) -> Figure | None:
    return await anext(figures, None)
