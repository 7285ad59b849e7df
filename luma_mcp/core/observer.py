"""The one seam between the rooms that work and whoever watches them: they say what happens, to nobody they know."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Task

Operation = Literal["call", "submission", "poll", "upload", "download"]
"""A tool call; a request that submits or polls a task; a clip on its way to RunAPI; a result on its way here."""
Fail = Callable[[str], None]
"""Says that an operation failed, with an error code."""
UNEXPECTED = "unexpected"  # stands for the code of an error that has none of ours


@dataclass(frozen=True, slots=True)
class Settled:
    """What a task was recorded as for the first time."""

    ended: bool = False  # completed or failed
    charged: bool = False  # as its `settled_charge` says


def ignore(_: str) -> None:
    """Tell nobody that an operation failed."""


class Observer:
    """Watches nothing; whoever wants to see something of it overrides the method that tells it.

    Nothing is told that is secret: no address, no prompt, no message of an error.
    """

    def operation(self, name: Operation, caller: str, key: str = "") -> AbstractContextManager[Fail]:
        """Watch an operation inside, for a caller, and for the task with a key where there is one."""
        return nullcontext(ignore)

    def trace(self) -> object:
        """Give what `within` needs so that later operations belong to the present one; None if nothing does."""
        return None

    def within(self, trace: object) -> AbstractContextManager[None]:
        """Let what happens inside belong to an operation, by what `trace` gave there."""
        return nullcontext()

    def settled(self, task: Task, settled: Settled) -> None:
        """Hear what a task was recorded as for the first time."""

    def end_seen(self, seconds: float) -> None:
        """Hear that the end of a task was seen, at most so many seconds after it came."""


class Observers(Observer):
    """Tells several observers what happens; failures inside operations are told to all of them by their code."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    @contextmanager
    def operation(self, name: Operation, caller: str, key: str = "") -> Generator[Fail]:
        """Watch an operation; a `LumaError` that comes out of it is its failure."""
        with ExitStack() as stack:
            told = [stack.enter_context(observer.operation(name, caller, key)) for observer in self._observers]

            def fail(code: str) -> None:
                for tell in told:
                    tell(code)

            try:
                yield fail
            except LumaError as error:
                fail(error.code)
                raise

    def trace(self) -> object:
        """Give what the first observer gives that has anything."""
        return next((found for observer in self._observers if (found := observer.trace()) is not None), None)

    @contextmanager
    def within(self, trace: object) -> Generator[None]:
        """Let what happens inside belong to an operation, as far as the observers know it."""
        with ExitStack() as stack:
            for observer in self._observers:
                stack.enter_context(observer.within(trace))
            yield

    def settled(self, task: Task, settled: Settled) -> None:
        """Tell all of them."""
        for observer in self._observers:
            observer.settled(task, settled)

    def end_seen(self, seconds: float) -> None:
        """Tell all of them."""
        for observer in self._observers:
            observer.end_seen(seconds)
