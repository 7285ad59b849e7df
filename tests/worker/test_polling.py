"""When RunAPI is asked, and how long tasks usually take: pure functions over seconds."""

import random
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.worker.polling import (
    DOCUMENTED,
    INTERVAL_SECONDS,
    MAX_INTERVAL_SECONDS,
    MIN_DURATIONS,
    DurationProfile,
    duration_profile,
    estimate,
    next_poll,
    poll_interval,
)
from tests.support.schedules import (
    HISTORIES,
    Durations,
    Result,
    fixed,
    least_lag,
    play,
    play_learnt,
    play_new,
    rule,
)

seconds = st.floats(0, 1e6)
shares = st.floats(0, 1)
durations = st.lists(st.floats(0.1, 3600), max_size=60)
profiles = st.builds(duration_profile, durations, st.none() | st.floats(0, 3600))
histories = pytest.mark.parametrize("durations", HISTORIES.values(), ids=HISTORIES)
PEER = fixed(5)  # the vendor's server


@pytest.fixture
def chance() -> random.Random:
    return random.Random(1)  # noqa: S311 - the same durations each time


# -- how long tasks take ----------------------------------------------------------------------------------------------


@given(profiles, seconds, seconds)
def test_the_estimate_rises_with_time_up_to_its_ceiling(known: DurationProfile, one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0 <= estimate(early, known) <= estimate(late, known) <= 0.95
    assert estimate(known.middle / 2, known) == pytest.approx(0.5)


def test_the_usual_range_is_learnt_from_enough_tasks_and_documented_before() -> None:
    assert duration_profile([20.0] * (MIN_DURATIONS - 1)) is DOCUMENTED
    learnt = duration_profile([60, 50, 40, 70, 30, 80, 20, 90, 10, 100, 0])
    assert (learnt.low, learnt.middle, learnt.high) == (10, 50, 90)
    assert (DOCUMENTED.low, DOCUMENTED.middle, DOCUMENTED.high) == (30, 75, 120)
    assert (learnt.first_poll, DOCUMENTED.first_poll) == (8, 15)


def test_what_a_sandbox_tells_counts_whatever_tasks_took() -> None:
    told = duration_profile([60.0] * 50, 8.0)
    assert (told.low, told.middle, told.high, told.range_text) == (8, 8, 8, "8 s")
    assert duration_profile([], 0.0).range_text == "1 s"


# -- when to ask ------------------------------------------------------------------------------------------------------


@given(profiles, seconds, st.none() | st.floats(0, 3600), st.booleans(), shares)
def test_a_server_that_asked_for_time_gets_it_and_a_tenth_more_at_most(
    known: DurationProfile, elapsed: float, asked: float | None, called_back: bool, share: float
) -> None:
    def wait(retry_after: float | None) -> float:
        return next_poll(elapsed, known, retry_after=retry_after, called_back=called_back, jitter=lambda: share)

    assert (asked or 0) <= wait(asked) <= max(wait(None), 1.1 * (asked or 0))


@given(profiles, seconds, st.booleans(), shares)
def test_nothing_is_asked_before_a_task_can_have_ended_nor_long_after(
    known: DurationProfile, elapsed: float, called_back: bool, share: float
) -> None:
    at = elapsed + next_poll(elapsed, known, called_back=called_back, jitter=lambda: share)
    assert at >= known.first_poll
    assert at <= max(elapsed, known.first_poll) + 1.05 * MAX_INTERVAL_SECONDS


@given(profiles, seconds, seconds, shares)
def test_who_asks_later_asks_again_later(known: DurationProfile, one: float, other: float, share: float) -> None:
    early, late = (at + next_poll(at, known, jitter=lambda: share) for at in sorted((one, other)))
    assert early <= late + 1e-6


@given(profiles, seconds, shares)
def test_polls_are_most_frequent_while_most_tasks_end(known: DurationProfile, elapsed: float, share: float) -> None:
    usual = poll_interval((known.low + known.high) / 2, known)
    assert usual <= INTERVAL_SECONDS
    assert poll_interval(elapsed, known) >= usual
    assert next_poll(elapsed, known, jitter=lambda: share) >= 0.95 * usual


def test_a_new_user_is_asked_for_after_fifteen_seconds_and_then_each_four() -> None:
    assert next_poll(0.0, DOCUMENTED, jitter=lambda: 0.0) == 15
    assert next_poll(0.0, DOCUMENTED, jitter=lambda: 1.0) == 23
    assert [next_poll(at, DOCUMENTED, jitter=lambda: 0.5) for at in (15, 30, 75, 120, 240)] == [8, 4, 4, 4, 8]


@pytest.mark.parametrize("told", [0.2, 1.0, 8.0, 75.0])
def test_a_sandbox_is_asked_soon_after_the_end_that_it_tells(told: float, chance: random.Random) -> None:
    done = play([told] * 100, rule(duration_profile([], told), chance))
    assert done.lag <= max(0.1, told / 20)
    assert done.polls <= 16


@given(profiles, seconds)
def test_calls_make_polls_four_times_as_rare_up_to_two_minutes(known: DurationProfile, elapsed: float) -> None:
    usual, thinned = (poll_interval(elapsed, known, called_back=called_back) for called_back in (False, True))
    assert usual <= thinned == pytest.approx(min(4 * usual, MAX_INTERVAL_SECONDS))


def test_a_hundred_tasks_of_one_moment_are_never_asked_for_in_step(chance: random.Random) -> None:
    asked = sorted(at for _ in range(100) for at in islice(rule(DOCUMENTED, chance)(), 10))
    busiest = max(sum(at <= other < at + 1 for other in asked) for at in asked if at < 60)
    assert busiest < 60
    assert max(later - sooner for sooner, later in pairwise(asked) if later < 40) < 1


# -- beside others ----------------------------------------------------------------------------------------------------


def is_no_worse(ours: Result, peer: Result) -> bool:
    return ours.polls <= peer.polls and ours.lag <= peer.lag and ours.late_lag <= peer.late_lag


@histories
def test_a_new_user_pays_for_no_poll_more_and_sees_ends_no_later_than_at_five_seconds(
    durations: Durations, chance: random.Random
) -> None:
    assert is_no_worse(play_new(durations, chance), play(durations, PEER))


@histories
@pytest.mark.parametrize("tasks", [10, 60])
def test_so_does_who_has_had_tasks_before(durations: Durations, tasks: int, chance: random.Random) -> None:
    assert is_no_worse(play_learnt(durations, chance, tasks=tasks), play(durations, PEER))


def test_where_tasks_take_alike_about_half_of_the_polls_do(chance: random.Random) -> None:
    durations = HISTORIES["narrow"]
    assert play_learnt(durations, chance).polls < 0.6 * play(durations, PEER).polls


def test_of_durations_as_documented_no_schedule_sees_the_end_much_sooner_with_as_many_polls(
    chance: random.Random,
) -> None:
    durations = HISTORIES["wide"]
    peer = play(durations, PEER)
    for ours in (play_new(durations, chance), play_learnt(durations, chance)):
        assert ours.lag < 1.15 * least_lag(durations, ours.polls)
    assert peer.lag > 1.3 * least_lag(durations, peer.polls)


def test_the_best_schedule_is_the_best(chance: random.Random) -> None:
    assert least_lag([10.0] * 9 + [90.0], 1.1) == pytest.approx(0), "one poll at each end"
    assert least_lag([10.0] * 9 + [90.0], 1.0) == pytest.approx(72), "one poll when all have ended"
    for durations in HISTORIES.values():
        for schedule in (fixed(2), PEER, fixed(10), rule(DOCUMENTED, chance)):
            played = play(durations, schedule)
            assert least_lag(durations, played.polls) < played.lag
