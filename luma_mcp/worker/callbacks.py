"""RunAPI's calls when a task has ended: a reason to ask now, and never believed otherwise."""

import hashlib
import secrets
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from luma_mcp.core.uris import CALLBACKS_PATH
from luma_mcp.worker.polling import SHORTEST_SECONDS

SECRET_BYTES = 32
REMEMBERED = 1000


def callback_address(public_url: str) -> str:
    """Make the address at which RunAPI is to call for one task: only who was told can know it."""
    return f"{public_url}{CALLBACKS_PATH}/{secrets.token_urlsafe(SECRET_BYTES)}" if public_url else ""


class Awaited:
    """One task that RunAPI may call about."""

    def __init__(self) -> None:
        self.came = False
        self._call = anyio.Event()
        self._earliest = 0.0

    def come(self) -> None:
        """Cut the pause before the next question short."""
        self.came = True
        self._call.set()

    async def pause(self, seconds: float) -> None:
        """Wait until the next question is due, or RunAPI calls; many calls in a row make no more haste than a few."""
        with anyio.move_on_after(seconds):
            await self._call.wait()
            self._call = anyio.Event()
            await anyio.sleep(max(0.0, self._earliest - anyio.current_time()))
            self._earliest = anyio.current_time() + SHORTEST_SECONDS


class Callbacks:
    """Who waits for a call, by what only RunAPI knows.

    `reliable` tells whether the call for the last task that ended here came: then asking may be rarer.
    """

    def __init__(self) -> None:
        self.reliable = False
        self._awaited: dict[bytes, Awaited] = {}
        self._ended: deque[bytes] = deque(maxlen=REMEMBERED)

    @contextmanager
    def awaiting(self, address: str) -> Generator[Awaited]:
        """Wait inside for calls to an address, which may be none."""
        name, awaited = name_of(address.rpartition("/")[2]), Awaited()
        if address:
            self._awaited[name] = awaited
        try:
            yield awaited
        finally:
            self._awaited.pop(name, None)

    def ended(self, address: str, awaited: Awaited) -> None:
        """Learn from the end of a task whether calls come."""
        if address:
            self.reliable = awaited.came
            self._ended.append(name_of(address.rpartition("/")[2]))

    def arrived(self, secret: str) -> None:
        """Take a call to the address that ends in `secret`; what nobody waits for is nothing."""
        name = name_of(secret)
        if name in self._ended:  # asking was faster
            self.reliable = True
        if awaited := self._awaited.get(name):
            self.reliable = True
            awaited.come()


def name_of(secret: str) -> bytes:
    """Name a secret so that looking it up takes as long for a wrong one, however much of it is right."""
    return hashlib.sha256(secret.encode()).digest()
