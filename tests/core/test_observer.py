"""What happens is told to each observer, a failure by its code, and without any nothing is done."""

from collections.abc import Generator
from contextlib import contextmanager, suppress

import pytest

from luma_mcp.core.errors import NetworkFailure
from luma_mcp.core.observer import Fail, Observer, Observers, Operation, Settled
from tests.support.tasks import COMPLETED


class Noting(Observer):
    """Notes what it hears."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.heard: list[object] = []

    @contextmanager
    def operation(self, name: Operation, caller: str, key: str = "") -> Generator[Fail]:
        self.heard.append((name, caller, key))
        yield self.heard.append
        self.heard.append("over")

    def trace(self) -> object:
        return self.name or None

    @contextmanager
    def within(self, trace: object) -> Generator[None]:
        self.heard.append(trace)
        yield

    def settled(self, task: object, settled: object) -> None:
        self.heard.append(settled)

    def end_seen(self, seconds: float) -> None:
        self.heard.append(seconds)


def test_every_observer_hears_everything() -> None:
    one, other = Noting(), Noting("other")
    both = Observers((one, other))
    assert both.trace() == "other"
    with both.within("other"), both.operation("poll", "ann", "k") as fail:
        fail("conflict")
    both.settled(COMPLETED, Settled(ended=True))
    both.end_seen(3.0)
    assert one.heard == other.heard
    assert one.heard == ["other", ("poll", "ann", "k"), "conflict", "over", Settled(ended=True), 3.0]


def test_an_error_is_told_by_its_code_and_goes_on() -> None:
    heard: list[str] = []

    class Failing(Observer):
        @contextmanager
        def operation(self, name: Operation, caller: str, key: str = "") -> Generator[Fail]:
            yield heard.append

    with pytest.raises(NetworkFailure), Observers((Failing(),)).operation("call", "ann"):
        raise NetworkFailure("runapi.ai could not be reached.")
    with suppress(ValueError), Observers((Failing(),)).operation("call", "ann"):
        raise ValueError("a bug")
    assert heard == ["network"]


@pytest.mark.parametrize("observer", [Observer(), Observers(())])
def test_without_an_observer_nothing_is_done(observer: Observer) -> None:
    assert observer.trace() is None
    with observer.within(None), observer.operation("call", "ann") as fail:
        fail("conflict")
    observer.settled(COMPLETED, Settled())
    observer.end_seen(1.0)
