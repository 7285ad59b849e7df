"""Prices, balances and what was spent, in USD. No I/O."""

from dataclasses import dataclass

PRICE_USD = 0.50  # contract 6: flat, for each task that succeeds


@dataclass(frozen=True, slots=True)
class Price:
    """What one task costs in USD, and since when RunAPI says so, in its words."""

    usd: float
    as_of: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left on the RunAPI account in USD, and what was spent from it, as far as RunAPI says so."""

    usd: float
    spent_today_usd: float | None
    spent_total_usd: float | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What a caller spent through this server in USD, and how many tasks run and were submitted in 24 hours."""

    today_usd: float
    total_usd: float
    active: int
    submitted: int
