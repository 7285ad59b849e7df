"""A few worlds of the simulation, and that it can fail; a thousand of them run beside the tests in CI."""

from dataclasses import replace

import pytest

from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Task
from luma_mcp.worker import submission
from tests.system.simulation import Broken, simulate

FEW = range(1, 11)
MANY = range(1, 41)


@pytest.mark.parametrize("seed", FEW)
def test_every_promise_is_kept_in_a_world_of_faults(seed: int) -> None:
    simulate(seed)


def test_a_seed_is_the_same_world_each_time_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "conclusion", forgetful)
    found = next(((seed, failure) for seed in MANY if (failure := failure_of(seed))), None)
    assert found, "nobody notices that a lost answer is taken for a refusal"
    seed, failure = found
    assert failure_of(seed).splitlines()[1:] == failure.splitlines()[1:]


def failure_of(seed: int) -> str:
    """Tell what happened in a world in which a promise is broken; empty if none is."""
    try:
        simulate(seed)
    except Broken as broken:
        return str(broken)
    return ""


def forgetful(task: Task, error: LumaError, now: float) -> Task:
    """Take a submission for refused although an earlier attempt may have been accepted."""
    return task.refused(replace(error.failure(), charged="no"), now)
