"""The benchmarks' verdicts: what counts as a goal missed, and what as a ratio that has doubled."""

import json

import pytest

from tests.system.benchmarks.__main__ import BENCHMARKS, RATIOS
from tests.system.benchmarks.figures import Figure, doubled, table


@pytest.mark.parametrize(
    ("figure", "goal"),
    [
        (Figure("start", "ms", 109, 100, at_most=1.10), "ratio 1.10"),
        (Figure("start", "ms", 111, 100, at_most=1.10), "ratio 1.10 MISSED"),
        (Figure("memory", "MiB", 72, 64, above=8), "+8 MiB"),
        (Figure("memory", "MiB", 73, 64, above=8), "+8 MiB MISSED"),
        (Figure("polls", "polls", 12, 12), ""),
        (Figure("poll", "ms", 1.9, 1, within=2), "2 ms"),
        (Figure("poll", "ms", 2.1, 1, within=2), "2 ms MISSED"),
    ],
)
def test_a_goal_is_a_ratio_or_a_distance(figure: Figure, goal: str) -> None:
    assert figure.goal == goal
    assert list(table([figure]))[1].endswith(goal)


def test_only_a_ratio_that_has_doubled_is_told_and_one_that_nobody_knows() -> None:
    slow, slower, new = (Figure(name, "ms", 25, 10) for name in ("slow", "slower", "new"))
    told = doubled([slow, slower, new], {"slow": 1.3, "slower": 1.2})
    assert [line.partition(":")[0] for line in told] == ["slower", "new"]
    assert "2.50, and was 1.20" in told[0]


def test_ratios_are_written_down_for_what_is_measured() -> None:
    known = json.loads(RATIOS.read_text())
    assert set(BENCHMARKS) >= {"start", "calls"}
    assert {name.partition(",")[0] for name in known} >= {"start", "get_task", "--version"}
