"""How far files on their way in and out of this process have come."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Transfer:
    """Bytes moved so far, and bytes in all where that is known."""

    done: int = 0
    total: int | None = None

    @property
    def share(self) -> float:
        """Give how much has been moved, 0..1; 0 if the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class Transfers:
    """The files that are being moved now, by the key of their task."""

    def __init__(self) -> None:
        self._under_way: dict[str, Transfer] = {}

    def of(self, key: str) -> Transfer | None:
        """Give what is being moved for a task, None if nothing is."""
        return self._under_way.get(key)

    @contextmanager
    def moving(self, key: str, total: int | None = None) -> Generator[Transfer]:
        """Let a task have a transfer, of `total` bytes if known, inside."""
        self._under_way[key] = transfer = Transfer(total=total)
        try:
            yield transfer
        finally:
            if self._under_way.get(key) is transfer:
                del self._under_way[key]
