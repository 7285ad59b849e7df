"""Everything at once, from a seed: faults, kills, jumping clocks, several servers, hosts and models that repeat calls.

Usage: python -m tests.system.simulation SEED [LAST]

Plays one seed, or all up to another, and tells what happened if one fails.
"""

import math
import random
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
import trio._core._run
import trio.testing
from anyio.abc import TaskGroup

from luma_mcp.app.progress import Progress
from luma_mcp.core import backoff, failpoints
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Status, Task
from luma_mcp.ledger import schema
from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.faults import Fault, Kind
from luma_mcp.sandbox.state import Generation
from luma_mcp.sandbox.transport import open_asgi_transport
from tests.support.rig import Rig, VirtualClock, open_rig, run_inline, sandbox_for, silent

SERVERS = 3
STEPS = 14
HOUR = 3600.0
LATER_SECONDS = 1400.0  # longer than any task is put aside, however often the clock is set back
POINTS = (
    *("submission.intended", "submission.preparing", "submission.sending", "submission.answered", "lease.taken"),
    *("ledger.written", "ledger.committed", "poll.asking", "poll.answered"),
    *("download.begun", "download.receiving", "download.complete", "download.published", "download.saved"),
)
FAULTS: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("create", ("drop_before", "drop_after", "500", "503", "429", "html", "malformed", "402", "409", "fail", "slow")),
    ("read", ("drop_before", "503", "429", "404", "401", "malformed", "slow")),
    ("output", ("drop_before", "503", "404", "slow")),
)
Request = tuple[str, int]
"""A prompt and a take."""


class Broken(Exception):
    """A promise was broken; the text tells what had happened."""


class Killed(BaseException):
    """The process is dead: nothing that it was at goes any further."""


@dataclass
class Server:
    """A server process: alive, told to end in order, or dead; `deadly` is the crash point that kills it."""

    rig: Rig
    over: anyio.Event = field(default_factory=anyio.Event)
    dead: bool = False
    deadly: str = ""

    def die(self) -> None:
        """Stop at once: whatever the process still tries has no effect."""
        self.dead = True
        self.over.set()
        ledger: Any = self.rig.parts.ledger._store
        ledger.read = ledger.write = dying
        tracker: Any = self.rig.parts.tracker
        tracker.follow = ignored
        tracker._follower.submission._under_way = 0


def ignored(_: str) -> None:
    """Begin nothing."""


async def dying(*_: Any, **__: Any) -> Any:
    """Do what a dead process does."""
    raise Killed


serving: ContextVar[Server | None] = ContextVar("serving", default=None)


def reach(point: str) -> None:
    """Pass a crash point, unless the process that does is to die there or is dead."""
    server = serving.get()
    if server and (server.dead or server.deadly == point):
        server.die()
        raise Killed


class Mortal(httpx.AsyncBaseTransport):
    """A network that dead processes do not reach."""

    def __init__(self, network: httpx.AsyncBaseTransport) -> None:
        self._network = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        server = serving.get()
        if server and server.dead:
            raise Killed
        return await self._network.handle_async_request(request)


