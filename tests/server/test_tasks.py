"""How the protocol speaks of tasks, whatever they are about, and who may ask."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import mcp.types as wire
import pytest
from mcp import MCPError
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY as MISSING

from luma_mcp.app.changes import ALL_TASKS, ChangeSet
from luma_mcp.server import tasks
from luma_mcp.server.tasks import (
    EXTENSION_ID,
    METHODS,
    TaskChanged,
    TaskState,
    TaskStatus,
    TaskWatch,
    create_task_result,
    detailed_task,
)
from tests.support.http_server import ASK, PAIRS, PATHS, Hosted, hosted
from tests.support.rig import ERAS, MODERN_META, Rig, ask_raw, structured
from tests.support.task_client import MODERN, TASKS_META, TaskFollower, ask, begin

pytestmark = pytest.mark.anyio
LEGACY = ERAS[0]
RESULT = wire.CallToolResult(content=[wire.TextContent(type="text", text="made")], is_error=True)
ERROR = wire.ErrorData(code=-32603, message="It broke.")


def state(status: TaskStatus = "working", **facts: Any) -> TaskState:
    return TaskState(task_id="a", status=status, created_at=10.0, **{"updated_at": 20.0, **facts})


def test_a_created_task_has_all_that_a_client_needs_to_follow_it() -> None:
    assert create_task_result(state(message="It goes.")) == {
        "resultType": "task",
        "taskId": "a",
        "status": "working",
        "statusMessage": "It goes.",
        "createdAt": "1970-01-01T00:00:10.000Z",
        "lastUpdatedAt": "1970-01-01T00:00:20.000Z",
        "ttlMs": None,
        "pollIntervalMs": 5000,
    }
    assert "statusMessage" not in create_task_result(state())
    backwards = create_task_result(state(updated_at=5.0))
    assert backwards["lastUpdatedAt"] == backwards["createdAt"]


@pytest.mark.parametrize(
    ("shown", "part"),
    [
        (state(), {}),
        (state("cancelled", result=RESULT), {}),
        (state("failed", error=ERROR), {"error": {"code": -32603, "message": "It broke."}}),
        (state("input_required", input_requests={"k": {}}), {"inputRequests": {"k": {}}}),
        (
            state("completed", result=RESULT),
            {
                "result": {
                    "content": [{"type": "text", "text": "made"}],
                    "isError": True,
                    "resultType": "complete",
                }
            },
        ),
    ],
)
def test_a_task_in_detail_has_what_belongs_to_its_status(shown: TaskState, part: dict[str, Any]) -> None:
    told = detailed_task(shown)
    assert {name: told[name] for name in ("result", "error", "inputRequests") if name in told} == part


def test_a_watched_task_is_news_at_first_when_it_changed_and_when_it_is_over() -> None:
    watch = TaskWatch([state()])
    news = [watch.is_news(each) for each in (state(), state(message="later"), state(updated_at=30.0))]
    assert news == [True, False, True]
    assert watch.ids == ["a"]
    assert watch.is_news(state("completed", updated_at=30.0))
    assert watch.ids == []
    assert not watch.is_news(state("completed", updated_at=40.0)), "whatever is read of it later"


def test_a_watched_task_is_looked_at_when_a_change_may_concern_it() -> None:
    watch = TaskWatch([state()])
    other = ChangeSet(frozenset({ALL_TASKS, "other"}), anything=False, listed=False)
    assert watch.changed(other) == [TaskChanged("a")], "its id is not known yet"
    watch.is_news(state(change_id="ours"))
    assert watch.changed(other) == []
    assert watch.changed(ChangeSet(frozenset({ALL_TASKS, "ours"}), anything=False, listed=False)) == [TaskChanged("a")]
    assert watch.changed(ChangeSet(frozenset(), anything=True, listed=True)) == [TaskChanged("a")]


async def error_of(client: Any, method: str, **params: Any) -> wire.ErrorData:
    """Ask what is refused, and give the error."""
    with pytest.raises(MCPError) as refused:
        await ask(client, method, **params)
    return refused.value.error


@pytest.mark.parametrize("method", sorted(METHODS))
async def test_a_client_that_declares_nothing_is_told_what_it_lacks(rig: Rig, method: str) -> None:
    async with rig.client(MODERN) as client:
        error = await error_of(client, method, meta=MODERN_META, taskId="a")
        assert error.code == MISSING
        assert error.data == {"requiredCapabilities": {"extensions": {EXTENSION_ID: {}}}}
        listening = await error_of(client, "subscriptions/listen", meta=MODERN_META, notifications={"taskIds": ["a"]})
        assert (listening.code, listening.data) == (error.code, error.data)


async def test_each_request_declares_for_itself(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        task_id = (await begin(client, **ASK))["taskId"]
        assert (await error_of(client, "tasks/get", meta=MODERN_META, taskId=task_id)).code == MISSING
        assert (await ask(client, "tasks/get", taskId=task_id))["taskId"] == task_id


@pytest.mark.parametrize("method", ["tasks/result", "tasks/list"])
async def test_methods_of_the_revision_before_are_unknown(rig: Rig, method: str) -> None:
    async with rig.client(MODERN) as client:
        assert (await error_of(client, method, taskId="a")).code == METHOD_NOT_FOUND


@pytest.mark.parametrize("params", [{}, {"taskId": 3}])
async def test_a_request_without_a_task_is_the_clients_mistake(rig: Rig, params: dict[str, Any]) -> None:
    async with rig.client(MODERN) as client:
        assert (await error_of(client, "tasks/get", **params)).code == INVALID_PARAMS


@pytest.mark.parametrize("method", [*sorted(METHODS), "tasks/result", "tasks/list"])
async def test_the_handshake_era_knows_the_methods_as_little_as_any_other(rig: Rig, method: str) -> None:
    async with rig.client(LEGACY) as client:
        for asked in (method, "tasks/brew"):
            with pytest.raises(MCPError) as refused:
                await ask_raw(client, LEGACY, asked)
            error = refused.value.error
            assert (error.code, error.message, error.data) == (METHOD_NOT_FOUND, "Method not found", asked)


@pytest.mark.parametrize("wanted", [{"a": 1}, "a", ["a"] * (tasks.MAX_WATCHED_TASKS + 1)])
async def test_a_list_of_watched_tasks_that_is_none_is_refused(rig: Rig, wanted: object) -> None:
    async with rig.client(MODERN) as client:
        error = await error_of(client, "subscriptions/listen", notifications={"taskIds": wanted})
    assert error.code == INVALID_PARAMS


HEADERS = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": MODERN,
}


@asynccontextmanager
async def two_callers(home: Path) -> AsyncGenerator[Hosted]:
    async with hosted(home, auth_tokens=PAIRS, runs=True) as server:
        yield server


async def post(http: httpx.AsyncClient, method: str, header: str | None, **params: Any) -> dict[str, Any]:
    """Send a request as over streamable HTTP, with the header that proxies route by."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": TASKS_META}}
    headers = HEADERS | {"mcp-method": method} | ({"mcp-name": header} if header is not None else {})
    answer = await http.post("/mcp", json=message, headers=headers)
    told: dict[str, Any] = answer.json() if "json" in answer.headers["content-type"] else event(answer.text)
    return told | {"http": answer.status_code}


