"""How the end of a server waits for requests: for what is answered, and not for what stands still."""

import anyio
import pytest

from luma_mcp.app.drain import MAX_STALL_SECONDS, QUIET_SECONDS, ActiveRequests

pytestmark = pytest.mark.anyio


async def answer(requests: ActiveRequests, after: float, seconds: float) -> None:
    await anyio.sleep(after)
    with requests.track_request():
        await anyio.sleep(seconds)


@pytest.mark.parametrize(
    ("answers", "waited"),
    [
        ([], QUIET_SECONDS),
        ([(0.0, 0.9)], 0.9 + QUIET_SECONDS),
        ([(0.0, 0.9), (0.5, 1.2)], 1.7 + QUIET_SECONDS),
        ([(0.2, 0.1), (0.4, 0.1)], 0.5 + QUIET_SECONDS),  # a client reads an answer, and asks for more
        ([(0.0, 0.1), (0.9, 0.1)], 0.1 + QUIET_SECONDS),  # one that comes later than that is not waited for
        ([(0.0, 60.0)], MAX_STALL_SECONDS),
        ([(0.0, 60.0), (0.7, 0.2)], 0.9 + MAX_STALL_SECONDS),  # something else came on
    ],
)
async def test_the_end_waits_until_nothing_is_answered_or_nothing_comes_on(
    answers: list[tuple[float, float]], waited: float
) -> None:
    requests = ActiveRequests()
    async with anyio.create_task_group() as group:
        for after, seconds in answers:
            group.start_soon(answer, requests, after, seconds)
        await anyio.wait_all_tasks_blocked()
        begun = anyio.current_time()
        await requests.wait_until_idle()
        assert anyio.current_time() - begun == pytest.approx(waited)
        group.cancel_scope.cancel()


async def test_a_request_that_fails_is_not_waited_for_any_more() -> None:
    requests = ActiveRequests()
    with pytest.raises(ZeroDivisionError), requests.track_request():
        raise ZeroDivisionError
    begun = anyio.current_time()
    await requests.wait_until_idle()
    assert anyio.current_time() - begun == pytest.approx(QUIET_SECONDS)
