"""A fleet of replicas on one PostgreSQL that are killed in turn, beside one server on SQLite. Run by hand (Linux).

Each task has a caller with a token of its own, who reaches any replica, and another one where that is away.

Usage: python -m tests.system.fleet [TASKS] [FAULT_SHARE] [GENERATION_SECONDS]; or --quick, as CI does, which leaves out
the one server and fails only where a promise is broken.
"""

import logging
import math
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
from pydantic import SecretStr

from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.postgres import PostgresStore
from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.requests import ContractVariant
from luma_mcp.worker.tracker import LEASE_SECONDS
from tests.support.faulty_sandbox import RandomFaults, sandbox_served
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.replicas import Fleet, Replica, cpu_seconds, fleet_of, replicas_of
from tests.support.rig import SOURCE
from tests.support.stores import database_of, use_database

KILL_EVERY_SECONDS = 10.0
SAMPLE_SECONDS = 0.5
LONGEST_SECONDS = 300.0
REPLICAS = 2
TAKEOVER_GOAL_SECONDS = 20.0
TIME_GOAL_SECONDS = 50.0
CPU_GOAL_MILLISECONDS = 40.0


@dataclass(frozen=True)
class Size:
    """How many tasks there are, which share of RunAPI's answers goes wrong, and how many seconds a generation takes."""

    tasks: int = 1000
    share: float = 0.05
    seconds: float = 25.0


QUICK = Size(100, seconds=12.0)


@dataclass(frozen=True)
class Sample:
    """Who had which open task at one moment (POSIX seconds)."""

    at: float
    owners: dict[str, str]  # by key; empty if nobody


@dataclass
class LeaseWatch:
    """Looks now and then who follows which task, to tell afterwards how long those of a dead server lay idle."""

    samples: list[Sample] = field(default_factory=list[Sample])
    heartbeats: dict[str, float] = field(default_factory=dict[str, float])  # the last of each server
    kills: list[float] = field(default_factory=list[float])

    async def look(self, ledger: Ledger) -> None:
        """Look for ever."""
        while True:
            open_tasks = "SELECT key, lease_owner FROM tasks WHERE status NOT IN ('completed', 'failed')"
            rows = await ledger._store.read(open_tasks, ())
            self.samples.append(Sample(time.time(), {row["key"]: row["lease_owner"] for row in rows}))
            for row in await ledger._store.read("SELECT owner, alive_until FROM servers", ()):
                self.heartbeats[row["owner"]] = row["alive_until"] - LEASE_SECONDS
            await anyio.sleep(SAMPLE_SECONDS)

    def takeovers(self) -> Generator[float]:
        """Give for each task that a killed server had the seconds until another one had it, or it was over."""
        for owner, heartbeat in self.heartbeats.items():
            killed_at = min((kill for kill in self.kills if kill >= heartbeat), default=math.inf)
            later = [sample for sample in self.samples if sample.at >= killed_at]
            for key in [key for key, who in later[0].owners.items() if who == owner] if later else []:
                taken = (sample.at for sample in later if sample.owners.get(key) not in (owner, ""))
                yield next(taken, math.inf) - killed_at


@dataclass(frozen=True)
class Outcome:
    """What one run showed; processor time is in milliseconds a task."""

    tasks: int
    charges: int
    charged_wishes: int
    lost: int
    kills: int
    takeover_seconds: float
    seconds: float
    cpu: float  # of the servers
    restart_cpu: float  # about as much of it went into starting them again
    store_cpu: float  # of PostgreSQL
    requests: int  # that RunAPI saw
    tries: dict[str, int]

    @property
    def keeps_promises(self) -> bool:
        exact = self.charges == self.charged_wishes == self.tasks
        return exact and not self.lost and self.takeover_seconds <= TAKEOVER_GOAL_SECONDS


async def kill_in_turn(replicas: list[Replica], watch: LeaseWatch) -> None:
    """Kill one replica after the other, and start each again at once."""
    while True:
        await anyio.sleep(KILL_EVERY_SECONDS)
        replica = replicas[len(watch.kills) % len(replicas)]
        replica.kill()
        watch.kills.append(time.time())
        replica.start()


async def ask(fleet: Fleet, number: int, finished: set[str]) -> None:
    """Be a caller with one wish, who repeats the request until the video is there."""
    while True:
        task = await fleet.call(token_of(number), "modify_video", prompt=f"wish {number}", source_video_url=SOURCE)
        if task.get("done") and task.get("video_urls"):
            finished.add(task["task_id"])
            return
        await anyio.sleep(1)


def token_of(number: int) -> str:
    return f"token-of-caller-{number:08}"


