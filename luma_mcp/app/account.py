"""What a caller can spend: price, balance, what was spent, and which limits are left."""

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

import anyio

from luma_mcp.core.errors import Failure, LimitReached, LumaError, MissingApiKey, NetworkFailure
from luma_mcp.core.models import Balance, Clock, Limits, Price, Spending, to_micros
from luma_mcp.core.settings import Settings
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.runapi.client import RunAPI

ACCOUNT_TIMEOUT_SECONDS = 25.0
ANSWER_CACHE_SECONDS = 10.0
FAILURE_CACHE_SECONDS = 3.0
PRICE_WAIT_SECONDS = 5.0  # for which a new task waits for RunAPI to say what it costs

T = TypeVar("T")


class CachedAnswer(Generic[T]):
    """An answer of RunAPI's, fetched once for all who wait for it and cached for some seconds; so is a failure."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asking = anyio.Lock()
        self._answer: T | LumaError | None = None
        self._until = -math.inf

    async def get(self) -> T:
        """Give the answer, fetched again within `ACCOUNT_TIMEOUT_SECONDS` if it is too old; raise a `LumaError`."""
        async with self._asking:
            if self._answer is None or anyio.current_time() >= self._until:
                self._answer = await self._asked()
                self._until = anyio.current_time() + seconds_to_keep(self._answer)
            answer = self._answer
        if isinstance(answer, LumaError):
            raise answer
        return answer

    async def _asked(self) -> T | LumaError:
        try:
            with anyio.move_on_after(ACCOUNT_TIMEOUT_SECONDS):
                return await self._ask()
        except LumaError as error:
            return error
        return NetworkFailure(f"RunAPI did not answer in {ACCOUNT_TIMEOUT_SECONDS:.0f} seconds.")


def seconds_to_keep(answer: object) -> float:
    if isinstance(answer, MissingApiKey):
        return 0.0  # nobody was asked, and there may be a key by the next call
    return FAILURE_CACHE_SECONDS if isinstance(answer, LumaError) else ANSWER_CACHE_SECONDS


@dataclass(slots=True)
class Account:
    """What a caller may know of the account in USD; None is not known."""

    spending: Spending  # of the caller alone
    limits: Limits  # with the price that they count with: RunAPI's, or the documented one
    price: Price | None = None
    balance: Balance | None = None
    failure: Failure | None = None  # why RunAPI did not tell price or balance
    has_key: bool = True  # without one there is no balance to ask for

    @property
    def tasks_left(self) -> int | None:
        """How many more tasks the limits allow now; None for any number."""
        return self.limits.tasks_left(self.spending.used)

    @property
    def refusal(self) -> LimitReached | None:
        """Why the limits do not allow another task now; None if they do."""
        return self.limits.refusal(self.spending.used)


class AccountChecker:
    """Asks RunAPI for price and balance, shared by all callers, and the ledger for one caller's spending."""

    def __init__(self, settings: Settings, ledger: Ledger, runapi: RunAPI, now: Clock) -> None:
        self._limits = settings.limits
        self._ledger = ledger
        self._runapi = runapi
        self._price = CachedAnswer(runapi.price)
        self._balance = CachedAnswer(runapi.balance)
        self._now = now

    async def check(self, caller: str) -> Account:
        """Ask for price and balance at once: if one fails, the account has the other, and the failure."""
        account = Account(*await self._usage(caller))

        async def price() -> None:
            account.price = await known(account, self._price)

        async def balance() -> None:
            account.balance = await known(account, self._balance)

        async with anyio.create_task_group() as both:
            both.start_soon(price)
            both.start_soon(balance)
        if account.limits.price != self.current_limits.price:
            account.spending, account.limits = await self._usage(caller)
        return account

    async def check_limits(self, caller: str) -> Limits:
        """Give the limits, with the price that RunAPI says within `PRICE_WAIT_SECONDS`; raise a `LimitReached`.

        They are checked again when the task is recorded: this spares a person a question that has no point.
        """
        with anyio.move_on_after(PRICE_WAIT_SECONDS), suppress(LumaError):
            await self._price.get()
        spending, limits = await self._usage(caller)
        if refusal := limits.refusal(spending.used):
            raise refusal
        return limits

    @property
    def current_limits(self) -> Limits:
        """The limits, with the price that RunAPI last told this server, else the documented one."""
        return replace(self._limits, price=to_micros(self._runapi.known_price_usd))

    async def _usage(self, caller: str) -> tuple[Spending, Limits]:
        limits = self.current_limits
        return await self._ledger.spending(caller, self._runapi.origin, self._now(), limits.price), limits

    async def spent_this_month(self, caller: str) -> float:
        """Add up in USD what a caller spent since the month began, in UTC; nobody is asked."""
        today = datetime.fromtimestamp(self._now(), UTC)
        begun = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return await self._ledger.spent_since(caller, self._runapi.origin, begun.timestamp())


async def known(account: Account, answer: CachedAnswer[T]) -> T | None:
    try:
        return await answer.get()
    except MissingApiKey:
        account.has_key = False
    except LumaError as error:
        account.failure = account.failure or error.failure()
    return None
