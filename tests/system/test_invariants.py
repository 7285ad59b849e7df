"""The promises as a model: whatever happens, and in whatever order, each distinct request is charged once and ends.

More of it, by hand: python -m pytest -n0 --hypothesis-profile=long tests/system/test_invariants.py
"""

import math
import tempfile
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import anyio.to_thread
import pytest
import trio.testing
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from luma_mcp.app import parts
from luma_mcp.app.app import Outcome
from luma_mcp.app.progress import Progress
from luma_mcp.core.models import DAY_SECONDS, Status, Task
from luma_mcp.ledger.ledger import open_ledger
from luma_mcp.sandbox.faults import Fault, Kind
from tests.support.rig import Rig, VirtualClock, open_rig, run_inline, sandbox_for, settings_for, silent
from tests.support.stores import use_database

T = TypeVar("T")
HOUR = 3600.0
SETTLING_SECONDS = 900.0  # longer than any task is put aside
LONGEST_SLEEP_SECONDS = 4 * DAY_SECONDS
FAULTS: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("create", ("drop_before", "drop_after", "500", "429", "html", "malformed", "402", "409", "fail", "slow")),
    ("read", ("drop_before", "503", "404", "401", "malformed", "slow")),
    ("output", ("drop_before", "503", "404", "slow")),
)
Request = tuple[str, int]
"""A prompt and a take."""

names = st.sampled_from(["one", "other"])
requests = st.tuples(st.sampled_from(["fog", "rain"]), st.sampled_from([1, 1, 2]))
patience = st.sampled_from([None, None, 0.01, 1.0, 20.0])  # seconds until the caller is gone
faults = st.sampled_from(FAULTS).flatmap(
    lambda choice: st.builds(
        Fault,
        st.sampled_from(choice[1]),
        st.just(choice[0]),
        times=st.integers(1, 4),
        seconds=st.sampled_from([5.0, 100.0]),
    )
)


@dataclass
class Seen:
    """What was last seen of a task."""

    rank: int = 0
    task_id: str = ""


async def nothing(*_: Any) -> None:
    """Do what a dead process does."""


