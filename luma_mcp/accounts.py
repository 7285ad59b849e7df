"""What a caller can spend: price, balance, what was spent, which limits are left."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from luma_mcp.errors import Failure, LumaError, MissingApiKey, NetworkFailure
from luma_mcp.ledger import Ledger
from luma_mcp.models import Clock, Limits
from luma_mcp.money import Balance, Price, Spending
from luma_mcp.runapi import RunAPI
from luma_mcp.settings import Settings

ANSWER_SECONDS = 25.0

T = TypeVar("T")


@dataclass(slots=True)
class Account:
    """What is known; `failure` says why the rest is not. Without a key nothing is known of an account."""

    spending: Spending
    limits: Limits
    price: Price | None = None
    balance: Balance | None = None
    failure: Failure | None = None
    has_key: bool = True

    @property
    def tasks_left(self) -> int | None:
        """Give how many tasks the limits allow now; None for any number."""
        bounds = ((self.limits.active, self.spending.active), (self.limits.daily, self.spending.submitted))
        left = [max(0, allowed - used) for allowed, used in bounds if allowed is not None]
        return min(left) if left else None


@dataclass(frozen=True, slots=True)
class Accounts:
    """Finds out about the account and a caller's share in it."""

    settings: Settings
    ledger: Ledger
    runapi: RunAPI
    now: Clock

    async def check(self, caller: str) -> Account:
        """Ask for price and balance at once, within `ANSWER_SECONDS`; what fails leaves the rest as it is."""
        spending = await self.ledger.sums.spending(caller, self.runapi.origin, self.now())
        account = Account(spending, Limits(self.settings.max_active, self.settings.daily_limit))

        async def price() -> None:
            account.price = await self._asked(account, self.runapi.price)

        async def balance() -> None:
            account.balance = await self._asked(account, self.runapi.balance)

        async with anyio.create_task_group() as both:
            both.start_soon(price)
            both.start_soon(balance)
        return account

    async def _asked(self, account: Account, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            with anyio.move_on_after(ANSWER_SECONDS):
                return await ask()
            raise NetworkFailure(f"RunAPI did not answer in {ANSWER_SECONDS:.0f} seconds.")
        except MissingApiKey:
            account.has_key = False
        except LumaError as error:
            account.failure = account.failure or error.failure()
        return None
