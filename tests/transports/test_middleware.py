"""The ways in over HTTP that must be shut, and those that must not."""

import json
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from luma_mcp.transports import middleware
from luma_mcp.transports.middleware import PROBE_PATHS
from luma_mcp.transports.routes import MAX_MESSAGE_BYTES
from tests.support.http_server import METRICS_TOKEN, PAIRS, PATHS, TOKENS, bearer, event_stream, hosted
from tests.support.raw_http import ACCEPT, rpc

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


@pytest.mark.parametrize("path", [*PATHS, "/messages/?session_id=0"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": TOKENS["ann"]},
        {"Authorization": f"Basic {TOKENS['ann']}"},
        {"Authorization": f"Bearer {TOKENS['ann']}x"},
        {"X-Authorization": f"Bearer {TOKENS['ann']}"},
    ],
)
async def test_nobody_comes_in_without_a_token(home: Path, path: str, headers: dict[str, str]) -> None:
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        for method in ("GET", "POST", "DELETE") if path == "/mcp" else ("POST",) if "?" in path else ("GET",):
            answer = await plain.request(method, path, headers=ACCEPT | headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert (await plain.get(f"/mcp?token={TOKENS['ann']}", headers=ACCEPT)).status_code == 401
        assert not server.sandbox.recorded_requests


@pytest.mark.parametrize("path", [*PATHS, "/messages/?session_id=0", "/"])
async def test_foreign_names_and_foreign_web_pages_are_refused(home: Path, path: str) -> None:
    async with hosted(home, auth_tokens=PAIRS, public_url="https://mcp.example.com") as server, server.plain() as plain:
        for headers, status in (({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403)):
            for method in ("GET", "POST", "OPTIONS"):
                answer = await plain.request(method, path, headers=ACCEPT | bearer("ann") | headers)
                assert answer.status_code == status
        two = [
            *ACCEPT.items(),
            *bearer("ann").items(),
            ("Origin", "http://localhost"),
            ("Origin", "https://evil.example"),
        ]
        assert (await plain.get(path, headers=two)).status_code == 403
        named = {"Host": "mcp.example.com", "Origin": "https://mcp.example.com"}
        assert (await plain.get("/mcp", headers=ACCEPT | bearer("ann") | named)).status_code == 400


async def test_whoever_watches_over_the_server_may_call_it_by_any_name(home: Path) -> None:
    headers = {"Host": "10.1.2.3", "Authorization": f"Bearer {METRICS_TOKEN}"}
    async with hosted(home, auth_tokens=PAIRS, metrics_token=METRICS_TOKEN) as server, server.plain() as plain:
        for path in PROBE_PATHS:
            assert (await plain.get(path, headers=headers)).status_code == 200


async def test_what_is_too_large_is_refused(home: Path) -> None:
    async def endless(size: int) -> AsyncGenerator[bytes]:
        for _ in range(size // 1024 + 1):
            yield bytes(1024)

    async with hosted(home, public_url="https://mcp.example.com") as server, server.plain() as plain:
        headers = ACCEPT | {"Content-Type": "application/json"}
        for content in (bytes(MAX_MESSAGE_BYTES + 1), endless(MAX_MESSAGE_BYTES)):
            assert (await plain.post("/mcp", headers=headers, content=content)).status_code == 413
            assert (await plain.post("/callbacks/x", headers=headers, content=content)).status_code == 204
        long = await plain.get("/mcp", headers={"X": "x" * middleware.MAX_HEAD_BYTES})
        assert long.status_code == 431
        assert (await plain.get("/healthz")).status_code == 200


async def test_each_request_is_a_line_without_secrets(
    home: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "luma_mcp")
    secret = "in-the-address"  # noqa: S105 - of this test
    async with hosted(home, auth_tokens=PAIRS, public_url="https://mcp.example.com") as server, server.plain() as plain:
        await plain.post("/mcp?key=" + secret, headers=ACCEPT | bearer("ann"), json=rpc("tools/list", {}))
        await plain.post(f"/callbacks/{secret}")
        await plain.get(f"/{secret}")
        await plain.get("/healthz")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "luma_mcp.access"]
    seen = [(line["method"], line["path"], line["status"], line["caller"]) for line in lines]
    assert seen == [
        ("POST", "/mcp", 400, "ann"),
        ("POST", "/callbacks", 204, ""),
        ("GET", "other", 404, ""),
        ("GET", "/healthz", 200, ""),
    ]
    assert all(line["from"] == "127.0.0.1" and line["seconds"] >= 0 for line in lines)
    assert secret not in caplog.text
    assert TOKENS["ann"] not in caplog.text
    assert capsys.readouterr().out == ""


FORWARDING = {
    "Forwarded": "for=192.0.2.1",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "https",
    "x-forwarded-server": "proxy",
    "X-Real-IP": "127.0.0.1",
    "Via": "1.1 proxy",
    "True-Client-IP": "192.0.2.1",
    "CF-Connecting-IP": "192.0.2.1",
}


@pytest.mark.parametrize("path", [*PATHS, "/messages/?session_id=0"])
async def test_where_no_token_is_needed_nobody_comes_through_a_proxy(home: Path, path: str) -> None:
    async with hosted(home) as server, server.plain() as plain:
        for name, value in FORWARDING.items():
            for method in ("GET", "POST"):
                answer = await plain.request(method, path, headers=ACCEPT | {name: value, "Host": "localhost"})
                assert answer.status_code == 403, name
            assert (await plain.get("/healthz", headers={name: value})).status_code == 200
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain("ann") as plain:
        assert (await plain.get("/mcp", headers=ACCEPT | FORWARDING)).status_code == 400


@pytest.mark.parametrize("tokens", ["none", PAIRS])
@pytest.mark.parametrize("path", [*PATHS, "/messages/?session_id=0", "/"])
async def test_what_a_browser_says_a_foreign_page_asks_for_is_refused(home: Path, path: str, tokens: str) -> None:
    async with hosted(home, auth_tokens=tokens) as server, server.plain("ann") as plain:
        for site in ("cross-site", "same-site", "Cross-Site", "anything"):
            for method in ("GET", "POST"):
                answer = await plain.request(method, path, headers=ACCEPT | {"Sec-Fetch-Site": site})
                assert answer.status_code == 403
            foreign = {"Sec-Fetch-Site": site, "Origin": "https://evil.example"}
            assert (await plain.get(path, headers=ACCEPT | foreign)).status_code == 403
            own = {"Sec-Fetch-Site": site, "Origin": "http://localhost:6274"}
            assert (await plain.get("/mcp", headers=ACCEPT | own)).status_code == 400
        two = [*ACCEPT.items(), ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")]
        assert (await plain.get(path, headers=two)).status_code == 403
        for site in ("none", "same-origin"):
            assert (await plain.get("/mcp", headers=ACCEPT | {"Sec-Fetch-Site": site})).status_code == 400


async def test_a_401_says_where_the_token_is(home: Path) -> None:
    for tokens, where in ((PAIRS, "one of the tokens in LUMA_MCP_AUTH_TOKENS"), (None, "luma-mcp token")):
        async with hosted(home, auth_tokens=tokens) as server, server.plain() as plain:
            for path in PATHS:
                answer = await plain.get(path, headers=ACCEPT | {"Authorization": ""})
                assert answer.status_code == 401
                assert where in answer.json()["error_description"]
                assert where in answer.headers["www-authenticate"]


async def test_who_forwards_a_request_is_not_believed(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "luma_mcp.access")
    async with hosted(home) as server, server.plain() as plain:
        await plain.get("/mcp", headers={"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"})
    assert "203.0.113.9" not in caplog.text


async def test_behind_a_proxy_with_a_path_clients_are_led_below_it(home: Path) -> None:
    public = "https://example.com/luma"
    async with hosted(home, auth_tokens=PAIRS, public_url=public) as server, server.plain("ann") as plain:
        async with event_stream(plain, {"Host": "example.com"}) as (address, _):
            assert address.startswith("/luma/messages/")
            beside = address.removeprefix("/luma")
            listing = rpc("tools/list", {})
            assert (await plain.post(beside, headers={"Host": "example.com"}, json=listing)).status_code == 202
        async with event_stream(plain) as (address, _):
            assert (await plain.post(address, json=listing)).status_code == 202
        assert (await plain.post("/callbacks/x", headers={"Host": "example.com"})).status_code == 204
