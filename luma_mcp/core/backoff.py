"""How long to wait after failures in a row."""

TROUBLED_LONGEST_SECONDS = 60.0


def backoff(
    failures: int, *, jitter: float, retry_after: float | None = None, longest: float = TROUBLED_LONGEST_SECONDS
) -> float:
    """Give the seconds to wait after `failures` failures in a row (1, 2, …).

    Doubles from 1 s to `longest`; `jitter` in 0..1 adds up to half, so that many clients do not return together. What
    the server asked for is the least.
    """
    wait = min(2.0 ** min(failures - 1, 20), longest)
    return max(wait * (1 + jitter / 2), retry_after or 0.0)
