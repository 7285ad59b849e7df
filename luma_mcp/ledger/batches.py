"""Doing on one thread what many ask for, in batches: whatever is asked for during one is the next."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
import anyio.to_thread

ANSWER_SECONDS = 8.0

Work = TypeVar("Work")


class NoAnswer(Exception):
    """The thread did not come to its end: whether a job was done, or will be, is not known."""


@dataclass(slots=True, eq=False)
class Job(Generic[Work]):
    """What one caller asks for, and what came of it."""

    work: Work
    done: bool = False
    result: Any = None
    error: Exception | None = None

    def succeed(self, result: object) -> None:
        self.done, self.result = True, result

    def fail(self, error: Exception) -> None:
        self.done, self.error = True, error


@dataclass(frozen=True, slots=True)
class Batch(Generic[Work]):
    """Jobs that are done together. Once `given_up` is set, nobody awaits what comes of them any more."""

    jobs: Sequence[Job[Work]]
    given_up: threading.Event = field(default_factory=threading.Event)

    @property
    def left(self) -> list[Job[Work]]:
        """The jobs that are neither done nor have failed yet."""
        return [job for job in self.jobs if not job.done]


class Batches(Generic[Work]):
    """Runs batches with `run`, which has to end each job, on threads of `limiter`.

    A caller waits for the batch under way and for its own one, however many ask: at most twice `ANSWER_SECONDS`, as a
    thread that is stuck is abandoned.
    """

    def __init__(self, run: Callable[[Batch[Work]], None], limiter: anyio.CapacityLimiter) -> None:
        self._run = run
        self._limiter = limiter
        self._waiting: list[Job[Work]] = []
        self._turn = anyio.Lock()

    async def do(self, work: Work) -> Any:
        """Have something done; give its result or raise its error, or `NoAnswer`."""
        job = Job(work)
        self._waiting.append(job)
        try:
            async with self._turn:
                if not job.done:
                    await self._do_all_waiting()
        finally:
            if not job.done and job in self._waiting:  # whoever asked was cancelled before its batch began
                self._waiting.remove(job)
        if job.error:
            raise job.error
        return job.result

    async def _do_all_waiting(self) -> None:
        batch = Batch(self._waiting)
        self._waiting = []
        try:
            with anyio.move_on_after(ANSWER_SECONDS, shield=True):
                work = partial(self._run, batch)
                await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            batch.given_up.set()
            for job in batch.left:
                job.fail(NoAnswer())
