"""Tasks as clients of 2025-11-25 ask for them, on a server whose settings want that."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, CallToolResult, TextContent

from luma_mcp.sandbox.faults import Fault
from luma_mcp.server.legacy_tasks import CANCEL_REFUSAL, OVER_REFUSAL, RELATED_TASK_KEY, refusal
from tests.support.http_server import hosted
from tests.support.raw_http import ACCEPT, rpc
from tests.support.rig import ERAS, SOURCE, ProgressRecorder, Rig, open_rig
from tests.support.task_client import begin

pytestmark = pytest.mark.anyio
LEGACY, MODERN = ERAS
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}


@pytest.fixture
async def willing(home: Path, inline_threads: None) -> AsyncGenerator[Rig]:
    async with open_rig(home, legacy_tasks=True) as opened:
        yield opened


async def ask(client: Client, method: str, **params: Any) -> dict[str, Any]:
    return await client.session._dispatcher.send_raw_request(method, params)


async def call(client: Client, arguments: dict[str, Any], *, name: str = "modify_video") -> dict[str, Any]:
    return await ask(client, "tools/call", name=name, arguments=arguments, task={"ttl": 60_000})


async def error_of(client: Client, method: str, **params: Any) -> Any:
    with pytest.raises(MCPError) as refused:
        await ask(client, method, **params)
    return refused.value.error


async def test_a_client_is_told_that_it_may_ask_for_tasks(willing: Rig) -> None:
    async with willing.client(LEGACY) as client:
        assert client.session.initialize_result
        told = client.session.initialize_result.capabilities.model_dump(by_alias=True, exclude_none=True)
        assert told["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        offers = {tool["name"]: tool.get("execution") for tool in (await ask(client, "tools/list"))["tools"]}
    assert offers.pop("modify_video") == {"taskSupport": "optional"}
    assert set(offers.values()) == {None}


async def test_a_task_is_begun_followed_and_ends_with_the_result(willing: Rig) -> None:
    async with willing.client(LEGACY) as client:
        begun = await call(client, ASK)
        task = begun["task"]
        assert anyio.current_time() == 0
        assert (task["status"], task["ttl"], task["pollInterval"]) == ("working", None, 5000)
        assert begun["_meta"][RELATED_TASK_KEY] == {"taskId": task["taskId"]}
        assert (await ask(client, "tasks/get", taskId=task["taskId"]))["status"] == "working"
        result = await ask(client, "tasks/result", taskId=task["taskId"])
        assert result["structuredContent"]["status"] == "completed"
        assert result["_meta"] == {RELATED_TASK_KEY: {"taskId": task["taskId"]}}
        assert "resultType" not in result
        over = await ask(client, "tasks/get", taskId=task["taskId"])
        assert over["status"] == "completed"
        assert (await ask(client, "tasks/list"))["tasks"] == [over]
        again = await call(client, ASK)
    assert (again["task"]["taskId"], again["task"]["status"]) == (task["taskId"], "completed")
    assert willing.task_count() == 1


async def test_the_wait_for_a_result_reports_progress(willing: Rig) -> None:
    recorder = ProgressRecorder()
    async with willing.client(LEGACY) as client:
        task_id = (await call(client, ASK))["task"]["taskId"]
        options: Any = {"on_progress": recorder}
        await client.session._dispatcher.send_raw_request("tasks/result", {"taskId": task_id}, options)
    assert "processing" in recorder.states


async def test_a_task_that_failed_says_all_in_its_message(willing: Rig) -> None:
    willing.sandbox.faults.inject(Fault("fail"))
    async with willing.client(LEGACY) as client:
        task_id = (await call(client, ASK))["task"]["taskId"]
        result = await ask(client, "tasks/result", taskId=task_id)
        told = await ask(client, "tasks/get", taskId=task_id)
    error = result["structuredContent"]["error"]
    assert (result["isError"], told["status"]) == (True, "failed")
    assert told["statusMessage"].endswith(f"; nothing was charged. {error['hint']}")
    assert error["message"].rstrip(".") in told["statusMessage"]


async def test_a_refusal_is_an_error_of_the_protocol(home: Path, inline_threads: None) -> None:
    async with open_rig(home, legacy_tasks=True, max_active=1) as rig, rig.client(LEGACY) as client:
        with pytest.raises(MCPError) as refused:
            await call(client, ASK | {"prompt": ""})
        assert refused.value.error.code == INVALID_PARAMS
        assert refused.value.error.data["code"] == "invalid_request"
        await call(client, ASK)
        with pytest.raises(MCPError) as refused:
            await call(client, ASK | {"take": 2})
        assert refused.value.error.code == INTERNAL_ERROR
        assert (refused.value.error.data["code"], refused.value.error.data["charged"]) == ("limit_reached", "no")
        with pytest.raises(MCPError) as refused:
            await call(client, {}, name="list_tasks")
        assert refused.value.error.code == METHOD_NOT_FOUND


async def test_a_task_cannot_be_cancelled_and_an_unknown_one_not_be_found(willing: Rig) -> None:
    async with willing.client(LEGACY) as client:
        task_id = (await call(client, ASK))["task"]["taskId"]
        error = await error_of(client, "tasks/cancel", taskId=task_id)
        assert (error.code, error.message) == (INVALID_PARAMS, CANCEL_REFUSAL)
        await ask(client, "tasks/result", taskId=task_id)
        error = await error_of(client, "tasks/cancel", taskId=task_id)
        assert (error.code, error.message) == (INVALID_PARAMS, OVER_REFUSAL)
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            assert (await error_of(client, method, taskId="nope")).code == INVALID_PARAMS
            assert (await error_of(client, method)).code == INVALID_PARAMS
        assert (await error_of(client, "tasks/list", cursor="nope")).code == INVALID_PARAMS
        assert (await error_of(client, "tasks/update", taskId=task_id)).code == METHOD_NOT_FOUND


async def test_tasks_are_listed_page_by_page(willing: Rig) -> None:
    async with willing.client(LEGACY) as client:
        begun = []
        for take in range(1, 23):
            begun.append((await call(client, ASK | {"take": take, "prompt": f"fog {take}"}))["task"]["taskId"])
            await ask(client, "tasks/result", taskId=begun[-1])
        first = await ask(client, "tasks/list")
        second = await ask(client, "tasks/list", cursor=first["nextCursor"])
    listed = [task["taskId"] for task in (*first["tasks"], *second["tasks"])]
    assert listed == begun[::-1]
    assert "nextCursor" not in second


async def test_whoever_waits_when_the_server_ends_is_told_to_ask_again(willing: Rig) -> None:
    async with willing.client(LEGACY) as client, anyio.create_task_group() as group:
        task_id = (await call(client, ASK))["task"]["taskId"]

        async def wait() -> None:
            assert (await error_of(client, "tasks/result", taskId=task_id)).code == INTERNAL_ERROR

        group.start_soon(wait)
        await anyio.sleep(2)
        willing.app.begin_drain()


async def test_who_does_not_ask_for_a_task_gets_a_result(willing: Rig) -> None:
    async with willing.client(LEGACY) as client:
        plain = await ask(client, "tools/call", name="modify_video", arguments=ASK)
    assert plain["structuredContent"]["status"] == "completed"


async def test_the_later_revision_is_as_without_the_setting(willing: Rig) -> None:
    async with willing.client(MODERN) as client:
        listed = await client.list_tools()
        assert {tool.execution for tool in listed.tools} == {None}
        assert (await begin(client, **ASK))["resultType"] == "task"


async def test_without_the_setting_nothing_is_offered_and_a_wish_for_a_task_ignored(rig: Rig) -> None:
    async with rig.client(LEGACY) as client:
        assert client.session.initialize_result
        assert client.session.initialize_result.capabilities.tasks is None
        assert "execution" not in (await ask(client, "tools/list"))["tools"][0]
        assert (await call(client, ASK))["structuredContent"]["status"] == "completed"


def test_a_failure_that_says_nothing_is_one_all_the_same() -> None:
    broken = CallToolResult(content=[TextContent(type="text", text="Error executing tool")], is_error=True)
    error = refusal(broken).error
    assert (error.code, error.message) == (INTERNAL_ERROR, "The call failed.")


@pytest.mark.sockets
@pytest.mark.parametrize(("revision", "offered"), [("2025-11-25", True), ("2025-06-18", False)])
async def test_an_earlier_revision_knows_nothing_of_tasks(home: Path, revision: str, offered: bool) -> None:
    hello = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    async with hosted(home, legacy_tasks=True) as server, server.plain() as http:
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        answer = await http.post("/mcp", json=message, headers=ACCEPT)
        session = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": revision}
        listed = await http.post("/mcp", json=rpc("tools/list", {}), headers=ACCEPT | session)
    assert f'"protocolVersion":"{revision}"' in answer.text
    assert ('"tasks":' in answer.text) is offered
    assert ('"taskSupport":' in listed.text) is offered
