"""The token that comes with a request: whose it is, or why it lets nobody in."""

from collections.abc import Callable
from typing import Protocol

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from pydantic import Field
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection
from starlette.types import Scope

REFUSED_KEY = "luma_mcp.refused"  # in a request's scope: why its token was refused


class CallerToken(AccessToken):
    """A token that was accepted; `client_id` names its caller. The token itself is not kept."""

    token: str = ""
    is_current: Callable[[], bool] = Field(exclude=True, repr=False)  # whether it would still be accepted


class TokenRefused(Exception):
    """A token lets nobody in; `reason` says why, empty for one that is unknown."""

    status = 401

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class CallerNotListed(TokenRefused):
    """A token of the identity provider's is good, but its user is none of those who may come in."""

    status = 403


class ProviderUnreachable(TokenRefused):
    """A token cannot be checked, because the identity provider's keys cannot be had now."""

    status = 503


class TokenVerifier(Protocol):
    """Finds the caller of a token."""

    async def verify_token(self, token: str) -> CallerToken:
        """Give who comes with a token; raise `TokenRefused`."""
        ...


class BearerTokens(AuthenticationBackend):
    """Names the caller of each request that comes with a token, and notes why a token was refused."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, AuthenticatedUser] | None:
        scheme, _, token = conn.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        try:
            found = await self._verifier.verify_token(token)
        except TokenRefused as refused:
            conn.scope[REFUSED_KEY] = refused
            return None
        return AuthCredentials(found.scopes), AuthenticatedUser(found)


def caller_token(scope: Scope) -> CallerToken | None:
    """Give the accepted token of a request, None if there was none."""
    user = scope.get("user")
    token = user.access_token if isinstance(user, AuthenticatedUser) else None
    return token if isinstance(token, CallerToken) else None


def refused_token(scope: Scope) -> TokenRefused:
    """Say why the token of a request was refused; without one, as for one that is unknown."""
    refused: TokenRefused | None = scope.get(REFUSED_KEY)
    return refused or TokenRefused()
