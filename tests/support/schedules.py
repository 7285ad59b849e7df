"""Schedules of polls, played for many tasks: how many polls a task costs, and how late its end is seen."""

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from statistics import NormalDist, mean, quantiles

from luma_mcp.worker.polling import DOCUMENTED, DurationProfile, duration_profile, next_poll

Durations = Sequence[float]
"""How long tasks take, in seconds: each as likely as any other."""
Polls = Iterator[float]
"""When one task is asked for, in seconds from its submission, without end."""
Schedule = Callable[[], Polls]

SPREAD = 1000  # durations that stand for a distribution
HISTORY = 60  # tasks that a user had before
REMEMBERED = 50
SEARCH_STEPS = 24


@dataclass(frozen=True, slots=True)
class Result:
    """What a schedule did, on average over tasks."""

    polls: float  # a task
    lag: float  # seconds from a task's end to the poll that sees it
    late_lag: float  # a tenth of tasks are seen later


def log_normal(low: float, high: float) -> Durations:
    """Spread durations of which a tenth are below `low` and a tenth above `high`."""
    middle, spread = math.log(low * high) / 2, math.log(high / low) / 2 / NormalDist().inv_cdf(0.9)
    return [math.exp(value) for value in normal(middle, spread)]


def normal(middle: float, deviation: float) -> Durations:
    return [NormalDist(middle, deviation).inv_cdf((number + 0.5) / SPREAD) for number in range(SPREAD)]


HISTORIES: dict[str, Durations] = {
    "narrow": normal(75, 5),
    "wide": log_normal(30, 120),  # as RunAPI documents it
    "two-humped": sorted([*normal(40, 3), *normal(110, 8)]),
}


def fixed(seconds: float) -> Schedule:
    """Ask at a fixed interval from the submission on, as the vendor's server does."""
    return lambda: count(seconds, seconds)


def rule(known: DurationProfile, chance: random.Random) -> Schedule:
    """Ask as this server does."""

    def polls() -> Polls:
        at = 0.0
        while True:
            at += next_poll(at, known, jitter=chance.random)
            yield at

    return polls


def seen_after(duration: float, polls: Polls) -> tuple[int, float]:
    """Give how many polls a task took, and when its end was seen."""
    return next((number, at) for number, at in enumerate(polls, 1) if at >= duration)


def play(durations: Durations, schedule: Schedule) -> Result:
    seen = [seen_after(duration, schedule()) for duration in durations]
    lags = [at - duration for duration, (_, at) in zip(durations, seen, strict=True)]
    return Result(mean(number for number, _ in seen), mean(lags), quantiles(lags, n=10)[-1])


def learnt(durations: Durations, chance: random.Random, tasks: int = HISTORY) -> DurationProfile:
    """Give what a server has learnt from a user's tasks, one after the other, seen as late as it saw them."""
    seen: list[float] = []
    for duration in chance.choices(durations, k=tasks):
        known = duration_profile(seen[-REMEMBERED:])
        seen.append(seen_after(duration, rule(known, chance)())[1])
    return duration_profile(seen[-REMEMBERED:])


def play_new(durations: Durations, chance: random.Random) -> Result:
    """Play the first tasks of a user."""
    return play(durations, rule(DOCUMENTED, chance))


def play_learnt(durations: Durations, chance: random.Random, *, users: int = 12, tasks: int = HISTORY) -> Result:
    """Play the next tasks of users who each had some tasks before."""
    played = [play(durations, rule(learnt(durations, chance, tasks), chance)) for _ in range(users)]
    columns = zip(*((result.polls, result.lag, result.late_lag) for result in played), strict=True)
    return Result(*map(mean, columns))


# -- the best that can be done ----------------------------------------------------------------------------------------


def least_lag(durations: Durations, polls: float, grid: float = 1.0) -> float:
    """Give the least mean lag that any schedule of so many polls a task can have, which knows all durations.

    Polls are at multiples of `grid` seconds. Dynamic programming finds the best schedule for each price of a poll in
    seconds of lag, and a search the two prices between whose schedules the number of polls lies.
    """
    tasks = Tasks(durations, grid)
    low, high = 1e-3, 1e3
    found: list[tuple[float, float]] = []
    for _ in range(SEARCH_STEPS):
        price = math.sqrt(low * high)
        found.append(tasks.best_schedule(price))
        low, high = (price, high) if found[-1][0] > polls else (low, price)
    schedules = sorted(set(found))
    for (fewer, later), (more, sooner) in pairwise(schedules):
        if more >= polls:
            return later + (sooner - later) * (polls - fewer) / (more - fewer)
    return schedules[-1][1]  # the grid allows no more


class Tasks:
    """The durations of tasks on a grid, added up for the steps of `best_schedule`."""

    def __init__(self, durations: Durations, grid: float) -> None:
        ordered = sorted(durations)
        self._grid = grid
        self._times = [grid * number for number in range(math.ceil(ordered[-1] / grid) + 2)]
        self._ended = [bisect_right(ordered, at) for at in self._times]
        sums = list(accumulate(ordered, initial=0.0))
        self._spent = [sums[number] for number in self._ended]
        self._count = len(ordered)
        self._last = bisect_left(self._ended, self._count)

    def best_schedule(self, price: float) -> tuple[float, float]:
        """Give polls and lag a task of the schedule whose lag, with each poll at a price, is the least."""
        best = [(0.0, 0, 0.0)] * (self._last + 1)  # from each time on: cost, polls and lag of all tasks
        for start in reversed(range(self._last)):
            running = self._count - self._ended[start]
            cheapest = (math.inf, 0, 0.0)
            for end in range(start + 1, self._last + 1):
                lag = self._lag(start, end)
                if lag + price * running > cheapest[0]:
                    break
                cost, polls, later = best[end]
                cheapest = min(cheapest, (lag + price * running + cost, polls + running, lag + later))
            best[start] = cheapest
        _, polls, lag = best[0]
        return polls / self._count, lag / self._count

    def _lag(self, start: int, end: int) -> float:
        """Add up the lags of the tasks that end between two polls."""
        ended = self._ended[end] - self._ended[start]
        return ended * self._times[end] - (self._spent[end] - self._spent[start])
