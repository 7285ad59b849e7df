"""Polls a task and how late its end is seen, beside fixed intervals and the best that any schedule can do.

Computed, seeded: nothing waits. Run by hand: python -m tests.system.benchmarks.schedules
"""

import random
from collections.abc import Iterator

from tests.support.schedules import (
    HISTORIES,
    Durations,
    Result,
    fixed,
    least_lag,
    log_normal,
    normal,
    play,
    play_learnt,
    play_new,
)
from tests.system.benchmarks.figures import Figure

SEED = 1
GRID_SECONDS = 0.5
PEER_SECONDS = 5.0  # the vendor's server
FIXED_SECONDS = (2.0, PEER_SECONDS, 10.0)
BEYOND: dict[str, Durations] = {  # what RunAPI documents, shown to tell where the rule stands badly
    "quick (15 to 60 s)": log_normal(15, 60),
    "slow (120 to 600 s)": log_normal(120, 600),
    "far humps (30 or 300 s)": sorted([*normal(30, 3), *normal(300, 20)]),
}


def played(durations: Durations) -> dict[str, Result]:
    """Play all schedules for one distribution."""
    chance = random.Random(SEED)  # noqa: S311 - the same durations each time
    ours = {"new user": play_new(durations, chance)}
    ours |= {f"after {tasks} tasks": play_learnt(durations, chance, tasks=tasks) for tasks in (10, 60)}
    return ours | {f"fixed {seconds:g} s": play(durations, fixed(seconds)) for seconds in FIXED_SECONDS}


def figures_of(history: str, durations: Durations) -> Iterator[Figure]:
    results = played(durations)
    peer = results[f"fixed {PEER_SECONDS:g} s"]
    for name, ours in results.items():
        if not name.startswith("fixed"):
            yield Figure(f"{history}, {name}: beside fixed 5 s", "polls", ours.polls, peer.polls, at_most=1)
            yield Figure(f"{history}, {name}: lag beside fixed 5 s", "s", ours.lag, peer.lag, at_most=1)
            best = least_lag(durations, ours.polls, GRID_SECONDS)
            yield Figure(f"{history}, {name}: lag beside the best", "s", ours.lag, best)


def run(*, quick: bool) -> Iterator[Figure]:
    """Compare polls a task and mean lag with a fixed interval, and the lag with the best possible one; not if quick."""
    for history, durations in () if quick else HISTORIES.items():
        yield from figures_of(history, durations)


def main() -> None:
    """Print each history and schedule with its polls, its lag, and the best lag for as many polls."""
    print(f"{'':24} {'':16} {'polls':>6} {'lag':>6} {'a tenth later':>14} {'best for so many polls':>23}")
    for history, durations in (HISTORIES | BEYOND).items():
        for name, result in played(durations).items():
            best = least_lag(durations, result.polls, GRID_SECONDS)
            print(
                f"{history:24} {name:16} {result.polls:6.1f} {result.lag:6.2f} {result.late_lag:14.2f} {best:23.2f}"
                f" ({result.lag / best:.2f})"
            )


if __name__ == "__main__":
    main()
