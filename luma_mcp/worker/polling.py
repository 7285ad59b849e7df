"""When to ask RunAPI next, and how far along a task usually is: pure functions over seconds."""

from collections.abc import Sequence
from dataclasses import dataclass

MIN_POLL_SECONDS = 2.0
MAX_POLL_SECONDS = 30.0
MAX_CALLBACK_POLL_SECONDS = 120.0
MAX_REFUSED_SECONDS = 300.0
MAX_SAVE_RETRY_SECONDS = 600.0
CALLBACK_POLL_FACTOR = 4
MIN_DURATIONS = 5
MAX_ESTIMATE = 0.95


@dataclass(frozen=True, slots=True)
class DurationProfile:
    """How long comparable tasks take, in seconds."""

    low: float  # a tenth take less
    middle: float  # half take less
    high: float  # a tenth take longer

    @property
    def range_text(self) -> str:
        """The range that most tasks take, in words."""
        low, high = f"{self.low:.0f}", f"{self.high:.0f}"
        return f"{low} s" if low == high else f"{low} to {high} s"


DOCUMENTED = DurationProfile(30.0, 75.0, 120.0)  # contract 8.1: 30 to 120 s


def duration_profile(durations: Sequence[float]) -> DurationProfile:
    """Learn from the seconds of finished tasks when a tenth, half and nine tenths end.

    With fewer than `MIN_DURATIONS`, what RunAPI documents is believed.
    """
    if len(durations) < MIN_DURATIONS:
        return DOCUMENTED
    ordered = sorted(durations)
    last = len(ordered) - 1
    low, middle, high = (max(1.0, ordered[round(last * share)]) for share in (0.1, 0.5, 0.9))
    return DurationProfile(low, middle, high)


def estimate(elapsed: float, known: DurationProfile) -> float:
    """Estimate the share of a generation that is done, 0 to `MAX_ESTIMATE`, from its seconds and the usual ones."""
    return min(elapsed / known.middle, MAX_ESTIMATE)


def poll_after(
    elapsed: float, known: DurationProfile, *, retry_after: float | None = None, called_back: bool = False
) -> float:
    """Give the seconds until the next poll of a task that runs well; at least `retry_after`, as the server asked.

    Rare until the first comparable tasks finish, frequent while most do, rarer again for a straggler; four times as
    rare where the server calls back by itself.
    """
    if known is DOCUMENTED:
        wait = min(elapsed / 6, 10.0)
    elif elapsed < known.low:
        wait = known.low - elapsed
    elif elapsed < known.high:
        wait = min((known.high - known.low) / 10, 10.0)
    else:
        wait = elapsed / 6
    wait = max(MIN_POLL_SECONDS, min(wait, MAX_POLL_SECONDS))
    if called_back:
        wait = min(wait * CALLBACK_POLL_FACTOR, MAX_CALLBACK_POLL_SECONDS)
    return max(wait, retry_after or 0.0)
