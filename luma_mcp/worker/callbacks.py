"""RunAPI's calls when a task has ended: a reason to ask now, and never believed beyond that."""

import hashlib
import secrets
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from luma_mcp.core.uris import CALLBACKS_PATH

SECRET_BYTES = 32
MAX_ENDED_CALLBACKS = 1000
CALLED_POLL_SECONDS = 2.0  # calls cause no more than one poll in so long


def new_callback_url(public_url: str) -> str:
    """Make the address that RunAPI is to call for one task, with a secret; empty if this server cannot be called."""
    return f"{public_url}{CALLBACKS_PATH}/{secrets.token_urlsafe(SECRET_BYTES)}" if public_url else ""


class CallbackWaiter:
    """One task that RunAPI may call about."""

    def __init__(self) -> None:
        self.was_called = False
        self._call = anyio.Event()
        self._earliest = 0.0

    def notify(self) -> None:
        self.was_called = True
        self._call.set()

    async def pause(self, seconds: float) -> None:
        """Wait until the next poll is due or RunAPI calls; calls cause at most one poll in `CALLED_POLL_SECONDS`."""
        with anyio.move_on_after(seconds):
            await self._call.wait()
            self._call = anyio.Event()
            await anyio.sleep(max(0.0, self._earliest - anyio.current_time()))
            self._earliest = anyio.current_time() + CALLED_POLL_SECONDS


class Callbacks:
    """Who waits for a call, by a digest of the secret in its address."""

    def __init__(self) -> None:
        self.is_reliable = False  # the call for the last task that ended here came: polls are rarer then
        self._waiters: dict[bytes, CallbackWaiter] = {}
        self._ended: deque[bytes] = deque(maxlen=MAX_ENDED_CALLBACKS)

    @contextmanager
    def register(self, address: str) -> Generator[CallbackWaiter]:
        """Wait inside for calls to an address; an empty one is never called."""
        name, awaited = secret_digest(address.rpartition("/")[2]), CallbackWaiter()
        if address:
            self._waiters[name] = awaited
        try:
            yield awaited
        finally:
            self._waiters.pop(name, None)

    def note_task_end(self, address: str, awaited: CallbackWaiter) -> None:
        """Learn from the end of a task whether calls come; one that comes later counts too."""
        if address:
            self.is_reliable = awaited.was_called
            self._ended.append(secret_digest(address.rpartition("/")[2]))

    def handle_call(self, secret: str) -> None:
        """Take a call to the address that ends in `secret`; an unknown secret is ignored."""
        name = secret_digest(secret)
        if name in self._ended:  # polling was faster
            self.is_reliable = True
        if awaited := self._waiters.get(name):
            self.is_reliable = True
            awaited.notify()


def secret_digest(secret: str) -> bytes:
    """Make a key for look-ups whose timing does not tell how much of a secret was guessed right."""
    return hashlib.sha256(secret.encode()).digest()
