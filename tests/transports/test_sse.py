"""One stream of events to each client, which takes only so much and ends when nobody uses it."""

from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from mcp import MCPError
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCNotification, JSONRPCRequest

from luma_mcp.transports import sse
from luma_mcp.transports.sse import MAX_UNANSWERED, check_unanswered_limit
from tests.support.http_server import ASK, a_moment, event_stream, hosted
from tests.support.rig import ERAS, structured, waiting_calls

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
LEGACY = ERAS[0]
FEW = 3


async def test_an_event_stream_on_which_nothing_is_said_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "FIRST_MESSAGE_SECONDS", 0.2)
    async with hosted(home) as server, server.plain() as plain, event_stream(plain) as (_, lines):
        assert not [line async for line in lines if line]


async def test_on_one_event_stream_only_so_much_goes_on_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_UNANSWERED", FEW)
    async with hosted(home) as server, server.client("/sse", LEGACY) as client:
        task = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        wait = {"task_id": task["task_id"], "wait_seconds": 300}
        async with anyio.create_task_group() as calls:
            for _ in range(FEW):
                calls.start_soon(client.call_tool, "get_task", wait)
            while waiting_calls(server.app) < FEW:
                await a_moment()
            with pytest.raises(MCPError, match="At most 3 requests"):
                await client.call_tool("get_task", wait)
            server.finish_tasks()
        assert structured(await client.call_tool("get_task", wait))["status"] == "completed"


async def test_a_stream_is_asked_for_with_get_alone(home: Path) -> None:
    async with hosted(home) as server, server.plain() as plain:
        answer = await plain.head("/sse")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_a_request_that_is_cancelled_makes_room_and_whatever_is_no_request_needs_none() -> None:
    request = SessionMessage(JSONRPCRequest(jsonrpc="2.0", id="new", method="ping"))
    gone = JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params={"requestId": 0})
    unanswered: set[str | int] = set(range(MAX_UNANSWERED))
    refusal = check_unanswered_limit(request, unanswered)
    assert refusal
    assert isinstance(refusal.message, JSONRPCError)
    assert refusal.message.id == "new"
    for other in (SessionMessage(gone), ValueError("no message")):
        assert check_unanswered_limit(other, unanswered) is None
    assert check_unanswered_limit(request, unanswered) is None
    assert unanswered == {*range(1, MAX_UNANSWERED), "new"}
