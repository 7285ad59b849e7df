"""The schedule: each key comes when it is due, and not more of them in a second than are let through."""

import math

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luma_mcp.worker.schedule import Rate, Schedule

pytestmark = pytest.mark.anyio


async def taken(schedule: Schedule, seconds: float) -> list[tuple[float, str]]:
    """Take what comes within some seconds, with the seconds after which it came."""
    begun, found = anyio.current_time(), list[tuple[float, str]]()
    with anyio.move_on_after(seconds):
        while True:
            key = await schedule.next()
            found.append((round(anyio.current_time() - begun, 3), key))
    return found


async def test_keys_come_when_they_are_due_the_earliest_first() -> None:
    schedule = Schedule()
    for key, seconds in (("late", 9.0), ("soon", 1.0), ("now", 0.0)):
        schedule.add(key, seconds)
    assert await taken(schedule, 100) == [(0.0, "now"), (1.0, "soon"), (9.0, "late")]


async def test_what_is_due_earlier_than_all_others_is_not_waited_for_in_vain() -> None:
    schedule = Schedule()
    schedule.add("late", 100.0)
    async with anyio.create_task_group() as group:

        async def add() -> None:
            await anyio.sleep(5)
            schedule.add("soon", 1.0)

        group.start_soon(add)
        assert await taken(schedule, 50) == [(6.0, "soon")]


async def test_a_key_is_due_once_at_the_time_that_was_given_last() -> None:
    schedule = Schedule()
    schedule.add("key", 1.0)
    schedule.add("key", 30.0)
    schedule.add("key", 20.0)
    assert await taken(schedule, 100) == [(20.0, "key")]


async def test_what_was_taken_out_does_not_come() -> None:
    schedule = Schedule()
    schedule.add("key", 1.0)
    assert schedule.remove("key")
    assert not schedule.remove("key")
    assert await taken(schedule, 10) == []


async def test_what_is_hastened_is_due_earlier_and_never_later() -> None:
    schedule = Schedule()
    for key, seconds in (("late", 50.0), ("overdue", 1.0), ("behind it", 2.0)):
        schedule.add(key, seconds)
    await anyio.sleep(10)
    for key, seconds in (("late", 5.0), ("overdue", 0.0), ("unknown", 0.0)):
        schedule.hasten(key, seconds)
    assert await taken(schedule, 100) == [(0.0, "overdue"), (0.0, "behind it"), (5.0, "late")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 20)), max_size=20))
async def test_whatever_is_added_and_taken_out_the_last_word_counts(changes: list[tuple[str, int | None]]) -> None:
    schedule, expected = Schedule(), dict[str, int]()
    for key, seconds in changes:
        if seconds is None:
            assert schedule.remove(key) == (expected.pop(key, None) is not None)
        else:
            schedule.add(key, seconds)
            expected[key] = seconds
    found = await taken(schedule, 100)
    assert {key: round(at) for at, key in found} == expected
    assert [at for at, _ in found] == sorted(at for at, _ in found)


async def test_no_more_are_let_through_in_a_second_than_allowed_however_many_come_at_once() -> None:
    rate, times = Rate(10), list[float]()

    async def pass_through() -> None:
        await rate.wait()
        times.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(pass_through)
    assert max(times) - min(times) == pytest.approx(9.9)
    assert max(sum(begin <= at < begin + 1 - 1e-6 for at in times) for begin in times) <= 10


async def test_who_comes_after_a_pause_does_not_wait() -> None:
    rate = Rate(0.1)
    await rate.wait()
    await anyio.sleep(math.e * 10)
    begun = anyio.current_time()
    await rate.wait()
    assert anyio.current_time() == begun


async def test_servers_that_share_a_rate_let_through_what_one_of_them_would() -> None:
    rate, times = Rate(10), list[float]()
    rate.share(4)
    for _ in range(3):
        await rate.wait()
        times.append(anyio.current_time())
    rate.share(0)
    await rate.wait()
    assert [later - times[0] for later in times] == pytest.approx([0, 0.4, 0.8])
    assert anyio.current_time() - times[0] == pytest.approx(1.2)


async def test_what_is_due_and_what_waits_are_counted_apart() -> None:
    schedule = Schedule()
    for name, seconds in (("now", 0.0), ("soon", 5.0), ("later", 50.0)):
        schedule.add(name, seconds)
    assert schedule.count() == (1, 3)
    await anyio.sleep(5)
    schedule.add("later", 0.0)
    assert schedule.count() == (3, 3)
    await schedule.next()
    assert schedule.count() == (2, 2)
