"""RunAPI's calls when a task has ended: a reason to ask now, and never believed beyond that."""

import hashlib
import secrets
from collections import deque
from collections.abc import Callable

from luma_mcp.core.uris import CALLBACKS_PATH

SECRET_BYTES = 32
CALLED_POLL_SECONDS = 2.0  # calls about a task cause at most one poll in this time
MAX_ENDED_CALLBACKS = 1000


def new_callback_url(public_url: str) -> str:
    """Make the address that RunAPI is to call for one task, with a secret; empty if this server cannot be called."""
    return f"{public_url}{CALLBACKS_PATH}/{secrets.token_urlsafe(SECRET_BYTES)}" if public_url else ""


class Callbacks:
    """What is to be done at a call, by a digest of the secret in its address."""

    def __init__(self) -> None:
        self.is_reliable = False  # the call for the last task that ended here came: polls are rarer then
        self._expected: dict[bytes, Callable[[], None]] = {}
        self._called: set[bytes] = set()
        self._ended: deque[bytes] = deque(maxlen=MAX_ENDED_CALLBACKS)

    def expect(self, address: str, called: Callable[[], None]) -> None:
        """Have `called` called at each call to an address; an empty one is never called."""
        if address:
            self._expected[digest_of(address)] = called

    def forget(self, address: str) -> None:
        """Expect no more calls to an address."""
        self._expected.pop(digest_of(address), None)
        self._called.discard(digest_of(address))

    def note_task_end(self, address: str) -> None:
        """Learn from the end of a task whether calls come; one that comes later counts too."""
        if address:
            self.is_reliable = digest_of(address) in self._called
            self._ended.append(digest_of(address))

    def handle_call(self, secret: str) -> None:
        """Take a call to the address that ends in `secret`; an unknown secret is ignored."""
        name = secret_digest(secret)
        if name in self._ended:  # polling was faster
            self.is_reliable = True
        if called := self._expected.get(name):
            self._called.add(name)
            self.is_reliable = True
            called()


def digest_of(address: str) -> bytes:
    return secret_digest(address.rpartition("/")[2])


def secret_digest(secret: str) -> bytes:
    """Make a key for look-ups whose timing does not tell how much of a secret was guessed right."""
    return hashlib.sha256(secret.encode()).digest()
