"""Clients that know tasks (MCP's extension, 2026-07-28): the SDK's, with an extension of its own, and raw requests."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
from mcp import Client, ClientSession
from mcp.client.extension import ClaimContext, ClientExtension, NotificationBinding, ResultClaim
from mcp_types import CallToolResult, Request, RequestParams, Result

from luma_mcp.server.tasks import EXTENSION_ID
from tests.support.rig import ERAS, MODERN_META

MODERN = ERAS[1]
TASKS_META: dict[str, Any] = {
    **MODERN_META,
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION_ID: {}}},
}


class TaskHandle(Result):
    """What stands in place of a result while a task runs."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    status_message: str
    poll_interval_ms: int


class TaskParams(RequestParams):
    """Which task is meant."""

    task_id: str


class GetTask(Request[TaskParams, Literal["tasks/get"]]):
    """Ask how a task stands."""

    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams
    name_param = "taskId"


class TaskDetails(Result):
    """How a task stands."""

    task_id: str
    status: str
    status_message: str
    poll_interval_ms: int
    result: dict[str, Any] | None = None


class TaskFollower(ClientExtension):
    """Lets the SDK's client wait for the end of tasks as for any result; remembers what it was told on the way."""

    identifier = EXTENSION_ID

    def __init__(self) -> None:
        self.handles: list[TaskHandle] = []
        self.told: list[TaskDetails] = []
        self.heard: list[TaskDetails] = []

    def claims(self) -> Sequence[ResultClaim[TaskHandle]]:
        """Take a handle for a result."""
        return [ResultClaim(result_type="task", model=TaskHandle, resolve=self._resolve)]

    def notifications(self) -> Sequence[NotificationBinding[TaskDetails]]:
        """Hear of tasks by the way."""
        return [NotificationBinding(method="notifications/tasks", params_type=TaskDetails, handler=self._hear)]

    async def _resolve(self, handle: TaskHandle, ctx: ClaimContext) -> CallToolResult:
        self.handles.append(handle)
        return await self.follow(ctx.session, handle.task_id)

    async def follow(self, session: ClientSession, task_id: str) -> CallToolResult:
        """Wait for the end of a task, whichever call began it."""
        while True:
            told = await session.send_request(GetTask(params=TaskParams(task_id=task_id)), TaskDetails)
            self.told.append(told)
            if told.result is not None:
                return CallToolResult.model_validate(told.result)
            await anyio.sleep(told.poll_interval_ms / 1000)

    async def _hear(self, told: TaskDetails) -> None:
        self.heard.append(told)


async def ask(client: Client, method: str, *, meta: dict[str, Any] = TASKS_META, **params: Any) -> dict[str, Any]:
    """Send a request as a client that knows tasks, and give its answer as it came; raise `MCPError`."""
    return await client.session._dispatcher.send_raw_request(method, {**params, "_meta": meta})


async def begin(client: Client, **arguments: Any) -> dict[str, Any]:
    """Call `modify_video`, and give what came: a task, or a result."""
    return await ask(client, "tools/call", name="modify_video", arguments=arguments)


async def until_over(client: Client, task_id: str, seconds: float = 3600.0) -> dict[str, Any]:
    """Ask for a task as often as it says, until it is over."""
    ends_at = anyio.current_time() + seconds
    while True:
        told = await ask(client, "tasks/get", taskId=task_id)
        if told["status"] != "working":
            return told
        assert anyio.current_time() < ends_at, told
        await anyio.sleep(told["pollIntervalMs"] / 1000)


@asynccontextmanager
async def listening(client: Client, *task_ids: str) -> AsyncGenerator[None]:
    """Listen for changes of tasks while inside."""
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            await ask(client, "subscriptions/listen", notifications={"taskIds": [*task_ids]})

        group.start_soon(listen)
        yield
        group.cancel_scope.cancel()
