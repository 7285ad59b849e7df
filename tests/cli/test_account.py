"""Money and limits, as a person and a script see them."""

import json

import pytest

from luma_mcp.__main__ import main
from luma_mcp.app.account import Account
from luma_mcp.cli.account import account_lines
from luma_mcp.core.models import Balance, Limits, Price, Spending, Usage


def told_of(account: Account) -> dict[str, str]:
    return dict(account_lines(account))


def test_a_person_sees_price_balance_spending_and_what_the_limits_leave() -> None:
    spending = Spending(today_usd=1.0, total_usd=12.5, used=Usage(active=2, submitted=3))
    told = told_of(Account(spending, Limits(20, 10), Price(0.5, "2026-01-01"), Balance(12.4, 3.0, None)))
    assert told["price"].startswith("0.50 USD")
    assert told["balance"] == "12.40 USD, enough for 24 videos"
    assert told["spent"] == "1.00 USD today (UTC), 12.50 USD in all, with luma-mcp"
    assert told[""] == "3.00 USD today, across all programs on this account"
    assert (told["running"], told["24 hours"]) == ("2 of 20 at once", "3 of 10 tasks")
    assert told["available"] == "7 more right now"


def test_what_is_not_known_is_not_made_up_and_a_reached_limit_names_its_setting() -> None:
    told = told_of(Account(Spending(today_usd=0.0, total_usd=0.0, used=Usage(active=1, submitted=1)), Limits(1, None)))
    assert (told["price"], told["balance"]) == ("not known", "not known")
    assert "no limit set" in told["24 hours"]
    assert told["available"] == "0 more right now, unless LUMA_MCP_MAX_ACTIVE is raised"


def test_what_is_left_of_a_budget_and_a_server_that_never_pays_are_told() -> None:
    spending = Spending(today_usd=1.0, total_usd=1.0, used=Usage(active=1, submitted=2, committed=1_000_000))
    told = told_of(Account(spending, Limits(20, None, 1_250_000)))
    assert told["budget"].startswith("0.25 of 1.25 USD left")
    assert told["available"] == "0 more right now, unless LUMA_MCP_DAILY_BUDGET is raised"
    never = told_of(Account(spending, Limits(20, 0)))
    assert "never pays" in never["24 hours"]
    assert never["available"] == "0 more right now, unless LUMA_MCP_DAILY_LIMIT is raised"


def test_in_the_sandbox_it_says_that_the_money_is_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["account", "--sandbox"]) == 0
    told = capsys.readouterr()
    assert "0.50 USD a video" in told.out
    assert "sandbox" in told.err


def test_without_a_key_the_way_to_one_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["account", "--base-url", url]) == 2
    told = capsys.readouterr()
    assert "luma-mcp login" in told.err
    assert url in told.err
    assert "balance    not known" in told.out


def test_a_script_gets_the_same_as_a_host(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["account", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"price_usd", "balance_usd", "server_spent_total_usd", "active_tasks", "next_step"} <= told.keys()


def test_what_runapi_does_not_tell_is_explained_and_decides_the_exit_code(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = main(["account", "--base-url", "http://127.0.0.1:9"])
    assert ended == 6
    told = capsys.readouterr()
    assert "balance    not known" in told.out
    assert "could not be reached" in told.err
