"""When to ask RunAPI next, and how far along a task usually is: pure functions over seconds."""

from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST_SECONDS = 2.0
LONGEST_SECONDS = 30.0
CALLED_BACK_LONGEST_SECONDS = 120.0
REFUSED_LONGEST_SECONDS = 300.0
SAVING_LONGEST_SECONDS = 600.0
THINNED = 4
ENOUGH_DURATIONS = 5
ESTIMATE_CEILING = 0.95


@dataclass(frozen=True, slots=True)
class Usual:
    """How long comparable tasks take, in seconds: most take from `low` to `high`, half of them at most `middle`."""

    low: float
    middle: float
    high: float

    @property
    def range(self) -> str:
        """Say between which of the two most tasks take."""
        low, high = f"{self.low:.0f}", f"{self.high:.0f}"
        return f"{low} s" if low == high else f"{low} to {high} s"


DOCUMENTED = Usual(30.0, 75.0, 120.0)  # contract 8.1: 30 to 120 s


def usual(durations: Sequence[float]) -> Usual:
    """Learn from finished tasks' durations when a tenth, half and nine tenths end, or believe the documentation."""
    if len(durations) < ENOUGH_DURATIONS:
        return DOCUMENTED
    ordered = sorted(durations)
    last = len(ordered) - 1
    low, middle, high = (max(1.0, ordered[round(last * share)]) for share in (0.1, 0.5, 0.9))
    return Usual(low, middle, high)


def estimate(elapsed: float, known: Usual) -> float:
    """Estimate how much of a generation is done, 0..1: the elapsed seconds out of the usual ones, up to a ceiling."""
    return min(elapsed / known.middle, ESTIMATE_CEILING)


def poll_after(elapsed: float, known: Usual, *, retry_after: float | None = None, called_back: bool = False) -> float:
    """Give the seconds to wait before the next question about a task that runs well.

    Rare until the first comparable tasks finish, frequent while most do, rarer again for a straggler; four times as
    rare where the server calls back by itself. What the server asked for is the least.
    """
    if known is DOCUMENTED:
        wait = min(elapsed / 6, 10.0)
    elif elapsed < known.low:
        wait = known.low - elapsed
    elif elapsed < known.high:
        wait = min((known.high - known.low) / 10, 10.0)
    else:
        wait = elapsed / 6
    wait = max(SHORTEST_SECONDS, min(wait, LONGEST_SECONDS))
    if called_back:
        wait = min(wait * THINNED, CALLED_BACK_LONGEST_SECONDS)
    return max(wait, retry_after or 0.0)
