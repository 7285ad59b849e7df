"""What a token lets its caller do, and for how long."""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.transports import access_tokens, require_token, static_tokens
from luma_mcp.transports.require_token import calls_spending_tool
from tests.support.http_server import ASK, a_moment, event_stream, hosted
from tests.support.identity_provider import shown, with_oauth
from tests.support.raw_http import ACCEPT, MODERN_META, initialize, modern_headers, rpc

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
CALL = rpc("tools/call", {"name": "modify_video", "arguments": ASK | {"wait_seconds": 0}})
LOOK = rpc("tools/call", {"name": "list_tasks", "arguments": {}})
SOON = 0.05
TOKEN = "a-token-of-ann-0123456789"  # noqa: S105 - of this test alone


async def until_data(lines: AsyncIterator[str]) -> AsyncGenerator[str]:
    """Yield lines up to the first with data."""
    async for line in lines:
        yield line
        if line.startswith("data:"):
            return
    pytest.fail("the stream has ended")


def challenge_in(answer: httpx.Response) -> str:
    return answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_a_caller_without_the_scope_is_told_which_one(home: Path, path: str) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        for scope in ("luma:spend", "openid", None):
            answer = await plain.get(path, headers=ACCEPT | shown(provider, scope=scope))
            assert answer.status_code == 403
            told = challenge_in(answer)
            assert told.startswith(
                'Bearer error="insufficient_scope", error_description="This needs the scope luma:read."'
            )
            assert 'resource_metadata="https://luma.example.com/.well-known/oauth-protected-resource/mcp"' in told
            assert 'scope="luma:read luma:spend"' in told


async def test_who_may_only_look_cannot_spend_but_may_look_in_a_session(home: Path) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        headers = ACCEPT | shown(provider, scope="luma:read")
        session = headers | await initialize(plain, "/mcp", headers)
        assert (await plain.post("/mcp", headers=session, json=LOOK)).status_code == 200
        for body in (CALL, [LOOK, CALL]):
            answer = await plain.post("/mcp", headers=session, json=body)
            assert answer.status_code == 403
            assert 'error="insufficient_scope"' in challenge_in(answer)
            assert "luma:spend" in answer.json()["error_description"]
        assert not server.task_count()
        more = ACCEPT | session | shown(provider)
        assert (await plain.post("/mcp", headers=more, json=CALL)).status_code == 200, (
            "the same session, by a better token"
        )
        assert server.task_count() == 1


async def test_who_may_only_look_cannot_spend_in_the_modern_era(home: Path) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        headers = ACCEPT | shown(provider, scope="luma:read")
        for name, status in (("modify_video", 403), ("list_tasks", 200)):
            call = rpc("tools/call", {"name": name, "arguments": ASK, "_meta": MODERN_META})
            answer = await plain.post("/mcp", headers=headers | modern_headers("tools/call", name), json=call)
            assert answer.status_code == status
        assert not server.task_count()


async def test_who_may_only_look_cannot_spend_over_sse(home: Path) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        headers = shown(provider, scope="luma:read")
        async with event_stream(plain, headers) as (address, _):
            await initialize(plain, address, headers)
            assert (await plain.post(address, headers=headers, json=CALL)).status_code == 403
            assert (await plain.post(address, headers=headers, json=LOOK)).status_code == 202
        assert not server.task_count()


