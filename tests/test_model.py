"""The promises as a model: whatever happens, and in whatever order, each distinct request is charged once and ends.

More of it, by hand: python -m pytest -n0 --hypothesis-profile=long tests/test_model.py
"""

import math
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import pytest
import trio.testing
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from luma_mcp.ledger import Ledger
from luma_mcp.models import DAY_SECONDS, Status, Task, VideoRequest
from luma_mcp.progress import Progress
from luma_mcp.sandbox.faults import Fault, Kind
from tests.rig import SOURCE, Rig, VirtualClock, open_rig, run_inline, sandbox_for, silent

T = TypeVar("T")
HOUR = 3600.0
SETTLING_SECONDS = 900.0  # longer than any task is put aside
LONGEST_SLEEP_SECONDS = 4 * DAY_SECONDS
FAULTS: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("create", ("drop_before", "drop_after", "500", "429", "html", "malformed", "402", "409", "fail", "slow")),
    ("read", ("drop_before", "503", "404", "401", "malformed", "slow")),
    ("output", ("drop_before", "503", "404", "slow")),
)
names = st.sampled_from(["one", "other"])
prompts = st.sampled_from(["fog", "rain"])
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
class Take:
    """One paid request as the model sees it: which process handed its result over last, and whether it was read."""

    key: str
    prompt: str
    handed_by: str = ""
    read: bool = False
    rank: int = 0
    task_id: str = ""


async def nothing(*_: Any) -> None:
    """Do what a dead process does."""


