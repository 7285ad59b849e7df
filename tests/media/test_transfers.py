"""How far a file has come is known while it is on its way, and by its task alone."""

from contextlib import suppress

import pytest

from luma_mcp.media.transfers import Transfer, Transfers


@pytest.mark.parametrize(
    ("done", "total", "share"),
    [(0, 200, 0.0), (50, 200, 0.25), (200, 200, 1.0), (300, 200, 1.0), (50, None, 0.0), (0, 0, 0.0)],
)
def test_the_share_is_between_none_and_all_and_none_where_the_length_is_unknown(
    done: int, total: int | None, share: float
) -> None:
    assert Transfer(done, total).share == share


def test_a_transfer_is_found_by_its_task_until_it_ends_however_it_ends() -> None:
    transfers = Transfers()
    with suppress(OSError), transfers.moving("one", 10) as moved:
        assert (transfers.of("one"), transfers.of("other")) == (moved, None)
        raise OSError
    assert transfers.of("one") is None


def test_the_end_of_an_earlier_transfer_of_a_task_hides_no_later_one() -> None:
    transfers = Transfers()
    earlier, later = transfers.moving("one"), transfers.moving("one")
    earlier.__enter__()
    moved = later.__enter__()
    earlier.__exit__(None, None, None)
    assert transfers.of("one") is moved
    later.__exit__(None, None, None)
    assert transfers.of("one") is None
