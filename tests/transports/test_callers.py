"""Callers with access tokens, as they come: a published client that finds its way in by itself, and what it may do."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.transports.sockets import open_sockets
from tests.support.http_server import ASK, PAIRS, TOKENS, bearer, hosted, http_client
from tests.support.identity_provider import ISSUER, OTHER, RESOURCE, SUBJECT, Provider, serving, shown, with_oauth
from tests.support.raw_http import ACCEPT, initialize, rpc
from tests.support.rig import ERAS, settings_for, structured

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


class Keychain:
    """What a client keeps."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """A person's browser, which the identity provider sends back with a code."""

    def __init__(self) -> None:
        self.came_back: dict[str, str] = {}

    async def open(self, url: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(url)
        self.came_back = dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    async def read_code(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**self.came_back)


@asynccontextmanager
async def signed_in(url: str, era: str) -> AsyncGenerator[Client]:
    """Connect the SDK's client, which knows nothing but the server's address."""
    browser = Browser()
    about = OAuthClientMetadata(
        client_name="test",
        redirect_uris=[AnyUrl("http://127.0.0.1:9/callback")],
        token_endpoint_auth_method="none",  # noqa: S106 - no secret: a public client has none
    )
    auth = OAuthClientProvider(url, about, Keychain(), browser.open, browser.read_code)
    async with (
        http_client(auth=auth) as http,
        Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield client


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("path", ["/mcp", ""])
async def test_a_published_client_finds_its_way_in_by_our_401_alone(home: Path, era: str, path: str) -> None:
    port = free_port()
    resource = f"http://127.0.0.1:{port}{path}"
    async with serving(Provider()) as provider:
        oauth: dict[str, Any] = {
            "oauth_issuer": provider.url,
            "oauth_audience": resource,
            "oauth_callers": f"sub:{SUBJECT}",
        }
        async with hosted(home, auth_tokens=None, port=port, **oauth) as server:
            async with signed_in(f"{server.url}/mcp", era) as client:
                task = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
            kept, _ = await server.app.list_tasks(f"{provider.url}#{SUBJECT}", "", 20, "")
            assert [one.task_id for one in kept] == [task["task_id"]]
        assert provider.asked_scopes == ["luma:read luma:spend"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


async def test_the_users_of_one_host_are_callers_of_their_own(home: Path) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        for subject in (SUBJECT, OTHER):
            headers = ACCEPT | shown(provider, sub=subject, client_id="chatgpt")
            session = headers | await initialize(plain, "/mcp", headers)
            call = rpc("tools/call", {"name": "modify_video", "arguments": ASK | {"wait_seconds": 0}})
            assert (await plain.post("/mcp", headers=session, json=call)).status_code == 200
        assert server.task_count() == 2
        mine = await plain.get("/gallery/api/tasks", headers=shown(provider))
        assert len(mine.json()["tasks"]) == 1


async def test_a_session_is_there_for_nobody_else_not_even_a_new_token_of_another_user(home: Path) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        headers = ACCEPT | shown(provider)
        session = await initialize(plain, "/mcp", headers)
        ping = rpc("ping", {})
        assert (await plain.post("/mcp", headers=headers | session, json=ping)).status_code == 200
        again = ACCEPT | shown(provider, jti="another token")
        assert (await plain.post("/mcp", headers=again | session, json=ping)).status_code == 200
        foreign = ACCEPT | shown(provider, sub=OTHER)
        assert (await plain.post("/mcp", headers=foreign | session, json=ping)).status_code == 404


async def test_static_tokens_go_on_beside_the_identity_provider(home: Path) -> None:
    async with with_oauth(home) as (server, provider), server.client("/mcp", ERAS[1], "ann") as ann:
        assert structured(await ann.call_tool("modify_video", ASK | {"wait_seconds": 0}))["task_id"]
        assert provider.asked == [], "the identity provider is not asked for tokens of our own"


async def test_a_provider_that_is_down_keeps_no_static_token_out(home: Path) -> None:
    oauth: dict[str, Any] = {"oauth_issuer": "http://127.0.0.1:9", "oauth_audience": RESOURCE, "oauth_callers": "sub:x"}
    async with hosted(home, auth_tokens=PAIRS, **oauth) as server, server.plain() as plain:
        answer = await plain.get("/mcp", headers=ACCEPT | shown(Provider()))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert answer.json()["error"] == "temporarily_unavailable"
        assert (await plain.get("/mcp", headers=ACCEPT | bearer("ann"))).status_code == 400, "let in, without a session"
        assert (await plain.get("/healthz", headers=shown(Provider()))).status_code == 200


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({"oauth_issuer": ISSUER}, "LUMA_MCP_OAUTH_AUDIENCE"),
        ({"oauth_issuer": ISSUER, "oauth_audience": RESOURCE}, "LUMA_MCP_OAUTH_CALLERS"),
        ({"oauth_issuer": ISSUER, "oauth_callers": "sub:x"}, "LUMA_MCP_OAUTH_AUDIENCE"),
        ({"oauth_audience": RESOURCE, "oauth_callers": "sub:x"}, "LUMA_MCP_OAUTH_ISSUER"),
        ({"oauth_callers": "sub:x"}, "LUMA_MCP_OAUTH_ISSUER"),
        (
            {"oauth_issuer": ISSUER, "oauth_audience": RESOURCE, "oauth_callers": "sub:x", "auth_tokens": "none"},
            "LUMA_MCP_AUTH_TOKENS",
        ),
    ],
)
def test_a_server_that_would_let_in_everybody_does_not_start(home: Path, given: dict[str, str], variable: str) -> None:
    settings = settings_for(home, transport="http", port=0, **given)
    with pytest.raises(BadSetting, match=f"^{variable}: must ") as refused, open_sockets(settings):
        pass
    assert "\n" not in refused.value.message


async def test_a_token_of_no_use_in_the_gallery_opens_no_session(home: Path) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        origin = {"Origin": server.url}
        for token, status in (
            (provider.token(), 204),
            (TOKENS["ann"], 204),
            (provider.token(sub="unlisted"), 403),
            (provider.token(exp=1), 401),
            ("unknown", 401),
        ):
            answer = await plain.post("/gallery/session", headers=origin, json={"token": token})
            assert answer.status_code == status
        assert (await plain.get("/gallery/api/tasks", headers=shown(provider, scope="luma:spend"))).status_code == 403