class PaidOnce(RuleBasedStateMachine):
    """Two servers come, go and die on one ledger, while callers repeat themselves, RunAPI fails and clocks jump."""

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
        self.ledger = Ledger(self.home / "data" / "tasks.sqlite3")
        self.running: dict[str, tuple[Rig, Any]] = {}
        self.takes: dict[str, Take] = {}
        self.slept = 0.0

    def in_time(self, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Do something while time passes; at all other times it stands still."""

        async def with_time() -> T:
            self.time.autojump_threshold = 0
            try:
                return await work(*arguments)
            finally:
                self.time.autojump_threshold = math.inf

        return self.portal.call(with_time)

    def process(self, name: str) -> Rig:
        """Give a running server, started if need be."""
        if name not in self.running:
            opened = open_rig(self.home, clock=self.clock, sandbox=self.sandbox, max_active=1000)
            context = self.portal.wrap_async_context_manager(opened)
            self.running[name] = (context.__enter__(), context)
        rig = self.running[name][0]
        self.portal.call(rig.app.wake)
        return rig

    def has_read(self, *names: str) -> None:
        """Know that the callers of some servers have read what they were given."""
        for take in self.takes.values():
            take.read = take.read or take.handed_by in names

    # -- what happens -------------------------------------------------------------------------------------------------

    @rule(name=names, prompt=prompts, new_take=st.sampled_from([False, False, False, True]), gone_after=patience)
    def submit(self, name: str, prompt: str, new_take: bool, gone_after: float | None) -> None:
        rig = self.process(name)
        self.has_read(name)
        expected = None if new_take else self.joinable(prompt)
        before = set(self.takes)
        answer = self.in_time(self.ask, partial(submit, rig, prompt, new_take=new_take), gone_after)
        for task in self.rows():
            self.takes.setdefault(task.key, Take(task.key, task.request.prompt))
        added = set(self.takes) - before
        if answer is not None:
            task, joined = answer
            assert joined is not bool(added)
            self.hand_over(name, rig, task)
        if new_take or expected is None:
            assert new_take or len(added) <= 1
        else:
            assert not added if expected else len(added) == 1, (prompt, expected)

    @precondition(lambda self: self.takes)
    @rule(name=names, which=st.integers(0, 9), gone_after=patience)
    def look(self, name: str, which: int, gone_after: float | None) -> None:
        take = list(self.takes.values())[which % len(self.takes)]
        rig = self.process(name)
        if take.task_id:
            task = self.in_time(self.ask, partial(look, rig, take.task_id), gone_after)
            if task is not None:
                self.hand_over(name, rig, task)

    @rule(fault=faults)
    def fail(self, fault: Fault) -> None:
        self.sandbox.faults.order(fault)

    @rule()
    def mend(self) -> None:
        self.sandbox.faults.clear()

    @rule(seconds=st.sampled_from([3.0, 10.0, 60.0, 600.0, HOUR]))
    def wait(self, seconds: float) -> None:
        self.in_time(anyio.sleep, seconds)
        self.has_read(*self.running)

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
            context.__exit__(None, None, None)
            self.has_read(name)

    @precondition(lambda self: self.running)
    @rule(name=names)
    def kill(self, name: str) -> None:
        if name in self.running:
            rig, context = self.running.pop(name)
            self.patch.setattr(rig.app.tracker, "_let_go", nothing)
            self.patch.setattr(rig.app.deliveries, "leave", nothing)
            context.__exit__(None, None, None)
            for take in self.takes.values():
                take.handed_by = "dead" if take.handed_by == name else take.handed_by

    # -- what is known ------------------------------------------------------------------------------------------------

    async def ask(self, call: Callable[[], Awaitable[T]], gone_after: float | None) -> T | None:
        """Make a call; give nothing if the caller is gone before the answer."""
        with anyio.move_on_after(math.inf if gone_after is None else gone_after):
            return await call()
        return None

    def hand_over(self, name: str, rig: Rig, task: Task) -> None:
        """Answer a caller."""
        self.portal.call(rig.app.deliveries.handed, task, rig.app.way, None)
        if task.status.done:
            self.takes[task.key].handed_by = name

    def joinable(self, prompt: str) -> bool | None:
        """Tell whether a repeated call joins; None if it cannot be known from outside."""
        for take in reversed([take for take in self.takes.values() if take.prompt == prompt]):
            task = self.portal.call(self.ledger.get, take.key)
            if not task.status.done or (task.error and task.error.charged == "unknown"):
                return True
            if task.task_id and not take.read:
                return None if take.handed_by else True
        return False

    def rows(self) -> list[Task]:
        """Give the tasks of the ledger, oldest first."""
        return list(reversed(self.portal.call(self.ledger.page, "local", "", 100_000, "")[0]))

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def no_task_goes_back(self) -> None:
        for task in self.rows():
            take = self.takes[task.key]
            assert task.status.rank >= take.rank
            assert take.task_id in ("", task.task_id)
            take.rank, take.task_id = task.status.rank, task.task_id

    @invariant()
    def what_runapi_holds_is_known_and_never_called_free(self) -> None:
        tasks = {task.key: task for task in self.rows()}
        made = {seen.headers["idempotency-key"] for seen in self.sandbox.seen if "idempotency-key" in seen.headers}
        assert made <= set(tasks)
        ids = {task.task_id for task in tasks.values()}
        lost = [generation for generation in self.sandbox.state.generations() if generation.id not in ids]
        doubted = [task for task in tasks.values() if not task.task_id and (not task.status.done or unknown(task))]
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


async def submit(rig: Rig, prompt: str, *, new_take: bool) -> tuple[Task, bool]:
    """Call `modify_video` as the tool does."""
    request = VideoRequest(prompt=prompt, source=SOURCE)
    return await rig.app.modify_video(request, "local", wait_seconds=40, new_take=new_take, progress=Progress(silent))


async def look(rig: Rig, task_id: str) -> Task:
    """Call `get_task` as the tool does."""
    return await rig.app.get_task(task_id, "local", wait_seconds=40, progress=Progress(silent))


def unknown(task: Task) -> bool:
    """Tell whether a task says that nobody knows whether it was charged."""
    return task.error is not None and task.error.charged == "unknown"


TestPaidOnce = PaidOnce.TestCase
TestPaidOnce.settings = settings(stateful_step_count=25)
