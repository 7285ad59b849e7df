"""When to ask RunAPI next, and how far along a task usually is: pure functions over seconds.

The rule: nothing is asked in the first 15 s, or, once ten tasks have ended, before 80 % of the time that the fastest
tenth of the last fifty took. Then every 4 s, and more rarely in proportion where fewer tasks end: before a tenth of
them have usually ended, and after nine tenths have.
`tests/system/benchmarks/schedules.py` shows it beside fixed intervals and the best that any schedule can do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor

from luma_mcp.core.backoff import random_share

INTERVAL_SECONDS = 4.0
MAX_INTERVAL_SECONDS = 120.0
INTERVALS_IN_LOW = 4  # at least: tasks that take seconds are asked for more often
INTERVALS_IN_TOLD = 20
MIN_TOLD_SECONDS = 0.2  # a sandbox may end its tasks at once
CALLBACK_INTERVALS = 4
JITTER = 0.1
MAX_REFUSED_SECONDS = 300.0
MAX_SAVE_RETRY_SECONDS = 600.0
MIN_DURATIONS = 10
EARLIEST = 0.8  # of what the fastest tenth took
MAX_ESTIMATE = 0.95


@dataclass(frozen=True, slots=True)
class DurationProfile:
    """How long comparable tasks take, in seconds from the first request to RunAPI."""

    low: float  # a tenth take less
    middle: float  # half take less
    high: float  # a tenth take longer
    first_poll: float  # nothing is asked before: a task cannot be expected to have ended
    interval: float = INTERVAL_SECONDS  # between polls from `low` to `high`

    @property
    def range_text(self) -> str:
        """The range that most tasks take, in words."""
        low, high = f"{max(1.0, self.low):.0f}", f"{max(1.0, self.high):.0f}"
        return f"{low} s" if low == high else f"{low} to {high} s"


DOCUMENTED = DurationProfile(30.0, 75.0, 120.0, first_poll=15.0)  # contract 8.1: 30 to 120 s


def duration_profile(durations: Sequence[float], told: float | None = None) -> DurationProfile:
    """Say how long tasks take: as the sandbox tells, else as finished tasks took, else as RunAPI documents.

    `durations` are the seconds of finished tasks, believed once there are `MIN_DURATIONS`; `told` is what a sandbox
    says that each of its tasks takes (`RunAPI.told_seconds`).
    """
    if told is not None:
        usual = max(MIN_TOLD_SECONDS, told)
        return DurationProfile(usual, usual, usual, usual / 2, min(INTERVAL_SECONDS, usual / INTERVALS_IN_TOLD))
    if len(durations) < MIN_DURATIONS:
        return DOCUMENTED
    ordered = [max(1.0, duration) for duration in sorted(durations)]
    last = len(ordered) - 1  # of few, the fastest and the slowest one count
    low, middle, high = (ordered[at] for at in (floor(0.1 * last), round(0.5 * last), ceil(0.9 * last)))
    return DurationProfile(low, middle, high, EARLIEST * low, min(INTERVAL_SECONDS, low / INTERVALS_IN_LOW))


def estimate(elapsed: float, known: DurationProfile) -> float:
    """Estimate the share of a generation that is done, 0 to `MAX_ESTIMATE`, from its seconds and the usual ones."""
    return min(elapsed / known.middle, MAX_ESTIMATE)


def next_poll(
    elapsed: float,
    known: DurationProfile,
    *,
    retry_after: float | None = None,
    called_back: bool = False,
    jitter: Callable[[], float] = random_share,
) -> float:
    """Give the seconds until the next poll of a task that runs well, `elapsed` seconds after RunAPI was asked for it.

    `retry_after` is what the server asked for: it is the least. Where RunAPI calls back by itself, polls are four times
    as rare. `jitter` gives 0..1: the first polls of tasks that were submitted together are spread over a whole
    interval, and later ones stay apart.
    """
    share, interval = jitter(), poll_interval(elapsed, known, called_back=called_back)
    return max(
        known.first_poll - elapsed + interval * share,
        interval * (1 + JITTER * (share - 0.5)),
        (retry_after or 0.0) * (1 + JITTER * share),
    )


def poll_interval(elapsed: float, known: DurationProfile, *, called_back: bool = False) -> float:
    """Give the seconds between two polls, the first of them `elapsed` seconds after RunAPI was asked for the task."""
    rarer = max(1.0, known.low / max(elapsed, known.first_poll), elapsed / known.high)
    return min(known.interval * rarer * (CALLBACK_INTERVALS if called_back else 1), MAX_INTERVAL_SECONDS)
