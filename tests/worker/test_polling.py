"""When RunAPI is asked, and how long tasks usually take: pure functions over seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.worker.polling import DOCUMENTED, MAX_CALLBACK_POLL_SECONDS, duration_profile, estimate, poll_after

seconds = st.floats(0, 1e6)
durations = st.lists(st.floats(0.1, 3600), max_size=60)


@given(durations, seconds, seconds)
def test_the_estimate_rises_with_time_up_to_its_ceiling(known: list[float], one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0 <= estimate(early, duration_profile(known)) <= estimate(late, duration_profile(known)) <= 0.95
    assert estimate(duration_profile(known).middle / 2, duration_profile(known)) == pytest.approx(0.5)


@given(durations, seconds, st.none() | st.floats(0, 600))
def test_polls_keep_their_distance_and_do_what_the_server_asked(
    known: list[float], elapsed: float, asked: float | None
) -> None:
    wait = poll_after(elapsed, duration_profile(known), retry_after=asked)
    assert wait >= max(2, asked or 0)
    assert wait <= max(30, asked or 0)


def test_polls_are_fewer_than_at_a_fixed_pace_and_notice_the_end_soon() -> None:
    for duration in (30, 60, 120, 600):
        for known in (DOCUMENTED, duration_profile([duration * factor for factor in (0.8, 0.9, 1, 1.1, 1.2)])):
            at, polls = 0.0, 0
            while at < duration:
                at += poll_after(at, known)
                polls += 1
            assert polls < duration / 2
            assert at - duration <= 0.2 * duration


def test_the_usual_range_is_learnt_from_enough_tasks_and_documented_before() -> None:
    assert duration_profile([5, 6, 7, 8]) is DOCUMENTED
    learnt = duration_profile([60, 50, 40, 70, 30, 80, 20, 90, 10, 100, 0])
    assert (learnt.low, learnt.middle, learnt.high) == (10, 50, 90)
    assert (DOCUMENTED.low, DOCUMENTED.middle, DOCUMENTED.high) == (30, 75, 120)


def test_calls_make_polls_four_times_as_rare_and_what_the_server_asks_for_still_counts() -> None:
    for elapsed in (0.0, 10.0, 60.0, 500.0, 50_000.0):
        usual, thinned = poll_after(elapsed, DOCUMENTED), poll_after(elapsed, DOCUMENTED, called_back=True)
        assert thinned == min(4 * usual, MAX_CALLBACK_POLL_SECONDS)
    assert poll_after(10.0, DOCUMENTED, retry_after=500.0, called_back=True) == 500.0
