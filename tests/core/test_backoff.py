"""How long to wait after failures in a row."""

from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.core.backoff import Backoff


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 3600))
def test_backoff_doubles_to_its_limit_and_obeys_the_server(failures: int, jitter: float, asked: float | None) -> None:
    wait = Backoff(jitter=lambda: jitter).after(failures, asked)
    assert wait >= max(min(2.0 ** min(failures - 1, 6), 60), asked or 0)
    assert wait <= max(90, asked or 0)


@given(st.integers(1, 10_000), st.floats(1, 600))
def test_a_limit_of_its_own_holds_however_often_something_has_failed(failures: int, most: float) -> None:
    assert Backoff(most).after(failures) <= 1.5 * most


def test_two_clients_do_not_return_together() -> None:
    assert len({Backoff().after(3) for _ in range(20)}) > 1