def event(text: str) -> dict[str, Any]:
    """Give the last message of a stream of events."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    told: dict[str, Any] = httpx.Response(200, content=data[-1].encode()).json()
    return told


@pytest.mark.sockets
async def test_over_http_the_header_names_the_task(home: Path) -> None:
    async with two_callers(home) as server, server.plain("ann") as http:
        begun = await post(http, "tools/call", "modify_video", name="modify_video", arguments=ASK)
        task_id = begun["result"]["taskId"]
        for method in sorted(METHODS):
            for name in ("other", None):
                refused = await post(http, method, name, taskId=task_id, inputResponses={})
                assert (refused["http"], refused["error"]["code"]) == (400, HEADER_MISMATCH)
            assert "result" in await post(http, method, task_id, taskId=task_id, inputResponses={})


@pytest.mark.sockets
@pytest.mark.parametrize("path", PATHS)
async def test_the_published_client_follows_a_task_over_the_network(home: Path, path: str) -> None:
    followed = TaskFollower()
    async with two_callers(home) as server, server.client(path, MODERN, "ann", extensions=[followed]) as client:
        done = structured(await client.call_tool("modify_video", ASK))
    assert (done["status"], len(followed.handles)) == ("completed", 1)


@pytest.mark.sockets
async def test_a_task_is_its_callers_alone(home: Path) -> None:
    async with two_callers(home) as server, server.plain("ann") as ann, server.plain("bob") as bob:
        begun = await post(ann, "tools/call", "modify_video", name="modify_video", arguments=ASK)
        task_id = begun["result"]["taskId"]
        for method in sorted(METHODS):
            others = await post(bob, method, task_id, taskId=task_id, inputResponses={})
            nobodys = await post(bob, method, "x" * 36, taskId="x" * 36, inputResponses={})
            assert others["error"]["code"] == nobodys["error"]["code"] == INVALID_PARAMS
            assert others["error"]["message"].replace(task_id, "x" * 36) == nobodys["error"]["message"]
