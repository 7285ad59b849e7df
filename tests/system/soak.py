"""Thousands of tasks through faults, by three real servers on one ledger that are killed and stopped. Run by hand.

Callers give up, drop late answers, ask several servers the same at once, and repeat what they have an answer to.

Usage: python -m tests.system.soak [TASKS] [FAULT_SHARE] [LONGEST_SECONDS]
"""

import logging
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, MCPError, StdioServerParameters

from luma_mcp.core.models import Status, Task
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.sandbox.application import Sandbox
from tests.support.faulty_sandbox import RandomFaults, sandbox_served
from tests.support.rig import SOURCE, structured
from tests.support.sandbox_process import SERVER, server_environment

SERVERS = 3
CALLS_AT_ONCE = 120
GENERATION_SECONDS = 3.0
KILL_EVERY_SECONDS = 20.0
STOP_EVERY_SECONDS = 9.0
STOPPED_SECONDS = 4.0
PATIENCE_SECONDS = (60.0, 60.0, 5.0, 0.5)


@dataclass
class Soak:
    """What is under way, and what was counted."""

    home: Path
    url: str
    wanted: list[str]
    clients: list[Client | None] = field(default_factory=lambda: [None] * SERVERS)
    kills: int = 0
    stops: int = 0
    calls: int = 0
    repeated: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(2026))  # noqa: S311 - the same callers in every run
    answers: Counter[str] = field(default_factory=Counter[str])
    peaks: list[int] = field(default_factory=list[int])

    async def serve(self, number: int) -> None:
        """Keep a server running: start it again when it was killed."""
        more = {"LUMA_MCP_MAX_ACTIVE": "100000", "LUMA_MCP_LOG_LEVEL": "ERROR", "SOAK_SERVER": str(number)}
        environment = server_environment(self.home, self.url) | more
        while True:
            server = StdioServerParameters(command=SERVER[0], args=SERVER[1:], env=environment)
            with suppress(MCPError, OSError, anyio.ClosedResourceError, BaseExceptionGroup):
                async with Client(server) as client:
                    self.clients[number] = client
                    while pid_of(number):  # noqa: ASYNC110 - nothing tells of a process's end
                        await anyio.sleep(0.2)
            self.clients[number] = None

    async def kill(self) -> None:
        """Kill one server after the other."""
        while True:
            await anyio.sleep(KILL_EVERY_SECONDS)
            if sys.platform != "win32" and (pid := pid_of(self.kills % SERVERS)):
                self.peaks.append(peak_memory(pid))
                os.kill(pid, signal.SIGKILL)
                self.kills += 1

    async def stop(self) -> None:
        """Let one server after the other stand still for a while, as a machine does that is short of memory."""
        while True:
            await anyio.sleep(STOP_EVERY_SECONDS)
            if sys.platform != "win32" and (pid := pid_of(self.stops % SERVERS)):
                self.stops += 1
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    await anyio.sleep(STOPPED_SECONDS)
                    os.kill(pid, signal.SIGCONT)

    async def work(self, number: int) -> None:
        """Be a person who asks for one clip after the other, and who tries the next host when one fails."""
        while self.wanted:
            prompt = self.wanted.pop()
            if self.chance.random() < 0.3:
                async with anyio.create_task_group() as calls:
                    for server in range(SERVERS):
                        calls.start_soon(self.ask, server, prompt)
            while not await self.ask(number % SERVERS, prompt):
                number += 1
                await anyio.sleep(0.5)
            if self.chance.random() < 0.3:
                self.repeated += await self.ask(self.chance.randrange(SERVERS), prompt)

    async def ask(self, number: int, prompt: str) -> bool:
        """Make one call; tell whether the clip is done."""
        client = self.clients[number]
        if client is None:
            return False
        self.calls += 1
        try:
            with anyio.fail_after(self.chance.choice(PATIENCE_SECONDS)):
                task = structured(
                    await client.call_tool("modify_video", {"prompt": prompt, "source_video_url": SOURCE})
                )
        except (MCPError, TimeoutError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self.answers[type(error).__name__] += 1
            return False
        self.answers[task["error"]["code"] if "error" in task else str(task.get("status"))] += 1
        return bool(task.get("done")) and bool(task.get("video_path"))


def pid_of(number: int) -> int:
    """Find the process of a server by its environment; 0 if it is not running."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"SOAK_SERVER={number}\0".encode() in entry.read_bytes() + b"\0":
                return int(entry.parent.name)
    return 0


def peak_memory(pid: int) -> int:
    """Give the most memory that a process ever held, in KiB."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return 0


async def every_task(home: Path) -> list[Task]:
    """Read the ledger."""
    (path,) = home.rglob("tasks.sqlite3")
    ledger = Ledger.in_file(path)
    try:
        return (await ledger.page("local", "", 1_000_000, ""))[0]
    finally:
        ledger.close()


async def main(tasks: int = 2000, share: float = 0.1, longest_seconds: float = 900.0) -> bool:
    """Run the soak, print its figures, and tell whether all promises were kept."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # it is told to break connections
    home = Path(tempfile.mkdtemp(prefix="soak"))
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sandbox = Sandbox(
        home / "runapi",
        time.time,
        api_url=url,
        storage_url=url,
        seconds=GENERATION_SECONDS,
        credit_cents=100 * tasks * 100,
        faults=RandomFaults(share),
    )
    soak = Soak(home, url, [f"take {number}" for number in range(tasks)])
    begun = time.monotonic()
    with anyio.move_on_after(longest_seconds) as bound:
        async with sandbox_served(sandbox, listener), anyio.create_task_group() as background:
            for number in range(SERVERS):
                background.start_soon(soak.serve, number)
            background.start_soon(soak.kill)
            background.start_soon(soak.stop)
            async with anyio.create_task_group() as hosts:
                for number in range(CALLS_AT_ONCE):
                    hosts.start_soon(soak.work, number)
            soak.peaks += [peak_memory(pid_of(number)) for number in range(SERVERS)]
            background.cancel_scope.cancel()
    seconds = time.monotonic() - begun
    return report(soak, await every_task(home), sandbox, tasks, seconds, in_time=not bound.cancelled_caught)


def report(soak: Soak, rows: list[Task], sandbox: Sandbox, tasks: int, seconds: float, *, in_time: bool) -> bool:
    """Print the figures."""
    made = sandbox.state.generations()
    saved = {str(path) for path in (soak.home / "Videos" / "luma").iterdir() if not path.name.startswith(".")}
    done = [row for row in rows if row.status is Status.COMPLETED and row.video_path in saved]
    polls = sum(seen.method == "GET" and "/modify_video/" in seen.path for seen in sandbox.recorded_requests)
    posts = sum("idempotency-key" in seen.headers for seen in sandbox.recorded_requests)
    print(f"{tasks} distinct requests, {soak.calls} calls, {seconds:.0f} s{'' if in_time else ', cut off'}")
    prompts = {one.body["prompt"] for one in made}
    print(f"charges: {len(made)} for {len(prompts)} different prompts, {posts} submissions sent")
    print(f"losses: {tasks - len({row.request.prompt for row in done})}; ledger rows {len(rows)}, files {len(saved)}")
    print(f"polls: {polls}, {polls / max(1, len(made)):.2f} a task; repeated although done: {soak.repeated}")
    print(f"servers killed: {soak.kills}, stopped: {soak.stops}")
    print(f"peak memory of a server: {max(soak.peaks) / 1024:.1f} MiB; answers: {dict(soak.answers.most_common())}")
    print(f"ledger: {sum(path.stat().st_size for path in soak.home.rglob('tasks.sqlite3*')) / tasks:.0f} bytes a task")
    return in_time and len(made) == len(rows) == len(done) == len(saved) == tasks


def numbers(arguments: list[str]) -> list[Any]:
    """Read the arguments."""
    return [kind(value) for kind, value in zip((int, float, float), arguments, strict=False)]


if __name__ == "__main__":
    sys.exit(0 if anyio.run(main, *numbers(sys.argv[1:])) else 1)