async def test_a_body_that_two_readers_read_differently_spends_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool refuses by itself what came past the look into the body."""
    monkeypatch.setattr(require_token, "calls_spending_tool", lambda _: False)
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        headers = ACCEPT | shown(provider, scope="luma:read")
        session = headers | await initialize(plain, "/mcp", headers)
        answer = await plain.post("/mcp", headers=session, json=CALL)
        assert "This needs the scope luma:spend." in answer.text
        assert not server.task_count()


@pytest.mark.parametrize(
    ("body", "spends"),
    [
        (json.dumps(CALL).encode(), True),
        (json.dumps([LOOK, CALL]).encode(), True),
        (json.dumps(LOOK).encode(), False),
        (b'{"method": "tools/call", "params": {"name": ["modify_video"]}}', False),
        (b'{"method": "prompts/get", "params": {"name": "modify_video"}}', False),
        (b'{"method": "tools/call"}', False),
        (b"[5, null]", False),
        (b"no JSON", False),
        (b"\xff", False),
        (b"[" * 100_000, False),
    ],
)
def test_a_call_that_spends_is_told_from_others(body: bytes, *, spends: bool) -> None:
    assert calls_spending_tool(body) is spends


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": 1}, "The token has expired."),
        ({"aud": "https://other.example"}, "The token is not for this server."),
        ({"iss": "https://evil.example"}, "The token is of another issuer."),
        ({"key": "rsa-2048-other"}, "The token is signed with a key that the identity provider does not have."),
    ],
)
async def test_a_401_says_what_is_wrong_and_where_to_find_a_better_token(
    home: Path, claims: dict[str, Any], words: str
) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        answer = await plain.post("/mcp", headers=ACCEPT | shown(provider, **claims), json=CALL)
        assert answer.status_code == 401
        assert answer.json() == {"error": "invalid_token", "error_description": words}
        assert f'error_description="{words}", resource_metadata="https://luma.example.com/' in challenge_in(answer)


async def test_who_is_not_listed_is_not_sent_back_to_sign_in_again(home: Path) -> None:
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        answer = await plain.post("/mcp", headers=ACCEPT | shown(provider, sub="eve"), json=CALL)
        assert answer.status_code == 403
        assert "eve" in answer.json()["error_description"]
        assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_a_stream_ends_when_its_token_is_revoked(
    home: Path, monkeypatch: pytest.MonkeyPatch, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(require_token, "RECHECK_SECONDS", SOON)
    monkeypatch.setattr(static_tokens, "FILE_SECONDS", 0.0)
    tokens = home / "tokens"
    tokens.write_text(f"ann:{TOKEN}\n")
    async with hosted(home, auth_tokens=None, auth_tokens_file=tokens) as server, server.plain() as plain:
        headers = ACCEPT | {"Authorization": f"Bearer {TOKEN}"}
        if path == "/mcp":
            headers |= await initialize(plain, path, headers)
        async with plain.stream("GET", path, headers=headers) as events:
            assert events.status_code == 200
            await anyio.sleep(3 * SOON)
            tokens.write_text("# nobody\n")
            async for _ in events.aiter_raw():
                pass
        assert (await plain.get(path, headers=headers)).status_code == 401
    assert "ASGI callable" not in caplog.text


async def test_a_call_ends_when_its_token_is_revoked_and_its_task_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(require_token, "RECHECK_SECONDS", SOON)
    monkeypatch.setattr(static_tokens, "FILE_SECONDS", 0.0)
    tokens = home / "tokens"
    tokens.write_text(f"ann:{TOKEN}\n")
    async with hosted(home, auth_tokens=None, auth_tokens_file=tokens) as server, server.plain() as plain:
        headers = ACCEPT | {"Authorization": f"Bearer {TOKEN}"}
        session = headers | await initialize(plain, "/mcp", headers)
        call = rpc("tools/call", {"name": "modify_video", "arguments": ASK | {"wait_seconds": 60}})
        async with plain.stream("POST", "/mcp", headers=session, json=call) as events:
            while not server.task_count():
                await a_moment()
            tokens.write_text("")
            said = b"".join([piece async for piece in events.aiter_raw()])
        assert b'"result"' not in said
        assert server.task_count() == 1


async def test_a_stream_ends_with_the_access_token_that_opened_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(require_token, "RECHECK_SECONDS", SOON)
    monkeypatch.setattr(access_tokens, "LEEWAY_SECONDS", 0.0)
    async with with_oauth(home) as (server, provider), server.plain() as plain:
        ending = shown(provider, exp=int(time.time()) + 2)
        async with plain.stream("GET", "/sse", headers=ending) as events:
            assert events.status_code == 200
            async for _ in events.aiter_raw():
                pass


async def test_a_token_that_counts_lets_a_stream_stand(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(require_token, "RECHECK_SECONDS", SOON)
    async with (
        with_oauth(home) as (server, provider),
        server.plain() as plain,
        event_stream(plain, shown(provider)) as (address, lines),
    ):
        await anyio.sleep(5 * SOON)
        await plain.post(address, headers=shown(provider), json=rpc("ping", {}))
        assert [line async for line in until_data(lines)]
