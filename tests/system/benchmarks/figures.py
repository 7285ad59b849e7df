"""A figure beside that of a peer, measured in the same run; and the table of many."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

SLACK = 2.0  # a ratio may be so many times the one that was written down: machines of CI differ, and are busy


@dataclass(frozen=True)
class Figure:
    """What was measured of ours and of a peer.

    The goal is a ratio (`at_most`), how much more ours may be (`above`), or what ours may be (`within`).
    """

    name: str
    unit: str
    ours: float
    peer: float
    at_most: float | None = None
    above: float | None = None
    within: float | None = None

    @property
    def ratio(self) -> float:
        """Give how many times the peer's figure ours is; lower is better."""
        return self.ours / self.peer

    @property
    def is_within_goal(self) -> bool:
        goals = ((self.at_most, self.ratio), (self.above, self.ours - self.peer), (self.within, self.ours))
        return all(goal is None or value <= goal for goal, value in goals)

    @property
    def goal(self) -> str:
        """Say the goal, and whether it was missed."""
        told = [
            *([f"ratio {self.at_most:.2f}"] if self.at_most is not None else []),
            *([f"+{self.above:g} {self.unit}"] if self.above is not None else []),
            *([f"{self.within:g} {self.unit}"] if self.within is not None else []),
        ]
        return " ".join(told if self.is_within_goal else [*told, "MISSED"])


def table(figures: Iterable[Figure]) -> Iterator[str]:
    """Write figures under one another, each beside its peer's."""
    yield f"{'':52} {'ours':>11} {'peer':>11} {'ratio':>7}  goal"
    for each in figures:
        ours, peer = (f"{value:.4g} {each.unit}" for value in (each.ours, each.peer))
        yield f"{each.name:52} {ours:>11} {peer:>11} {each.ratio:>7.2f}  {each.goal}".rstrip()


def doubled(figures: Iterable[Figure], known: Mapping[str, float]) -> list[str]:
    """Say which ratios are more than `SLACK` times the known ones, and which are not known."""
    found: list[str] = []
    for each in figures:
        if each.name not in known:
            found.append(f"{each.name}: no ratio is written down; --keep does that")
        elif each.ratio > SLACK * known[each.name]:
            found.append(f"{each.name}: the ratio is {each.ratio:.2f}, and was {known[each.name]:.2f}")
    return found
