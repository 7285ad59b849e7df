"""Who has a token that lets them in: of the operator's own, or of the identity provider's."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from luma_mcp.core.models import Clock
from luma_mcp.core.settings import Settings
from luma_mcp.transports.bearer import CallerToken, TokenRefused, TokenVerifier
from luma_mcp.transports.static_tokens import StaticTokens


class Callers:
    """Finds the caller of a token, while it is open."""

    def __init__(self, settings: Settings, now: Clock) -> None:
        self._settings = settings
        self._now = now
        self._static = StaticTokens(settings)
        self._provided: TokenVerifier | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Take tokens of the identity provider's while inside, if the settings name one; it is not asked yet."""
        if not self._settings.oauth_issuer:
            yield
            return
        from luma_mcp.app.identity_provider import open_identity_provider  # noqa: PLC0415 - loads cryptography
        from luma_mcp.transports.access_tokens import AccessTokens  # noqa: PLC0415 - as above

        issuer, private = self._settings.oauth_issuer, self._settings.allow_private
        async with open_identity_provider(issuer, allow_private=private) as provider:
            self._provided = AccessTokens(provider, self._settings, self._now)
            yield

    async def verify_token(self, token: str) -> CallerToken:
        """Give who comes with a token; raise `TokenRefused`."""
        try:
            return await self._static.verify_token(token)
        except TokenRefused:
            if self._provided is None:
                raise
        return await self._provided.verify_token(token)
