"""Whatever body comes over HTTP is answered, and the server goes on working."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.hosted import event_stream, hosted
from tests.support.raw import ACCEPT, MODERN, MODERN_META, modern_headers, rpc, shake_hands

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
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
            modern_headers("tools/call", "get_task") if era == MODERN else await shake_hands(plain, "/mcp", ACCEPT)
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
        await shake_hands(plain, address, {})
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
