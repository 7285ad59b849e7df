"""What a caller can spend: price, balance, what was spent, which limits are left."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from luma_mcp.core.errors import Failure, LumaError, MissingApiKey, NetworkFailure
from luma_mcp.core.models import Clock, Limits
from luma_mcp.core.money import Balance, Price, Spending
from luma_mcp.core.settings import Settings
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.runapi.client import RunAPI

ANSWER_SECONDS = 25.0
KEPT_SECONDS = 10.0
FAILURE_KEPT_SECONDS = 3.0

T = TypeVar("T")


class Kept(Generic[T]):
    """An answer of RunAPI's that is asked for once, however many want it, and kept for some seconds; a failure too."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asking = anyio.Lock()
        self._answer: T | LumaError | None = None
        self._until = -math.inf

    async def get(self) -> T:
        """Give the answer, asking within `ANSWER_SECONDS` if it is too old; raise the `LumaError` that came of it."""
        async with self._asking:
            if self._answer is None or anyio.current_time() >= self._until:
                self._answer = await self._asked()
                kept = FAILURE_KEPT_SECONDS if isinstance(self._answer, LumaError) else KEPT_SECONDS
                self._until = anyio.current_time() + kept
            answer = self._answer
        if isinstance(answer, LumaError):
            raise answer
        return answer

    async def _asked(self) -> T | LumaError:
        try:
            with anyio.move_on_after(ANSWER_SECONDS):
                return await self._ask()
        except LumaError as error:
            return error
        return NetworkFailure(f"RunAPI did not answer in {ANSWER_SECONDS:.0f} seconds.")


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


class Accounts:
    """Finds out about the account and a caller's share in it. Price and balance are shared by all callers."""

    def __init__(self, settings: Settings, ledger: Ledger, runapi: RunAPI, now: Clock) -> None:
        self._limits = Limits(settings.max_active, settings.daily_limit)
        self._ledger = ledger
        self._origin = runapi.origin
        self._price = Kept(runapi.price)
        self._balance = Kept(runapi.balance)
        self._now = now

    async def check(self, caller: str) -> Account:
        """Give price and balance, asked for at once; what fails leaves the rest as it is."""
        spending = await self._ledger.sums.spending(caller, self._origin, self._now())
        account = Account(spending, self._limits)

        async def price() -> None:
            account.price = await known(account, self._price)

        async def balance() -> None:
            account.balance = await known(account, self._balance)

        async with anyio.create_task_group() as both:
            both.start_soon(price)
            both.start_soon(balance)
        return account


async def known(account: Account, answer: Kept[T]) -> T | None:
    """Give an answer, or note in the account why it is not known."""
    try:
        return await answer.get()
    except MissingApiKey:
        account.has_key = False
    except LumaError as error:
        account.failure = account.failure or error.failure()
    return None
