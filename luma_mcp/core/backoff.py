"""How long to wait after failures in a row: one rule for every loop that tries again."""

import random
from collections.abc import Callable
from dataclasses import dataclass

MAX_BACKOFF_SECONDS = 60.0


def random_share() -> float:
    """Give a number from 0 to 1, each as likely as any other: it spreads what would otherwise happen at once."""
    return random.random()  # noqa: S311 - spreads load, guards nothing


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from 1 s to `max_seconds`; `jitter` gives 0..1, so that many clients do not return together."""

    max_seconds: float = MAX_BACKOFF_SECONDS
    jitter: Callable[[], float] = random_share

    def after(self, failures: int, retry_after: float | None = None) -> float:
        """Give the seconds to wait after `failures` in a row (1, 2, …); what the server asked for is the least."""
        wait = min(2.0 ** min(failures - 1, 20), self.max_seconds)
        return max(wait * (1 + self.jitter() / 2), retry_after or 0.0)
