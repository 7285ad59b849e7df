"""Turns: nobody is interrupted for nothing, and nobody waits for the end of what takes long."""

import anyio
import pytest

from luma_mcp.media.turns import Turns

pytestmark = pytest.mark.anyio
FAR = 1e6


class Work:
    """Work that takes so many seconds at a stretch; notes when it was begun, cut short and ended."""

    def __init__(self, turns: Turns, seconds: float) -> None:
        self._turns = turns
        self._seconds = seconds
        self.begun: list[float] = []
        self.cut: list[float] = []
        self.ended = FAR

    async def __call__(self) -> None:
        while self.ended == FAR:
            async with self._turns.turn(len(self.begun)) as turn:
                self.begun.append(anyio.current_time())
                with turn:
                    await anyio.sleep(self._seconds)
                    self.ended = anyio.current_time()
                if turn.cancelled_caught:
                    self.cut.append(anyio.current_time())


async def test_nobody_is_interrupted_while_nobody_waits() -> None:
    turns = Turns(2, 60)
    works = [Work(turns, 500), Work(turns, 900)]
    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(work)
    assert [(work.cut, work.ended) for work in works] == [([], 500), ([], 900)]


async def test_a_turn_that_is_over_ends_when_somebody_comes() -> None:
    turns = Turns(2, 60)
    first, second, late = Work(turns, 500), Work(turns, 500), Work(turns, 10)
    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await anyio.sleep(1)
        group.start_soon(second)
        await anyio.sleep(299)
        group.start_soon(late)
    assert (late.begun, late.ended) == ([300], 310)
    assert (first.begun, first.cut) == ([0, 310], [300])
    assert (second.cut, second.ended) == ([], 501), "who comes back does not end the turns of all others"


async def test_of_several_turns_that_are_over_the_oldest_ends() -> None:
    turns = Turns(3, 60)
    works = [Work(turns, 500) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(work)
            await anyio.sleep(1)
        await anyio.sleep(59)
        group.start_soon(Work(turns, 0.5))
        await anyio.sleep(1)
        group.start_soon(Work(turns, 50))
    assert [work.cut for work in works] == [[62], [63], []]
    assert [work.begun for work in works] == [[0, 62.5], [1, 113], [2]]


async def test_a_long_turn_that_began_earlier_and_was_over_later_is_not_the_oldest() -> None:
    turns = Turns(2, 60)
    long, short = Work(turns, 500), Work(turns, 500)
    long.begun.append(-100)  # it had a turn before
    async with anyio.create_task_group() as group:
        for work in (long, short):
            group.start_soon(work)
            await anyio.sleep(1)
        await anyio.sleep(128)
        group.start_soon(Work(turns, 10))
    assert (long.cut, short.cut) == ([], [130])


async def test_each_next_turn_is_twice_as_long_so_that_all_ends() -> None:
    turns = Turns(1, 60)
    first, second = works = [Work(turns, 400), Work(turns, 400)]
    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(work)
            await anyio.sleep(1)
    assert first.cut == [60, 240, 600]
    assert first.begun == [0, 120, 360, 840]
    assert second.cut == [120, 360, 840]
    assert (first.ended, second.ended) == (1240, 1640)


async def test_turns_are_had_in_the_order_in_which_they_were_asked_for() -> None:
    turns = Turns(1, 60)
    works = [Work(turns, 10) for _ in range(5)]
    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(work)
            await anyio.sleep(1)
    assert [work.begun for work in works] == [[0], [10], [20], [30], [40]]


async def test_who_comes_back_is_not_passed_over_for_ever() -> None:
    turns = Turns(1, 60)
    work = Work(turns, 100)
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        for _ in range(40):
            await anyio.sleep(10)
            group.start_soon(Work(turns, 20))
    assert (work.begun, work.ended) == ([0, 280], 380), "before all who came after its minute of waiting was over"


async def test_who_does_not_wait_any_more_ends_nobodys_turn() -> None:
    turns = Turns(1, 60)
    work, other = Work(turns, 500), Work(turns, 10)
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await anyio.sleep(1)
        with anyio.move_on_after(30):
            await other()
    assert (work.cut, work.ended, other.begun) == ([], 500, [])


async def test_who_fails_gives_the_place_to_the_next() -> None:
    turns = Turns(1, 60)
    with pytest.raises(ValueError, match="broken"):
        async with turns.turn(0):
            raise ValueError("broken")
    work = Work(turns, 10)
    await work()
    assert work.ended == 10
