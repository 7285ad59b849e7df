"""`luma-mcp account`: what a video costs, what is left, what was spent, and what the limits leave."""

from collections.abc import Iterator

import anyio

from luma_mcp.app.account import Account
from luma_mcp.app.app import open_app
from luma_mcp.cli.console import EXIT_CODES, ExitCode, print_json, print_message, print_result
from luma_mcp.cli.explanations import print_failure
from luma_mcp.core.errors import MissingApiKey
from luma_mcp.core.models import LOCAL_CALLER, Balance, format_usd
from luma_mcp.core.settings import Settings
from luma_mcp.server.results import account_object, json_text

PLAY = "This is the sandbox: all amounts are simulated."
NO_KEY = "There is no RunAPI key yet: luma-mcp login gets one at {address} (--sandbox tries without)."


def run_account(settings: Settings, *, as_json: bool) -> int:
    account, origin = anyio.run(read_account, settings)
    if as_json:
        print_json(json_text(account_object(account, origin, shared=False)))
    else:
        print_result("\n".join(f"{what:<11}{told}" for what, told in account_lines(account)))
        print_notes(account, settings)
    if not account.has_key:
        return EXIT_CODES[MissingApiKey.code]
    return EXIT_CODES[account.failure.code] if account.failure else ExitCode.DONE


async def read_account(settings: Settings) -> tuple[Account, str]:
    async with open_app(settings) as app:
        return await app.check_account(LOCAL_CALLER), app.origin


def account_lines(account: Account) -> Iterator[tuple[str, str]]:
    """Yield what is known, each with its name."""
    price, balance, spending, limits = account.price, account.balance, account.spending, account.limits
    used = spending.used
    yield "price", f"{price.usd:.2f} USD a video, charged when it succeeds" if price else "not known"
    if balance:
        videos = f", enough for {balance.usd // price.usd:.0f} videos" if price and price.usd > 0 else ""
        yield "balance", f"{balance.usd:.2f} USD{videos}"
    else:
        yield "balance", "not known"
    yield "spent", f"{spending.today_usd:.2f} USD today (UTC), {spending.total_usd:.2f} USD in all, with luma-mcp"
    if balance and (all_told := account_spending(balance)):
        yield "", all_told
    yield "running", f"{used.active} of {limits.active} at once"
    if limits.daily == 0:
        yield "24 hours", f"{used.submitted} tasks; this one never pays (--daily-limit is 0)"
    elif limits.daily is not None:
        yield "24 hours", f"{used.submitted} of {limits.daily} tasks"
    else:
        yield "24 hours", f"{used.submitted} tasks, no limit set (--daily-limit)"
    if limits.budget is not None:
        left, allowed = format_usd(limits.budget_left(used)), format_usd(limits.budget)
        yield "budget", f"{left} of {allowed} USD left in 24 hours (--daily-budget)"
    if account.tasks_left is not None:
        refusal = account.refusal
        end = f", unless {refusal.variable} is raised" if refusal else ""
        yield "available", f"{account.tasks_left} more right now{end}"


def account_spending(balance: Balance) -> str:
    known = ((balance.spent_today_usd, "today"), (balance.spent_total_usd, "in all"))
    told = [f"{usd:.2f} USD {when}" for usd, when in known if usd is not None]
    return f"{', '.join(told)}, across all programs on this account" if told else ""


def print_notes(account: Account, settings: Settings) -> None:
    """Say what a person should know beside the figures."""
    if settings.sandbox:
        print_message(PLAY)
    if not account.has_key:
        print_message(NO_KEY.format(address=settings.base_url))
    if account.failure:
        print_failure(account.failure)
