"""The callers with tokens of the operator's own: in the settings, and in a file that may change meanwhile."""

import hashlib
import hmac
import logging
import math
from collections.abc import Iterable

import anyio
from pydantic import SecretStr

from luma_mcp.core.settings import Settings
from luma_mcp.server.scopes import SCOPES
from luma_mcp.transports.bearer import CallerToken, TokenRefused

FILE_SECONDS = 1.0  # for which what was read counts
logger = logging.getLogger(__name__)


class StaticTokens:
    """Finds the caller of a token. The file is read again once a second at most, when somebody comes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fixed = digests(settings.tokens)
        self._in_file: list[tuple[str, bytes]] = []
        self._faults: tuple[str, ...] = ()
        self._read_at = -math.inf

    async def verify_token(self, token: str) -> CallerToken:
        """Give the caller of a token, with all scopes; raise `TokenRefused` for an unknown one, in the same time."""
        given = digest(token)
        if not (name := self._name_of(given)):
            raise TokenRefused
        return CallerToken(client_id=name, scopes=[*SCOPES], is_current=lambda: self._name_of(given) == name)

    def _name_of(self, given: bytes) -> str:
        found = ""
        for name, known in (*self._read_file(), *self._fixed):  # of a token in both, the settings say whose it is
            found = name if hmac.compare_digest(given, known) else found
        return found

    def _read_file(self) -> list[tuple[str, bytes]]:
        now = anyio.current_time()
        if self._settings.auth_tokens_file and now >= self._read_at + FILE_SECONDS:
            self._read_at = now
            pairs, faults = self._settings.reload_tokens()
            self._in_file = digests(pairs)
            if faults and faults != self._faults:
                logger.error("%s lets in fewer than it could: %s", self._settings.auth_tokens_file, "; ".join(faults))
            self._faults = faults
        return self._in_file


def digests(callers: Iterable[tuple[str, SecretStr]]) -> list[tuple[str, bytes]]:
    return [(name, digest(token.get_secret_value())) for name, token in callers]


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
