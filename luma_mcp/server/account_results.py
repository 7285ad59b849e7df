"""What callers are told of prices, balance and limits."""

from typing import Annotated, cast

from pydantic import Field, with_config
from typing_extensions import TypedDict

from luma_mcp.app.account import Account
from luma_mcp.core.errors import MissingApiKey
from luma_mcp.core.models import SANDBOX_ORIGIN
from luma_mcp.server.results import ErrorObject, described, error_object

PLAY_MONEY = "This is the sandbox: it plays with money that does not exist."
NO_KEY = f"Without a RunAPI key the balance is not known and nothing can be submitted. {MissingApiKey.hint}"
AT_ONCE = "The limit of tasks at once is reached: wait for one to end, or have LUMA_MCP_MAX_ACTIVE raised."
A_DAY = (
    "The limit of tasks in 24 hours is reached: wait until older ones are longer ago, or have LUMA_MCP_DAILY_LIMIT"
    " raised."
)
TOO_LITTLE = "The balance does not pay for another task: have credits added to the RunAPI account."
ENOUGH = "Nothing to do: another task can be submitted."


@with_config(described('money in USD and limits; what is not known is absent, and "today" begins at midnight UTC'))
class AccountObject(TypedDict, total=False):
    """What is known of money and limits."""

    price_usd: Annotated[float, Field(description="what one task costs, charged only if it succeeds")]
    price_as_of: Annotated[str, Field(description="when RunAPI last stated that price")]
    balance_usd: Annotated[float, Field(description="what is left on the RunAPI account")]
    account_spent_today_usd: Annotated[float, Field(description="spent from the account today, by whatever program")]
    account_spent_total_usd: Annotated[float, Field(description="spent from the account in all")]
    server_spent_today_usd: Annotated[float, Field(description="spent through this server today, by its ledger")]
    server_spent_total_usd: Annotated[
        float, Field(description="spent through this server in all, as far as its ledger goes back")
    ]
    active_tasks: Annotated[int, Field(description="tasks that run now")]
    max_active: Annotated[int, Field(description="how many may run at once")]
    tasks_in_24_hours: Annotated[int, Field(description="tasks submitted in the last 24 hours")]
    daily_limit: Annotated[int, Field(description="how many may be submitted in 24 hours; absent if any number")]
    tasks_left: Annotated[int, Field(description="how many more tasks the limits allow right now")]
    error: ErrorObject
    next_step: Annotated[str, Field(description="what to do next")]


def account_object(account: Account, origin: str, *, shared: bool) -> AccountObject:
    """Describe an account; where several callers spend from it, none is told what the others spent."""
    spending, limits, price, balance = account.spending, account.limits, account.price, account.balance
    spent = None if shared else balance
    answer = {
        "price_usd": price.usd if price else None,
        "price_as_of": (price.as_of or None) if price else None,
        "balance_usd": balance.usd if balance else None,
        "account_spent_today_usd": spent.spent_today_usd if spent else None,
        "account_spent_total_usd": spent.spent_total_usd if spent else None,
        "server_spent_today_usd": round(spending.today_usd, 4),
        "server_spent_total_usd": round(spending.total_usd, 4),
        "active_tasks": spending.active,
        "max_active": limits.active,
        "tasks_in_24_hours": spending.submitted,
        "daily_limit": limits.daily,
        "tasks_left": account.tasks_left,
        "error": error_object(account.failure) if account.failure else None,
        "next_step": account_step(account, origin),
    }
    return cast("AccountObject", {name: value for name, value in answer.items() if value is not None})


def account_step(account: Account, origin: str) -> str:
    """Say what follows from the state of an account."""
    if not account.has_key:
        return f"{account.failure.hint} {NO_KEY}" if account.failure else NO_KEY
    if account.failure is not None:
        return account.failure.hint
    if account.tasks_left == 0:
        daily = account.limits.daily
        return A_DAY if daily is not None and account.spending.submitted >= daily else AT_ONCE
    if account.balance and account.price and account.balance.usd < account.price.usd:
        return TOO_LITTLE
    return PLAY_MONEY if origin == SANDBOX_ORIGIN else ENOUGH
