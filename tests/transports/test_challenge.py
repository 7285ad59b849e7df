"""What a client is told that is not let in, and what it finds where it is sent."""

from pathlib import Path
from typing import Any

import pytest

from luma_mcp.transports.challenge import challenge_of, metadata_url
from tests.support.http_server import PAIRS, hosted
from tests.support.identity_provider import ISSUER, RESOURCE
from tests.support.raw_http import ACCEPT
from tests.support.rig import settings_for

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("resource", "url"),
    [
        ("https://a.example", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://a.example/", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://a.example:8443/mcp", "https://a.example:8443/.well-known/oauth-protected-resource/mcp"),
        ("https://a.example/luma/mcp", "https://a.example/.well-known/oauth-protected-resource/luma/mcp"),
    ],
)
def test_the_well_known_path_stands_between_host_and_path(resource: str, url: str) -> None:
    assert metadata_url(resource) == url


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("resource", "paths"),
    [
        (RESOURCE, ("", "/mcp")),
        ("https://luma.example.com", ("",)),
        ("https://luma.example.com/luma/mcp", ("", "/luma/mcp")),
    ],
)
async def test_the_metadata_is_there_without_a_token(home: Path, resource: str, paths: tuple[str, ...]) -> None:
    oauth: dict[str, Any] = {
        "oauth_issuer": ISSUER,
        "oauth_audience": f"{resource},api://luma",
        "oauth_callers": "group:editors",
    }
    async with hosted(home, auth_tokens=PAIRS, **oauth) as server, server.plain() as plain:
        for path in paths:
            for name in ("luma.example.com", "127.0.0.1"):
                where = f"/.well-known/oauth-protected-resource{path}"
                answer = await plain.get(where, headers={"Host": name, "Authorization": "Bearer unknown"})
                assert answer.json() == {
                    "resource": resource,
                    "authorization_servers": [ISSUER],
                    "scopes_supported": ["luma:read", "luma:spend"],
                    "bearer_methods_supported": ["header"],
                    "resource_name": "Luma video modification by RunAPI",
                }
        assert (await plain.get("/.well-known/oauth-protected-resource/x")).status_code == 404
        answer = await plain.post("/mcp", headers=ACCEPT)
        assert answer.status_code == 401
        where = f"https://luma.example.com/.well-known/oauth-protected-resource{paths[-1]}"
        told = answer.headers["www-authenticate"]
        assert told.endswith(f', resource_metadata="{where}", scope="luma:read luma:spend"')


@pytest.mark.sockets
async def test_without_oauth_no_client_is_sent_looking_for_it(home: Path) -> None:
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        assert (await plain.get("/.well-known/oauth-protected-resource")).status_code == 404
        answer = await plain.post("/mcp", headers=ACCEPT)
        assert answer.headers["www-authenticate"] == (
            'Bearer error="invalid_token", error_description="This server wants the header Authorization: Bearer'
            ' <token>, with one of the tokens in LUMA_MCP_AUTH_TOKENS."'
        )


def test_a_server_with_a_file_of_tokens_says_whose_they_are(home: Path) -> None:
    settings = settings_for(home, transport="http", auth_tokens_file=home / "tokens")
    assert "of its operator's" in challenge_of(settings).hint