class PaidOnce(RuleBasedStateMachine):
    """Two servers come, go and die on one ledger, while callers repeat themselves, RunAPI fails and clocks jump."""

    new_database: ClassVar[Callable[[], str] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        self.patch.setattr(anyio.to_thread, "run_sync", run_inline)
        self.home = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.time = trio.testing.MockClock()
        self.portal = self.stack.enter_context(start_blocking_portal("trio", {"clock": self.time}))
        self.clock, self.outside = VirtualClock(), VirtualClock()
        self.sandbox = sandbox_for(self.home, clock=self.outside)
        if new_database := type(self).new_database:
            use_database(self.home, new_database())
        self.ledger = open_ledger(settings_for(self.home))
        self.running: dict[str, tuple[Rig, Any]] = {}
        self.seen: dict[str, Seen] = {}
        self.slept = 0.0

    def in_time(self, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Do something while time passes; at all other times it stands still."""

        async def with_time() -> T:
            with self.passing():
                return await work(*arguments)

        return self.portal.call(with_time)

    @contextmanager
    def passing(self) -> Generator[None]:
        """Let time pass inside."""
        self.time.autojump_threshold = 0
        try:
            yield
        finally:
            self.time.autojump_threshold = math.inf

    def process(self, name: str) -> Rig:
        """Give a running server, started if need be."""
        if name not in self.running:
            opened = open_rig(self.home, clock=self.clock, sandbox=self.sandbox, max_active=1000)
            context = self.portal.wrap_async_context_manager(opened)
            self.running[name] = (context.__enter__(), context)
        rig = self.running[name][0]
        self.portal.call(rig.app.start_tracker)
        return rig

    # -- what happens -------------------------------------------------------------------------------------------------

    @rule(name=names, request=requests, gone_after=patience)
    def submit(self, name: str, request: Request, gone_after: float | None) -> None:
        rig, (prompt, take) = self.process(name), request
        before = [task for task in self.rows() if task.request.prompt == prompt and task.request.take == take]
        outcome = self.in_time(self.ask, partial(rig.ask, prompt, take=take), gone_after)
        added = [task for task in self.rows() if task.key not in self.seen]
        self.seen |= {task.key: Seen() for task in added}
        counting = [task for task in before if task.blocks_repeat]
        assert len(counting) + len(added) <= 1
        if isinstance(outcome, Outcome):
            assert outcome.joined is bool(counting)
            assert [outcome.task.key] == [task.key for task in (*counting, *added)]

    @precondition(lambda self: any(seen.task_id for seen in self.seen.values()))
    @rule(name=names, which=st.integers(0, 9), gone_after=patience)
    def look(self, name: str, which: int, gone_after: float | None) -> None:
        ids = [seen.task_id for seen in self.seen.values() if seen.task_id]
        self.in_time(self.ask, partial(look, self.process(name), ids[which % len(ids)]), gone_after)

    @rule(fault=faults)
    def fail(self, fault: Fault) -> None:
        self.sandbox.faults.inject(fault)

    @rule()
    def mend(self) -> None:
        self.sandbox.faults.clear()

    @rule(seconds=st.sampled_from([3.0, 10.0, 60.0, 600.0, HOUR]))
    def wait(self, seconds: float) -> None:
        self.in_time(anyio.sleep, seconds)

    @precondition(lambda self: self.slept < LONGEST_SLEEP_SECONDS)
    @rule(seconds=st.sampled_from([30.0, HOUR, 26 * HOUR]))
    def sleep(self, seconds: float) -> None:
        """The machine sleeps: nothing runs, and time has passed for all."""
        self.slept += seconds
        self.clock.jumped += seconds
        self.outside.jumped += seconds

    @rule(seconds=st.sampled_from([-600.0, -30.0, 30.0, 600.0]))
    def set_clock(self, seconds: float) -> None:
        """Somebody corrects the machine's clock."""
        self.clock.jumped += seconds

    @rule(name=names)
    def start(self, name: str) -> None:
        self.process(name)

    @precondition(lambda self: self.running)
    @rule(name=names)
    def stop(self, name: str) -> None:
        if name in self.running:
            _, context = self.running.pop(name)
            with self.passing():
                context.__exit__(None, None, None)

    @precondition(lambda self: self.running)
    @rule(name=names)
    def kill(self, name: str) -> None:
        if name in self.running:
            rig, context = self.running.pop(name)
            self.patch.setattr(rig.parts.tracker, "_release_all", nothing)
            with pytest.MonkeyPatch.context() as patch, self.passing():
                patch.setattr(parts, "LAST_ANSWERS_SECONDS", 0.0)
                context.__exit__(None, None, None)

    # -- what is known ------------------------------------------------------------------------------------------------

    async def ask(self, call: Callable[[], Awaitable[T]], gone_after: float | None) -> T | None:
        """Make a call; give nothing if the caller is gone before the answer."""
        with anyio.move_on_after(math.inf if gone_after is None else gone_after):
            return await call()
        return None

    def rows(self) -> list[Task]:
        """Give the tasks of the ledger, oldest first."""
        return list(reversed(self.portal.call(self.ledger.page, "local", "", 100_000, "")[0]))

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def no_task_goes_back(self) -> None:
        for task in self.rows():
            seen = self.seen.setdefault(task.key, Seen())
            assert task.status.rank >= seen.rank
            assert seen.task_id in ("", task.task_id)
            seen.rank, seen.task_id = task.status.rank, task.task_id

    @invariant()
    def a_request_has_one_task_that_counts(self) -> None:
        counting = [(task.request.prompt, task.request.take) for task in self.rows() if task.blocks_repeat]
        assert len(counting) == len(set(counting))

    @invariant()
    def what_runapi_holds_is_known_and_never_called_free(self) -> None:
        tasks = {task.key: task for task in self.rows()}
        made = {
            seen.headers["idempotency-key"]
            for seen in self.sandbox.recorded_requests
            if "idempotency-key" in seen.headers
        }
        assert made <= set(tasks)
        ids = {task.task_id for task in tasks.values()}
        lost = [generation for generation in self.sandbox.state.generations() if generation.id not in ids]
        doubted = [task for task in tasks.values() if not task.task_id and task.charged == "unknown"]
        assert len(lost) <= len(doubted)
        assert len(self.sandbox.state.generations()) <= len(tasks)

    def teardown(self) -> None:
        try:
            for name in list(self.running):
                self.stop(name)
            self.sandbox.faults.clear()
            self.process("one")
            self.in_time(anyio.sleep, SETTLING_SECONDS)
            self.no_task_goes_back()
            self.what_runapi_holds_is_known_and_never_called_free()
            self.every_accepted_task_has_ended()
            self.every_repetition_is_told_the_end_and_pays_nothing()
            self.stop("one")
        finally:
            self.portal.call(partial(self.portal.stop, cancel_remaining=True))
            self.ledger.close()
            self.stack.close()

    def every_accepted_task_has_ended(self) -> None:
        tasks = self.rows()
        assert [task for task in tasks if task.task_id and not task.status.done] == []
        assert [task for task in tasks if task.status is Status.SUBMITTING] == []
        completed = [task for task in tasks if task.status is Status.COMPLETED]
        paths = {task.video_path for task in completed}
        assert {str(path) for path in (self.home / "out").glob("*")} == paths
        assert len(paths) == len(completed)

    def every_repetition_is_told_the_end_and_pays_nothing(self) -> None:
        rig, charges = self.process("one"), len(self.sandbox.state.generations())
        requests = {
            (task.request.prompt, task.request.take) for task in self.rows() if task.task_id and task.blocks_repeat
        }
        for prompt, take in requests:
            outcome = self.in_time(partial(rig.ask, prompt, take=take))
            assert (outcome.joined, outcome.task.status.done) == (True, True)
        assert len(self.sandbox.state.generations()) == charges


async def look(rig: Rig, task_id: str) -> Task:
    """Call `get_task` as the tool does."""
    return (await rig.app.get_task(task_id, "local", wait_seconds=40, progress=Progress(silent))).task


@pytest.fixture(autouse=True)
def databases(new_database: Callable[[], str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each run have a database of its own, where `--store=postgres` asks for them."""
    monkeypatch.setattr(PaidOnce, "new_database", new_database and staticmethod(new_database))


TestPaidOnce = PaidOnce.TestCase
TestPaidOnce.settings = settings(stateful_step_count=25, max_examples=settings().max_examples // 3)
