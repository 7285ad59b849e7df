"""The token of a request: how it is found, and what is noted of one that is refused."""

import pytest
from starlette.requests import HTTPConnection

from luma_mcp.transports.bearer import (
    BearerTokens,
    CallerNotListed,
    CallerToken,
    ProviderUnreachable,
    TokenRefused,
    refused_token,
)

pytestmark = pytest.mark.anyio
REFUSALS = {"old": TokenRefused("expired"), "eve": CallerNotListed("who?"), "down": ProviderUnreachable("later")}


class Known:
    """Knows one token, and how others are refused."""

    async def verify_token(self, token: str) -> CallerToken:
        if token != "good":  # noqa: S105 - no secret
            raise REFUSALS.get(token, TokenRefused())
        return CallerToken(client_id="ann", scopes=["luma:read"], is_current=lambda: True)


def connection(*headers: tuple[str, str]) -> HTTPConnection:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return HTTPConnection({"type": "http", "headers": raw})


@pytest.mark.parametrize("value", ["Bearer good", "bearer good", "BEARER good"])
async def test_the_caller_of_a_token_is_named_with_its_scopes(value: str) -> None:
    found = await BearerTokens(Known()).authenticate(connection(("Authorization", value)))
    assert found is not None
    credentials, user = found
    assert (credentials.scopes, user.access_token.client_id, user.access_token.token) == (["luma:read"], "ann", "")


@pytest.mark.parametrize("value", ["", "good", "Bearer", "Bearer ", "Basic good", "Bearer  good", "Bearer good "])
async def test_what_is_no_known_token_names_nobody(value: str) -> None:
    shown = connection(("Authorization", value))
    assert await BearerTokens(Known()).authenticate(shown) is None
    assert (refused_token(shown.scope).status, refused_token(shown.scope).reason) == (401, "")


@pytest.mark.parametrize(("token", "status"), [("old", 401), ("eve", 403), ("down", 503)])
async def test_why_a_token_was_refused_is_noted(token: str, status: int) -> None:
    shown = connection(("Authorization", f"Bearer {token}"))
    assert await BearerTokens(Known()).authenticate(shown) is None
    assert refused_token(shown.scope) is REFUSALS[token]
    assert refused_token(shown.scope).status == status
