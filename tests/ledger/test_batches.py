"""Batches: what is asked for together is done together, each caller gets its own outcome, and nobody waits for ever."""

import threading
from collections.abc import Callable

import anyio
import pytest

from luma_mcp.ledger import batches
from luma_mcp.ledger.batches import Batch, Batches, NoAnswer

pytestmark = pytest.mark.anyio
MANY = 1000


@pytest.fixture
def anyio_backend() -> str:
    """Threads live in real time."""
    return "asyncio"


class Worker:
    """Answers each number with its double, refuses odd ones if told to, and waits before each batch for `may_go`."""

    def __init__(self, *, refuses_odd: bool = False) -> None:
        self.sizes: list[int] = []
        self.may_go = threading.Event()
        self.refuses_odd = refuses_odd

    def run(self, batch: Batch[int]) -> None:
        self.sizes.append(len(batch.jobs))
        self.may_go.wait()
        for job in batch.jobs:
            if self.refuses_odd and job.work % 2:
                job.fail(ValueError(job.work))
            else:
                job.succeed(2 * job.work)


def batches_of(run: Callable[[Batch[int]], None]) -> Batches[int]:
    return Batches(run, anyio.CapacityLimiter(2))


async def begun(worker: Worker, number: int) -> None:
    """Wait until a thread has begun so many batches."""
    while len(worker.sizes) < number:  # noqa: ASYNC110 - a thread sets no event of the loop
        await anyio.sleep(0.001)


async def test_what_is_asked_for_during_a_batch_is_one_batch() -> None:
    worker, results = Worker(), list[int]()
    doing = batches_of(worker.run)

    async def ask(number: int) -> None:
        results.append(await doing.do(number))

    async with anyio.create_task_group() as callers:
        callers.start_soon(ask, 0)
        await begun(worker, 1)
        for number in range(1, MANY):
            callers.start_soon(ask, number)
        await anyio.wait_all_tasks_blocked()
        worker.may_go.set()
    assert worker.sizes == [1, MANY - 1]
    assert results == [2 * number for number in range(MANY)]


async def test_each_caller_gets_the_error_of_its_own_job() -> None:
    worker, outcomes = Worker(refuses_odd=True), dict[int, object]()
    doing = batches_of(worker.run)
    worker.may_go.set()

    async def ask(number: int) -> None:
        try:
            outcomes[number] = await doing.do(number)
        except ValueError as error:
            outcomes[number] = error.args

    async with anyio.create_task_group() as callers:
        for number in range(4):
            callers.start_soon(ask, number)
    assert outcomes == {0: 0, 1: (1,), 2: 4, 3: (3,)}


async def test_what_nobody_asks_for_any_more_when_its_batch_begins_is_not_done() -> None:
    worker = Worker()
    doing = batches_of(worker.run)
    async with anyio.create_task_group() as callers:
        callers.start_soon(doing.do, 0)
        await begun(worker, 1)
        async with anyio.create_task_group() as hasty:
            hasty.start_soon(doing.do, 1)
            await anyio.wait_all_tasks_blocked()
            hasty.cancel_scope.cancel()
        callers.start_soon(doing.do, 2)
        await anyio.wait_all_tasks_blocked()
        worker.may_go.set()
    assert worker.sizes == [1, 1]


async def test_a_caller_that_is_gone_leaves_its_batch_to_the_others() -> None:
    worker, results = Worker(), list[int]()
    doing = batches_of(worker.run)

    async def ask(number: int) -> None:
        results.append(await doing.do(number))

    async with anyio.create_task_group() as callers, anyio.create_task_group() as leaving:
        leaving.start_soon(ask, 0)
        await begun(worker, 1)
        callers.start_soon(ask, 1)
        leaving.cancel_scope.cancel()
        worker.may_go.set()
    assert 2 in results


async def test_a_thread_that_is_stuck_is_left_and_those_of_its_batch_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ANSWER_SECONDS", 0.05)
    worker = Worker()
    doing = batches_of(worker.run)
    try:
        for _ in range(2):
            with pytest.raises(NoAnswer):
                await doing.do(1)
    finally:
        worker.may_go.set()
    assert await doing.do(2) == 4
