"""What is served over HTTP under which path, to whom, and how much of it to one caller."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError
from mcp_types import ResourceTemplateReference

from luma_mcp.app.app import open_app
from luma_mcp.core.uris import TASK_TEMPLATE, TASKS_URI
from luma_mcp.server import subscriptions
from luma_mcp.server.completions import MAX_TYPED_LENGTH
from luma_mcp.server.server import build_server
from luma_mcp.transports import routes, sockets
from luma_mcp.transports.routes import HttpTransports
from tests.support.http_server import ASK, PAIRS, bearer, event_stream, hosted
from tests.support.raw_http import ACCEPT, MODERN, MODERN_META, initialize, modern_headers, rpc
from tests.support.rig import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
FEW = 3
PUBLIC = "https://mcp.example.com"
SECRET = "x" * 43
INFO = {"name": "test", "version": "1"}


async def test_one_of_several_callers_leaves_room_for_the_others(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", 4)
    async with hosted(home, auth_tokens=PAIRS) as server, AsyncExitStack() as streams:
        ann = await streams.enter_async_context(server.plain("ann"))
        bob = await streams.enter_async_context(server.plain("bob"))
        for _ in range(3):
            await streams.enter_async_context(event_stream(ann))
        assert (await ann.get("/sse")).status_code == 429
        async with event_stream(bob) as (address, _):
            assert address


async def test_sessions_are_counted_for_each_caller(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_SESSIONS", FEW)
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        for _ in range(FEW):
            await initialize(plain, "/mcp", ACCEPT | bearer("ann"))
        begin = rpc("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO})
        assert (await plain.post("/mcp", headers=ACCEPT | bearer("ann"), json=begin)).status_code == 503
        assert (await plain.post("/mcp", headers=ACCEPT | bearer("bob"), json=begin)).status_code == 200


async def test_listening_streams_are_counted_for_each_caller(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_LISTEN_STREAMS", 1)
    async with (
        hosted(home, auth_tokens=PAIRS) as server,
        server.client("/mcp", MODERN, "ann") as ann,
        server.client("/mcp", MODERN, "bob") as bob,
        ann.listen(resource_subscriptions=[TASKS_URI]),
    ):
        with pytest.raises(MCPError):
            await listen_once(ann)
        await listen_once(bob)


async def listen_once(client: Client) -> None:
    """Begin to listen, and leave."""
    async with client.listen(resource_subscriptions=[TASKS_URI]):
        pass


async def test_messages_that_get_no_further_are_not_piled_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_SSE_MESSAGES", 0)
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (address, _):
        assert (await plain.post(address, json=rpc("tools/list", {}))).status_code == 429


@pytest.mark.parametrize("typed", ["fog " * 100_000, "fog".ljust(MAX_TYPED_LENGTH) + "snow"])
async def test_what_is_typed_is_looked_for_only_so_far(home: Path, typed: str) -> None:
    async with hosted(home) as server, server.client("/mcp", MODERN) as client:
        await client.call_tool("modify_video", ASK | {"wait_seconds": 0})
        template = ResourceTemplateReference(type="ref/resource", uri=TASK_TEMPLATE)
        found = await client.complete(template, {"name": "task_id", "value": typed})
        assert len(found.completion.values) == 1


HALF = r"\ud83d"
DEEP = "[" * 100_000 + "]" * 100_000
PARAMS = '{"_meta": META, "name": "get_task", "arguments": %s}'
CALL = f'{{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {PARAMS}}}'
NO_ID = '{"jsonrpc": "2.0", "id": {}, "method": "ping", "params": {"_meta": META}}'
BODIES = [
    "this is no JSON",
    "",
    "\x00",
    "[]",
    "5",
    "null",
    "{}",
    '{"jsonrpc": "2.0", "id": 7}',
    '{"jsonrpc": "2.0", "id": 7, "method": 5}',
    NO_ID,
    '[{"jsonrpc": "2.0", "id": 7, "method": "ping"}]',
    CALL % f'{{"task_id": "{HALF}"}}',
    CALL % f'{{"{HALF}": 1, "task_id": "x"}}',
    CALL % f'{{"task_id": "x", "a": {DEEP}}}',
    f'{{"jsonrpc": "2.0", "id": 7, "method": "{HALF}", "params": {{"_meta": META}}}}',
    f'{{"jsonrpc": "2.0", "id": "{HALF}", "method": "ping", "params": {{"_meta": META}}}}',
]


async def posted(plain: httpx.AsyncClient, path: str, headers: dict[str, str], body: str) -> httpx.Response:
    """Send a body as it is."""
    content = body.replace("META", json.dumps(MODERN_META)).encode()
    return await plain.post(path, headers={**headers, "Content-Type": "application/json"}, content=content)


@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_any_body_is_answered_over_streamable_http(home: Path, era: str) -> None:
    async with hosted(home) as server, server.plain() as plain:
        headers = ACCEPT | (
            modern_headers("tools/call", "get_task") if era == MODERN else await initialize(plain, "/mcp", ACCEPT)
        )
        for body in BODIES:
            answer = await posted(plain, "/mcp", headers, body)
            if answer.status_code == 202:  # to the SDK, what has no usable id is a notification in this era
                assert (era, body) == ("legacy", NO_ID)
            else:
                assert 400 <= answer.status_code < 500, (body[:80], answer.status_code)
                assert answer.json()["error"]["message"], body[:80]
        listed = await plain.post("/mcp", headers=ACCEPT | again(headers, era), json=listing(era))
        assert listed.status_code == 200
        assert "modify_video" in listed.text


async def test_any_body_is_answered_beside_an_event_stream(home: Path) -> None:
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (address, lines):
        await initialize(plain, address, {})
        for body in BODIES:
            answer = await posted(plain, address, {}, body)
            assert answer.status_code in (202, 400), body[:80]
        await plain.post(address, json=listing("legacy"))
        while "modify_video" not in await anext(lines):
            pass


def again(headers: dict[str, str], era: str) -> dict[str, str]:
    """Give the headers for listing tools."""
    return modern_headers("tools/list") if era == MODERN else headers


def listing(era: str) -> dict[str, Any]:
    """Ask for the tools."""
    return rpc("tools/list", {"_meta": MODERN_META} if era == MODERN else {})


async def test_addresses_with_a_slash_at_the_end_lead_nowhere_else(home: Path) -> None:
    async with hosted(home) as server, server.plain() as plain:
        listing, headers = rpc("tools/list", {"_meta": MODERN_META}), ACCEPT | modern_headers("tools/list")
        assert (await plain.post("/mcp/", headers=headers, json=listing)).status_code == 200
        for path in ("/messages", "/healthz/", "/mcp//", "/%2Fmcp"):
            assert (await plain.get(path)).status_code == 404


async def test_settings_that_do_not_say_who_comes_in_let_nobody_in(home: Path) -> None:
    async with open_app(settings_for(home, transport="http")) as app:
        web = httpx.ASGITransport(HttpTransports(app, build_server(app)).application())
        async with httpx.AsyncClient(base_url="http://localhost", transport=web) as plain:
            for token in ("", "None", "x" * 43):
                shown = {"Authorization": f"Bearer {token}"}
                assert (await plain.get("/mcp", headers=ACCEPT | shown)).status_code == 401


@pytest.mark.parametrize("transport", ["http", "sse", "streamable-http"])
async def test_nothing_is_ever_led_elsewhere(home: Path, transport: str) -> None:
    known = ("mcp", "sse", "messages", "healthz", "readyz", "callbacks", f"callbacks/{SECRET}", "", "unknown")
    forms = (
        "/{}",
        "/{}/",
        "/{}//",
        "//{}",
        "/./{}",
        "/{}/.",
        "/{}/..",
        "/{}/../mcp",
        "/{}%2F",
        "/{}%2f%2fevil.example",
    )
    async with hosted(home, transport=transport, public_url=PUBLIC) as server, server.plain() as plain:
        for path in dict.fromkeys(form.format(name) for form in forms for name in known):
            for method in ("POST", "PUT", "HEAD", "OPTIONS", "PATCH"):
                url = plain.base_url.copy_with(raw_path=path.encode())
                answer = await plain.request(method, url, headers={"Accept": "text/html"}, follow_redirects=False)
                assert "location" not in answer.headers, (method, path)
                assert not 300 <= answer.status_code < 400, (method, path)
                assert answer.status_code < 500, (method, path)


async def test_only_one_form_of_a_callback_is_one_and_none_tells_more(home: Path) -> None:
    async with hosted(home, public_url=PUBLIC) as server, server.plain() as plain:
        for host in ("localhost", "evil.example"):
            headers = {"Host": host}
            assert (await plain.post(f"/callbacks/{SECRET}", headers=headers)).status_code == 204
            for path in (
                f"/{SECRET}/",
                f"//{SECRET}",
                f"/{SECRET}%2F",
                f"/x/{SECRET}",
                "/",
                "",
                f"/{SECRET}/../{SECRET}/x",
            ):
                url = plain.base_url.copy_with(raw_path=b"/callbacks" + path.encode())
                answer = await plain.post(url, headers=headers, follow_redirects=False)
                assert answer.status_code in {404, 421}
                assert SECRET not in answer.text
                assert "location" not in answer.headers
