"""What a caller can spend: price without a key, balance, what was spent, limits left."""

from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from jsonschema import validate

from luma_mcp.app.account import (
    ACCOUNT_TIMEOUT_SECONDS,
    ANSWER_CACHE_SECONDS,
    FAILURE_CACHE_SECONDS,
    PRICE_WAIT_SECONDS,
)
from luma_mcp.core.errors import MissingApiKey
from luma_mcp.sandbox import account
from luma_mcp.sandbox.faults import Fault, Kind
from tests.support.rig import API_URL, ERAS, SOURCE, Rig, open_rig, structured
from tests.support.runapi_keys import NEW_KEY, write_key

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
ASK = {"prompt": "fog", "source_video_url": SOURCE}
DAY = 86_400.0


@pytest.mark.parametrize("era", ERAS)
async def test_an_account_is_told_whole_and_fits_its_schema(home: Path, era: str) -> None:
    async with open_rig(home, daily_limit=5, max_active=3) as rig, rig.client(era) as client:
        await client.call_tool("modify_video", ASK)
        await client.call_tool("modify_video", ASK | {"prompt": "snow", "wait_seconds": 0})
        result = await client.call_tool("check_account", {})
        schema = {tool.name: tool.output_schema or {} for tool in (await client.list_tools()).tools}["check_account"]
    told = structured(result)
    validate(told, schema)
    assert not result.is_error
    as_of = told.pop("price_as_of")
    assert as_of.startswith("2026-09-21T")
    assert "another task" in told.pop("next_step")
    assert told == {
        "price_usd": 0.5,
        "balance_usd": 9999.5,
        "account_spent_today_usd": 0.5,
        "account_spent_total_usd": 0.5,
        "server_spent_today_usd": 0.5,
        "server_spent_total_usd": 0.5,
        "active_tasks": 1,
        "max_active": 3,
        "tasks_in_24_hours": 2,
        "daily_limit": 5,
        "tasks_left": 2,
        "next_task_cost_usd": 0.5,
        "next_task_allowed": True,
    }


async def test_today_is_over_at_midnight_utc(rig: Rig) -> None:
    async with rig.client() as client:
        await client.call_tool("modify_video", ASK)
        rig.clock.jumped += DAY
        await client.call_tool("modify_video", ASK | {"prompt": "snow"})
        told = structured(await client.call_tool("check_account", {}))
        assert (told["server_spent_today_usd"], told["server_spent_total_usd"]) == (0.5, 1.0)
        assert (told["account_spent_today_usd"], told["account_spent_total_usd"]) == (0.5, 1.0)
        assert told["tasks_in_24_hours"] == 1


async def test_the_month_is_over_when_the_next_begins_in_utc(rig: Rig) -> None:
    await rig.submit("fog")  # in September
    rig.clock.jumped += DAY
    await rig.submit("snow")
    assert await rig.app.spent_this_month("local") == 1.0
    assert await rig.app.spent_this_month("ann") == 0.0
    begins = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
    rig.clock.jumped += begins - rig.clock() - 1
    assert await rig.app.spent_this_month("local") == 1.0
    rig.clock.jumped += 1
    assert await rig.app.spent_this_month("local") == 0.0
    await rig.submit("rain")
    assert await rig.app.spent_this_month("local") == 0.5


async def test_the_price_is_told_without_a_key(home: Path) -> None:
    async with open_rig(home, api_key="") as rig, rig.client() as client:
        result = await client.call_tool("check_account", {})
        told = structured(result)
        assert not result.is_error
        assert told["price_usd"] == 0.5
        assert "balance_usd" not in told
        assert "RUNAPI_API_KEY" in told["next_step"]
        assert [seen.path for seen in rig.sandbox.recorded_requests] == ["/api/v1/price_schedules"]
        assert "authorization" not in rig.sandbox.recorded_requests[0].headers


async def test_a_price_that_has_not_changed_is_not_sent_again(rig: Rig) -> None:
    async with rig.client() as client:
        first = structured(await client.call_tool("check_account", {}))
        rig.clock.jumped += DAY
        await anyio.sleep(ANSWER_CACHE_SECONDS)
        second = structured(await client.call_tool("check_account", {}))
    conditions = [
        seen.headers.get("if-none-match")
        for seen in rig.sandbox.recorded_requests
        if seen.path.endswith("price_schedules")
    ]
    assert conditions[0] is None
    assert conditions[1]
    assert (second["price_usd"], second["price_as_of"]) == (first["price_usd"], first["price_as_of"])


