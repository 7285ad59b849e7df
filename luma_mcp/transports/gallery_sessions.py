"""Who has come in with a browser: a token is exchanged once for a random value that only this process knows."""

import hmac
import logging
import secrets

import anyio

from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.server.scopes import SCOPES
from luma_mcp.transports.bearer import CallerToken, TokenRefused
from luma_mcp.transports.static_tokens import digest

IDLE_SECONDS = 12 * 3600.0
MAX_SESSIONS = 20  # of one caller
USED_BEFORE = (
    "The gallery's address was used a second time, and refused. If your browser shows no tasks, somebody else was"
    " quicker: end the gallery, and start it again."
)
logger = logging.getLogger(__name__)


class OneTimeToken:
    """A token of the user of this machine that is good for one use: whoever sees the address later comes too late."""

    def __init__(self) -> None:
        self.value = secrets.token_urlsafe(32)
        self.was_used = False

    async def verify_token(self, token: str) -> CallerToken:
        """Give the user of this machine for the token; raise `TokenRefused` for another one or a second use."""
        if not hmac.compare_digest(digest(token), digest(self.value)):
            raise TokenRefused
        if self.was_used:
            logger.warning("%s", USED_BEFORE)
            raise TokenRefused
        self.was_used = True
        return CallerToken(client_id=LOCAL_CALLER, scopes=[*SCOPES], is_current=lambda: True)


class GallerySessions:
    """The browsers that have come in, each with its caller, until they are silent for long or the process ends.

    A session ends with the token that it was begun with.

    They are known by digests: looking one up tells nothing by how long it takes.
    """

    def __init__(self) -> None:
        self._callers: dict[bytes, CallerToken] = {}
        self._used_at: dict[bytes, float] = {}

    def begin(self, caller: CallerToken) -> str:
        """Give a new value that stands for a caller; whose longest unused one ends if there are too many."""
        self._end_silent()
        own = [known for known, other in self._callers.items() if other.client_id == caller.client_id]
        if len(own) >= MAX_SESSIONS:
            self._end(min(own, key=self._used_at.__getitem__))
        value = secrets.token_urlsafe(32)
        self._callers[digest(value)] = caller
        self._used_at[digest(value)] = anyio.current_time()
        return value

    def caller_of(self, value: str) -> CallerToken | None:
        """Give the caller that a value stands for; None if it is none, or none any more."""
        self._end_silent()
        known = digest(value)
        if known in self._callers and not self._callers[known].is_current():
            self._end(known)
        if known not in self._callers:
            return None
        self._used_at[known] = anyio.current_time()
        return self._callers[known]

    def _end_silent(self) -> None:
        before = anyio.current_time() - IDLE_SECONDS
        for known in [known for known, used_at in self._used_at.items() if used_at <= before]:
            self._end(known)

    def _end(self, known: bytes) -> None:
        del self._callers[known], self._used_at[known]