@asynccontextmanager
async def double(home: Path, size: Size) -> AsyncGenerator[tuple[Sandbox, str]]:
    """Serve what plays RunAPI, which tells as little of how long tasks take as RunAPI does; give its address, too."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # it is told to break connections
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sandbox = Sandbox(
        home / "runapi",
        time.time,
        api_url=url,
        storage_url=url,
        seconds=size.seconds,
        credit_cents=100 * size.tasks,
        faults=RandomFaults(size.share),
        shape=ContractVariant(tells_seconds=False),
    )
    async with sandbox_served(sandbox, listener):
        yield sandbox, url


async def serve_callers(fleet: Fleet, tasks: int, watch: LeaseWatch, ledger: Ledger) -> set[str]:
    """Have all tasks made while servers are killed; give the ids of those whose callers have their video."""
    finished = set[str]()
    with anyio.move_on_after(LONGEST_SECONDS):
        async with anyio.create_task_group() as background:
            background.start_soon(watch.look, ledger)
            background.start_soon(kill_in_turn, fleet.replicas, watch)
            async with anyio.create_task_group() as callers:
                for number in range(tasks):
                    callers.start_soon(ask, fleet, number, finished)
            await anyio.sleep(SAMPLE_SECONDS)  # so that the last ends are seen
            background.cancel_scope.cancel()
    return finished


async def run(home: Path, count: int, size: Size, database: PostgresServer | None = None) -> Outcome:
    """Have all tasks made by so many servers, whose ledger is in the database if there is one."""
    pairs = ",".join(f"caller-{number}:{token_of(number)}" for number in range(size.tasks))
    settings = {"LUMA_MCP_AUTH_TOKENS": pairs, "LUMA_MCP_LOG_LEVEL": "ERROR"}
    if database:
        use_database(home, database.new_database())
    watch, store_busy = LeaseWatch(), store_seconds(database)
    async with double(home, size) as (sandbox, url):
        with replicas_of(home, url, count, **settings) as replicas, closing(ledger_of(home)) as ledger:
            async with fleet_of(replicas) as fleet:
                begun, started = time.monotonic(), sum(replica.cpu_seconds for replica in replicas)
                finished = await serve_callers(fleet, size.tasks, watch, ledger)
            took = time.monotonic() - begun
            busy = sum(replica.cpu_seconds for replica in replicas) - started
        made = sandbox.state.generations()
    return Outcome(
        tasks=size.tasks,
        charges=len(made),
        charged_wishes=len({each.body["prompt"] for each in made}),
        lost=size.tasks - len(finished & {each.id for each in made}),
        kills=len(watch.kills),
        takeover_seconds=max(watch.takeovers(), default=0.0),
        seconds=took,
        cpu=1000 * busy / size.tasks,
        restart_cpu=1000 * started / count * len(watch.kills) / size.tasks,
        store_cpu=1000 * (store_seconds(database) - store_busy) / size.tasks,
        requests=len(sandbox.recorded_requests),
        tries=dict(fleet.seen.most_common()),
    )


def ledger_of(home: Path) -> Ledger:
    """Open the ledger that the servers of a home have."""
    if url := database_of(home):
        return Ledger(PostgresStore(SecretStr(url), "luma_mcp"))
    return Ledger.in_file(home / ".local" / "share" / "luma-mcp" / "tasks.sqlite3")


def store_seconds(database: PostgresServer | None) -> float:
    """Give the processor time of PostgreSQL and of all its processes, 0 where there is none."""
    if database is None or database.process is None:
        return 0.0
    postmaster = database.process.pid
    tasks = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii").split()
    return cpu_seconds(postmaster, children=True) + sum(cpu_seconds(int(pid)) for pid in tasks)


def load() -> str:
    """Give how many processes wanted a processor in the last minute: with many others, figures mean little."""
    return Path("/proc/loadavg").read_text(encoding="ascii").split()[0]


def report(name: str, found: Outcome) -> None:
    """Print the figures of a run."""
    kept = "" if found.keeps_promises else " BROKEN"
    print(f"{name}: {found.tasks} tasks, {found.kills} kills, load {load()}")
    print(f"  charges {found.charges} for {found.charged_wishes} wishes, lost {found.lost}{kept}")
    print(f"  longest takeover {found.takeover_seconds:.1f} s (goal {TAKEOVER_GOAL_SECONDS:.0f})")
    print(f"  all done after {found.seconds:.1f} s (goal {TIME_GOAL_SECONDS:.0f})")
    print(
        f"  CPU a task: {found.cpu:.1f} ms (goal {CPU_GOAL_MILLISECONDS:.0f}), {found.restart_cpu:.1f} of it to restart"
    )
    print(f"  CPU a task of PostgreSQL: {found.store_cpu:.1f} ms")
    print(f"  requests to RunAPI a task {found.requests / found.tasks:.2f}; calls {found.tries}", flush=True)


async def main(size: Size, *, quick: bool) -> bool:
    """Run the fleet, and the one server unless quick; tell whether all promises were kept."""
    with postgres_server(durable=True) as database, tempfile.TemporaryDirectory() as folder:
        fleet = await run(made(Path(folder) / "fleet"), REPLICAS, size, database)
        report("two replicas on PostgreSQL", fleet)
        if quick:
            return fleet.keeps_promises
        single = await run(made(Path(folder) / "single"), 1, size)
        report("one server on SQLite", single)
    return fleet.keeps_promises and single.keeps_promises


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def size_of(words: list[str]) -> Size:
    kinds = zip((int, float, float), words, strict=False)
    return Size(*(kind(word) for kind, word in kinds))


if __name__ == "__main__":
    asked = sys.argv[1:]
    given = QUICK if asked == ["--quick"] else size_of(asked)
    sys.exit(0 if anyio.run(partial(main, given, quick=given is QUICK)) else 1)
