"""The sandbox tells who asks, what is left and what things cost, as RunAPI does."""

import httpx
import pytest
from runapi.core import errors as official
from runapi.luma import LumaClient

from luma_mcp.sandbox.application import Sandbox
from tests.support.http_server import SandboxClock
from tests.support.sandbox_clients import ASK


def test_money_is_debited_for_completed_tasks_only(
    luma: LumaClient, served: tuple[Sandbox, str], clock: SandboxClock
) -> None:
    before = luma.account.balance().balance_cents
    served[0].state.create_or_replay(None, ASK, 60, "")
    assert luma.account.balance().balance_cents == before
    clock.passed += 60
    after = luma.account.balance()
    assert (after.balance_cents, after.spent_cents_today, after.spent_cents_total) == (before - 50, 50, 50)


def test_prices_are_public_cached_and_quoted(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    schedules = luma.pricing.list_schedules(service="luma", action="modify_video")
    assert schedules is not None
    assert schedules.price_schedules[0].unit_price_cents == 50
    first = httpx.get(f"{served[1]}/api/v1/price_schedules?service=luma")
    again = httpx.get(
        f"{served[1]}/api/v1/price_schedules?service=luma", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (first.status_code, again.status_code) == (200, 304)
    empty = luma.pricing.list_schedules(service="suno")
    assert empty is not None
    assert empty.price_schedules == []
    quote = luma.pricing.create_quote("luma", "modify_video").price_quote
    assert (quote.reservation_amount_cents, quote.currency) == (50, "USD")
    with pytest.raises(official.ValidationError):
        luma.pricing.list_schedules(service="luma-ai")
    with pytest.raises(official.NotFoundError):
        luma.pricing.create_quote("luma", "upscale")


def test_the_owner_of_the_key_is_told(luma: LumaClient) -> None:
    assert luma.account.info().email == "sandbox@example.com"
