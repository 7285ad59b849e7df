"""Work that goes on while nobody calls: it is stopped with its owner, and a bug in it ends nothing else."""

import anyio
import pytest

from luma_mcp.core.concurrency import Pause, Signals, background_work, cancel_after, guarded

pytestmark = pytest.mark.anyio


async def fail() -> None:
    raise ValueError("a bug")


async def test_what_runs_in_the_background_is_stopped_when_its_owner_is_done() -> None:
    stopped = anyio.Event()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with background_work() as group:
        group.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        assert not stopped.is_set()
    assert stopped.is_set()


async def test_whoever_leaves_with_an_error_sees_that_error_and_no_group() -> None:
    async def leave() -> None:
        async with background_work() as group:
            group.start_soon(anyio.sleep_forever)
            await fail()

    with pytest.raises(ValueError, match="a bug"):
        await leave()


async def test_several_errors_at_once_stay_together() -> None:
    begun = anyio.Event()

    async def fail_too() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise RuntimeError("another")

    async def leave() -> None:
        async with background_work() as group:
            group.start_soon(fail_too)
            await begun.wait()
            await fail()

    with pytest.raises(ExceptionGroup) as raised:
        await leave()
    assert {str(error) for error in raised.value.exceptions} == {"a bug", "another"}


async def test_a_pause_ends_by_itself_or_when_it_is_cut_short_and_the_next_one_is_whole() -> None:
    pause = Pause()
    assert await seconds_of(pause, 5) == 5
    async with anyio.create_task_group() as group:
        group.start_soon(cut_after, pause, 2)
        assert await seconds_of(pause, 5) == 2
    assert await seconds_of(pause, 5) == 5


async def test_a_pause_that_is_cut_short_before_it_begins_does_not_wait() -> None:
    pause = Pause()
    pause.cut_short()
    assert [await seconds_of(pause, 5), await seconds_of(pause, 5)] == [0, 5]


async def seconds_of(pause: Pause, seconds: float) -> float:
    """Wait, and give how long that took."""
    begun = anyio.current_time()
    await pause.wait(seconds)
    return round(anyio.current_time() - begun, 6)


async def cut_after(pause: Pause, seconds: float) -> None:
    await anyio.sleep(seconds)
    pause.cut_short()


async def test_work_ends_once_its_event_has_happened() -> None:
    event, begun = anyio.Event(), anyio.current_time()
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(cancel_after, event, scope)
            await anyio.sleep(3)
            event.set()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - begun == pytest.approx(3)


async def test_a_bug_is_logged_with_what_ended_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> str:
        await fail()
        return "never"

    assert await guarded(work, otherwise="instead", what="The tracker") == "instead"
    assert [record.message for record in caplog.records] == ["The tracker ended unexpectedly"]
    assert "a bug" in caplog.text


async def test_being_cancelled_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    with anyio.move_on_after(1) as scope:
        await guarded(anyio.sleep_forever, otherwise=None, what="The tracker")
    assert scope.cancelled_caught
    assert caplog.records == []


async def test_who_waits_for_one_thing_is_woken_by_that_alone() -> None:
    signals = Signals()
    with signals.expect("a") as first, signals.expect("a") as second, signals.expect("b") as other:
        assert signals.waiting == 3
        begun = anyio.current_time()
        signals.give("a")
        signals.give("nothing")
        await first.wait(10)
        await second.wait(10)
        assert anyio.current_time() == begun
        await other.wait(10)
        assert anyio.current_time() == begun + 10
        signals.give_all()
        for each in (first, second, other):
            await each.wait(10)
        assert anyio.current_time() == begun + 10
    assert signals.waiting == 0
    assert signals._waiting == {}


async def test_what_is_given_between_two_waits_ends_the_next_one() -> None:
    signals = Signals()
    with signals.expect("a") as pause:
        signals.give("a")
        signals.give("a")
        begun = anyio.current_time()
        await pause.wait(10)
        assert anyio.current_time() == begun
        await pause.wait(10)
        assert anyio.current_time() == begun + 10