class World:
    """One run: a machine with several servers, RunAPI, and people, hosts and models who ask."""

    def __init__(self, seed: int, home: Path, tasks: TaskGroup) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same run for the same seed
        self.home, self.tasks = home, tasks
        self.clock, self.outside = VirtualClock(), VirtualClock()
        self.sandbox: Sandbox = sandbox_for(home, clock=self.outside, seconds=self.chance.choice([1.0, 8.0, 90.0]))
        self.servers: list[Server | None] = [None] * SERVERS
        self.wanted: set[Request] = set()
        self.happened: list[str] = []

    # -- servers ------------------------------------------------------------------------------------------------------

    async def server(self, number: int) -> Server:
        """Give a server that is alive, started if need be."""
        found = self.servers[number]
        if found is None or found.over.is_set():
            self.note(f"server {number} starts")
            found = self.servers[number] = await self.tasks.start(self.serve)
        return found

    async def serve(self, *, task_status: Any) -> None:
        """Be a server until it is told to end, or dies."""
        with suppress_killed():
            async with (
                open_asgi_transport(self.sandbox) as web,
                open_rig(
                    self.home, clock=self.clock, sandbox=self.sandbox, network=Mortal(web), max_active=1000
                ) as rig,
            ):
                server = Server(rig)
                serving.set(server)
                rig.parts.background.start_soon(watch, server)
                rig.app.start_tracker()
                task_status.started(server)
                await server.over.wait()
                if server.dead:
                    raise Killed
                await anyio.sleep(0.01)  # calls end first

    # -- what happens -------------------------------------------------------------------------------------------------

    def note(self, words: str) -> None:
        """Remember what happened, and when."""
        self.happened.append(f"{anyio.current_time():9.2f} {words}")

    async def step(self) -> None:
        """Let something happen."""
        steps: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (8, self.someone_asks),
            (1, self.someone_looks),
            (6, self.runapi_fails),
            (1, self.runapi_is_mended),
            (4, self.a_server_dies),
            (1, self.a_server_ends),
            (2, self.the_clock_is_set),
            (1, self.the_machine_sleeps),
        ]
        await self.chance.choices([each for _, each in steps], [weight for weight, _ in steps])[0]()
        await anyio.sleep(self.chance.choice([0.0, 0.0, 0.3, 2.0, 10.0, 45.0, 200.0]))

    async def someone_asks(self) -> None:
        """A model calls the tool; its host may give up, repeat the call, or ask another server the same."""
        request = self.chance.choice(["fog", "rain"]), self.chance.choice([1, 1, 1, 2])
        for _ in range(self.chance.choice([1, 1, 2, 4])):
            number = self.chance.randrange(SERVERS)
            patience = self.chance.choice([math.inf, math.inf, 0.0, 0.5, 5.0, 20.0])
            wait = self.chance.choice([0, 40, 40])
            self.note(f"server {number} is asked for {request}, for {patience} s")
            self.wanted.add(request)
            server = await self.server(number)
            self.tasks.start_soon(self.call, server, partial(self.ask, server, request, wait), patience)

    async def ask(self, server: Server, request: Request, wait: int) -> None:
        """Call `modify_video`, and believe what is said of it."""
        prompt, take = request
        try:
            outcome = await server.rig.ask(prompt, take=take, wait=wait)
            self.note(f"{request}: {outcome.task.status}, joined {outcome.joined}, charged {outcome.task.charged}")
        except LumaError as error:
            self.note(f"{request}: {error.code}, charged {error.charged}")

    async def someone_looks(self) -> None:
        """A model asks for a task."""
        server = await self.server(self.chance.randrange(SERVERS))
        for task in await rows(server.rig):
            if task.task_id:
                look = partial(
                    server.rig.app.get_task, task.task_id, "local", wait_seconds=40, progress=Progress(silent)
                )
                self.tasks.start_soon(self.call, server, look, self.chance.choice([math.inf, 1.0]))

    async def call(self, server: Server, work: Callable[[], Awaitable[Any]], patience: float) -> None:
        """Make a call to a server, which may die, and whose caller may be gone before the answer."""
        serving.set(server)
        if server.over.is_set():
            return
        with suppress_killed(), suppress(LumaError):
            async with anyio.create_task_group() as group:
                group.start_soon(cancel_when_over, server, group.cancel_scope)
                with anyio.move_on_after(patience):
                    await work()
                group.cancel_scope.cancel()

    async def runapi_fails(self) -> None:
        """RunAPI, its storage or the way there has trouble."""
        route, kinds = self.chance.choice(FAULTS)
        fault = Fault(
            self.chance.choice(kinds),
            route,
            self.chance.choice([1, 1, 3, 30]),
            seconds=self.chance.choice([0.5, 5, 100]),
        )
        self.note(f"RunAPI will fail: {fault.kind} at {route}, {fault.times} times")
        self.sandbox.faults.inject(fault)

    async def runapi_is_mended(self) -> None:
        """RunAPI works again."""
        self.note("RunAPI is mended")
        self.sandbox.faults.clear()

    async def a_server_dies(self) -> None:
        """A server is killed, now or when it is at a certain point."""
        server, point = self.servers[self.chance.randrange(SERVERS)], self.chance.choice(["", *POINTS])
        if server and not server.over.is_set():
            self.note(f"server {self.servers.index(server)} is killed {f'at {point}' if point else 'now'}")
            server.deadly = point
            if not point:
                server.die()

    async def a_server_ends(self) -> None:
        """A host ends its server."""
        server = self.servers[self.chance.randrange(SERVERS)]
        if server and not server.over.is_set():
            self.note(f"server {self.servers.index(server)} is ended")
            server.over.set()

    async def the_clock_is_set(self) -> None:
        """Somebody corrects the machine's clock."""
        seconds = self.chance.choice([-600.0, -30.0, 30.0, 600.0])
        self.note(f"the clock is set by {seconds} s")
        self.clock.jumped += seconds

    async def the_machine_sleeps(self) -> None:
        """Nothing runs for a while, and time passes for all."""
        seconds = self.chance.choice([20.0, 20 * 60.0, 26 * HOUR])
        self.note(f"the machine sleeps for {seconds} s")
        self.clock.jumped += seconds
        self.outside.jumped += seconds

    # -- what must hold -----------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Let all trouble end, and have each request asked for once more until its video is there."""
        self.note("all trouble ends")
        self.sandbox.faults.clear()
        for server in filter(None, self.servers):
            server.over.set()
        await anyio.sleep(5)
        self.clock.jumped += LATER_SECONDS
        self.outside.jumped += LATER_SECONDS
        server = await self.server(0)
        await anyio.sleep(30)
        for request in sorted(self.wanted):
            for _ in range(3):
                await self.ask(server, request, 300)
        await anyio.sleep(30)
        self.check(await rows(server.rig), self.sandbox.state.generations())
        server.over.set()

    def check(self, tasks: list[Task], made: list[Generation]) -> None:
        """Compare what was asked for with what the ledger knows, what RunAPI charges for, and what lies on disk."""
        charged = sorted((one.body["prompt"], one.id) for one in made if not one.failure)
        counting = [task for task in tasks if task.blocks_repeat]
        asked = sorted((task.request.prompt, task.request.take) for task in counting)
        assert asked == sorted(self.wanted), f"{asked} are not {sorted(self.wanted)}"
        unended = [task for task in counting if task.status is not Status.COMPLETED]
        assert not unended, f"unended: {unended}"
        assert charged == sorted((task.request.prompt, task.task_id) for task in counting), (
            "charges and requests differ"
        )
        free = {task.task_id for task in tasks if not task.blocks_repeat} - {""}
        assert free <= {one.id for one in made if one.failure}, "what was charged is called free"
        paths = {task.video_path for task in counting}
        lie = {str(path) for path in (self.home / "out").glob("[!.]*")}
        assert paths == lie, f"{lie} lie there, {paths} are known"
        assert len(paths) == len(counting), "tasks share a file"