def asked(rig: Rig) -> list[str]:
    """List what RunAPI was asked about the account."""
    return [seen.path.rpartition("/")[2] for seen in rig.sandbox.recorded_requests]


async def test_however_many_ask_runapi_is_asked_once_in_ten_seconds(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("slow", route="account", seconds=3), Fault("slow", route="pricing", seconds=2))
    async with anyio.create_task_group() as asking:
        for number in range(150):
            asking.start_soon(rig.app.check_account, f"caller-{number % 3}")
    assert sorted(asked(rig)) == ["balance", "price_schedules"]
    assert (await rig.app.check_account("ann")).balance is not None
    assert len(asked(rig)) == 2
    await anyio.sleep(ANSWER_CACHE_SECONDS)
    for _ in range(5):
        await rig.app.check_account("local")
    assert len(asked(rig)) == 4


async def test_a_failure_is_kept_for_a_moment_too(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("503", route="account"))
    failures = [(await rig.app.check_account("local")).failure for _ in range(20)]
    assert {failure.code for failure in failures if failure} == {"service_unavailable"}
    assert len(asked(rig)) == 2
    await anyio.sleep(FAILURE_CACHE_SECONDS)
    assert (await rig.app.check_account("local")).balance is not None
    assert sorted(asked(rig)) == ["balance", "balance", "price_schedules"]


async def test_who_gives_up_while_asking_takes_nothing_from_those_who_wait(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("slow", route="account", seconds=20))
    found: list[bool] = []

    async def patient() -> None:
        found.append((await rig.app.check_account("ann")).balance is not None)

    async with anyio.create_task_group() as asking:
        with anyio.move_on_after(1):
            asking.start_soon(patient)
            await rig.app.check_account("local")
    assert found == [True]


async def test_an_answer_that_does_not_come_holds_nobody_longer_than_the_bound(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("slow", route="account", seconds=100))
    begun = anyio.current_time()
    async with anyio.create_task_group() as asking:
        for _ in range(10):
            asking.start_soon(rig.app.check_account, "local")
    assert anyio.current_time() - begun <= ACCOUNT_TIMEOUT_SECONDS + 1
    assert sorted(asked(rig)) == ["balance", "price_schedules"]


@pytest.mark.parametrize(
    ("fault", "missing", "code"),
    [
        (Fault("503", route="pricing"), "price_usd", "service_unavailable"),
        (Fault("malformed", route="pricing"), "price_usd", "bad_answer"),
        (Fault("401", route="account"), "balance_usd", "invalid_api_key"),
        (Fault("drop_before", route="account"), "balance_usd", "network"),
        (Fault("slow", route="account", seconds=100), "balance_usd", "network"),
    ],
)
async def test_what_fails_is_said_and_the_rest_is_told(rig: Rig, fault: Fault, missing: str, code: str) -> None:
    rig.sandbox.faults.inject(fault)
    async with rig.client() as client:
        result = await client.call_tool("check_account", {})
    told = structured(result)
    assert result.is_error
    assert (told["error"]["code"], told["error"]["charged"]) == (code, "no")
    assert {"price_usd", "balance_usd"} & told.keys() == {"price_usd", "balance_usd"} - {missing}
    assert told["server_spent_total_usd"] == 0


async def test_an_empty_account_and_a_reached_limit_are_pointed_out(home: Path) -> None:
    async with open_rig(home, daily_limit=1) as rig, rig.client() as client:
        rig.sandbox.state._credit_cents = 60
        await client.call_tool("modify_video", ASK)
        limited = structured(await client.call_tool("check_account", {}))
        assert (limited["tasks_left"], limited["balance_usd"]) == (0, 0.1)
        assert "limit" in limited["next_step"]
        rig.clock.jumped += DAY
        poor = structured(await client.call_tool("check_account", {}))
        assert "credits" in poor["next_step"]


async def test_the_next_task_is_priced_and_allowed_or_not_without_being_made(home: Path) -> None:
    async with open_rig(home, daily_budget="1.20") as rig, rig.client() as client:
        found = []
        for prompt in ("fog", "snow", "rain"):
            found.append(structured(await client.call_tool("check_account", {})))
            await client.call_tool("modify_video", ASK | {"prompt": prompt})
        told = [(one["next_task_allowed"], one["budget_left_usd"], one["tasks_left"]) for one in found]
        assert told == [(True, 1.2, 2), (True, 0.7, 1), (False, 0.2, 0)]
        assert {one["daily_budget_usd"] for one in found} == {1.2}
        assert [one.get("limit_reached") for one in found] == [None, None, "LUMA_MCP_DAILY_BUDGET"]
        assert "LUMA_MCP_DAILY_BUDGET" in found[-1]["next_step"]
        assert rig.creates() == 2