async def watch(server: Server) -> None:
    """Take a dead process down, whatever it is waiting for."""
    serving.set(server)
    await server.over.wait()
    if server.dead:
        raise Killed


async def cancel_when_over(server: Server, scope: anyio.CancelScope) -> None:
    """Have a call end with its server."""
    await server.over.wait()
    scope.cancel()


@contextmanager
def suppress_killed() -> Generator[None]:
    """Go on when a process has died."""
    try:
        yield
    except Killed:
        pass
    except BaseExceptionGroup as group:
        if rest := group.split(Killed)[1]:
            raise rest from None


async def rows(rig: Rig) -> list[Task]:
    """Give the tasks of the ledger."""
    return (await rig.parts.ledger.page("local", "", 1000, ""))[0]


async def run(seed: int, home: Path) -> None:
    """Let one world live; raise `AssertionError` with what happened."""
    async with anyio.create_task_group() as tasks:
        world = World(seed, home, tasks)
        try:
            for _ in range(STEPS):
                await world.step()
            await world.settle()
        except AssertionError as failure:
            raise Broken(f"seed {seed}: {failure}\n" + "\n".join(world.happened)) from failure
        tasks.cancel_scope.cancel()


def simulate(seed: int) -> None:
    """Run one seed on a clock of its own; raise `Broken` if a promise was broken."""
    chance = random.Random(seed)  # noqa: S311 - the same names and order of events for the same seed
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4))
        patch.setattr(trio._core._run, "_r", chance)
        patch.setattr(backoff, "random", random.Random(seed))  # noqa: S311 - jitter
        patch.setattr(anyio.to_thread, "run_sync", run_inline)
        patch.setattr(failpoints, "reach", reach)
        patch.setattr(schema, "SYNCHRONOUS", "PRAGMA synchronous = OFF")  # no machine dies here
        clock = trio.testing.MockClock(autojump_threshold=0)
        try:
            anyio.run(run, seed, Path(home).resolve(), backend="trio", backend_options={"clock": clock})
        except BaseExceptionGroup as group:
            found: BaseException = group
            while isinstance(found, BaseExceptionGroup):
                found = found.exceptions[0]
            raise found from group


def main(first: int, last: int) -> bool:
    """Run all seeds from one to another on all cores, and tell whether every promise was kept."""
    begun = time.monotonic()
    with ProcessPoolExecutor() as pool:
        ended = {seed: pool.submit(simulate, seed) for seed in range(first, last + 1)}
        failures = {seed: error for seed, run in ended.items() if (error := run.exception())}
    for seed, error in [*failures.items()][:3]:
        print(f"seed {seed}:", *traceback.format_exception_only(error), sep="\n")
    print(f"{len(ended)} seeds, failed: {[*failures]}, {time.monotonic() - begun:.0f} s")
    return not failures


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]), int(sys.argv[-1])) else 1)