async def test_where_a_budget_pays_for_no_task_nobody_is_told_to_wait(home: Path) -> None:
    async with open_rig(home, daily_budget="0.49") as rig, rig.client() as client:
        told = structured(await client.call_tool("check_account", {}))
        assert (told["next_task_allowed"], told["budget_left_usd"]) == (False, 0.49)
        refused = structured(await client.call_tool("modify_video", ASK))
        assert "Waiting does not help" in told["next_step"] == refused["error"]["hint"] == refused["next_step"]
        assert rig.creates() == 0


async def test_a_price_that_runapi_says_counts_and_is_remembered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(account.PRICE, "unit_price_cents", 30)
    async with open_rig(home, daily_budget="0.60") as rig, rig.client() as client:
        first = structured(await client.call_tool("check_account", {}))
        assert (first["next_task_cost_usd"], first["tasks_left"]) == (0.3, 2)
        rig.sandbox.faults.inject(Fault("503", route="pricing", times=9))
        await anyio.sleep(ANSWER_CACHE_SECONDS)
        later = structured(await client.call_tool("check_account", {}))
        assert "price_usd" not in later
        assert (later["next_task_cost_usd"], later["next_task_allowed"]) == (0.3, True)


async def test_a_price_that_runapi_does_not_say_is_the_documented_one(home: Path) -> None:
    async with open_rig(home, daily_budget="0.99") as rig, rig.client() as client:
        rig.sandbox.faults.inject(Fault("slow", route="pricing", seconds=100, times=9))
        begun = anyio.current_time()
        await client.call_tool("modify_video", ASK | {"wait_seconds": 0})
        assert anyio.current_time() - begun <= PRICE_WAIT_SECONDS + 1
        refused = structured(await client.call_tool("modify_video", ASK | {"prompt": "snow"}))
        assert "another task costs 0.50" in refused["error"]["message"]
        assert rig.creates() == 1


async def test_a_server_that_never_pays_says_so_with_and_without_a_key(home: Path) -> None:
    for key in ("runapi_live_0123456789", ""):
        async with open_rig(home, api_key=key, daily_limit=0) as rig, rig.client() as client:
            told = structured(await client.call_tool("check_account", {}))
            assert (told["next_task_allowed"], told["tasks_left"]) == (False, 0)
            assert (told["daily_limit"], told["limit_reached"]) == (0, "LUMA_MCP_DAILY_LIMIT")
            assert "never pays" in told["next_step"]


async def test_what_runapi_did_not_bill_counts_with_the_documented_price(rig: Rig) -> None:
    task = await rig.submit()
    await rig.parts.ledger._store.change("UPDATE tasks SET cost_usd = NULL WHERE key = ?", (task.key,))
    spending = await rig.parts.ledger.spending("local", API_URL, rig.clock())
    assert (spending.today_usd, spending.total_usd) == (0.5, 0.5)
    assert (await rig.parts.ledger.spending("ann", API_URL, rig.clock())).total_usd == 0
    assert (await rig.parts.ledger.spending("local", "https://other.example", rig.clock())).total_usd == 0


@pytest.mark.parametrize("kind", ["404", "409"])
async def test_no_doubt_about_money_comes_from_asking_for_the_balance(rig: Rig, kind: Kind) -> None:
    rig.sandbox.faults.inject(Fault(kind, route="account"), Fault(kind, route="pricing"))
    async with rig.client() as client:
        told = structured(await client.call_tool("check_account", {}))
    assert (told["error"]["code"], told["error"]["charged"]) == ("service_unavailable", "no")


async def test_a_redirect_to_what_is_no_address_is_told(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("redirect", route="account", text="https://xn--0/"))
    async with rig.client() as client:
        told = structured(await client.call_tool("check_account", {}))
    assert told["error"]["code"] in {"network", "bad_answer"}


async def test_a_key_that_comes_is_asked_with_at_once(home: Path) -> None:
    async with open_rig(home, api_key=None) as rig:
        assert not (await rig.app.check_account("local")).has_key
        write_key(home, NEW_KEY)
        account = await rig.app.check_account("local")
        assert account.has_key
        assert account.balance is not None


async def test_a_server_is_ready_once_there_is_a_key(home: Path) -> None:
    async with open_rig(home, api_key=None) as rig:
        with pytest.raises(MissingApiKey):
            await rig.app.check_runapi(0)
        write_key(home, NEW_KEY)
        await rig.app.check_runapi(0)
