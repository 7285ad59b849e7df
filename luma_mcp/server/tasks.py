"""Tool calls as tasks: MCP's extension `io.modelcontextprotocol/tasks` (SEP-2663) for clients of 2026-07-28.

What a task is about is known to a `TaskSource` alone; here is how the protocol speaks of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, cast

import mcp.types as wire
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_NAME_HEADER, decode_header_value
from mcp_types import HEADER_MISMATCH, MISSING_REQUIRED_CLIENT_CAPABILITY
from pydantic import Field

from luma_mcp.app.app import App
from luma_mcp.app.changes import ALL_TASKS, ChangeSet
from luma_mcp.core.text import Json, is_list
from luma_mcp.server.context import RequestContext, is_modern, require_modern
from luma_mcp.server.results import format_timestamp

EXTENSION_ID = "io.modelcontextprotocol/tasks"
METHODS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
POLL_INTERVAL_MS = 5000
MAX_WATCHED_TASKS = 1000  # by one stream
TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]
FINAL: frozenset[TaskStatus] = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """A task as clients see it at one moment. Times are POSIX seconds."""

    task_id: str
    status: TaskStatus
    message: str = ""
    created_at: float
    updated_at: float
    poll_interval_ms: int = POLL_INTERVAL_MS
    result: wire.CallToolResult | None = None  # of a completed task, a tool's failure too
    error: wire.ErrorData | None = None  # of a failed task, which no tool's failure is
    input_requests: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what an `input_required` one waits for
    change_id: str = ALL_TASKS  # under which a `ChangeSet` names the task; `ALL_TASKS` if any change may concern it

    @property
    def is_over(self) -> bool:
        """Tell whether the task stays as it is."""
        return self.status in FINAL

    @property
    def version(self) -> tuple[TaskStatus, float]:
        """What a client is told again of when it changes; not the message, which counts seconds."""
        return self.status, self.updated_at


@dataclass(frozen=True, slots=True)
class TaskChanged:
    """That a task may be other than it was."""

    task_id: str


class TaskWatch:
    """The tasks that one client wants to hear of: how each stands at first, when it changed, and that it is over."""

    def __init__(self, states: Iterable[TaskState]) -> None:
        self._change_ids = {state.task_id: state.change_id for state in states}
        self._told: dict[str, tuple[TaskStatus, float]] = {}

    @property
    def ids(self) -> list[str]:
        """The ids of the tasks that are not over yet, as far as the client was told."""
        return list(self._change_ids)

    def changed(self, news: ChangeSet) -> list[TaskChanged]:
        """List the tasks that the news may be about: of a task without a name all, for `ALL_TASKS` is among them."""
        found = [task_id for task_id, known_as in self._change_ids.items() if known_as in news.task_ids]
        return [TaskChanged(task_id) for task_id in (self.ids if news.anything else found)]

    def is_news(self, state: TaskState) -> bool:
        """Tell whether a task is other than the client was last told, and remember that it is told now.

        Once it was told that a task is over, nothing is news of it.
        """
        task_id, told = state.task_id, self._told.get(state.task_id)
        if task_id not in self._change_ids:
            return False
        self._told[task_id], self._change_ids[task_id] = state.version, state.change_id
        if state.is_over:
            del self._change_ids[task_id]
        return told != state.version


class TaskSource(Protocol):
    """Knows the tasks of a server. Each method raises `TaskNotFound` unless the caller has a task of that id."""

    async def read(self, ctx: RequestContext, task_id: str) -> TaskState:
        """Give a task as it stands."""
        ...

    async def answer(self, ctx: RequestContext, task_id: str, responses: Mapping[str, Any]) -> None:
        """Take answers to what a task asked for; those to nothing that it asked for are ignored."""
        ...

    async def cancel(self, ctx: RequestContext, task_id: str) -> None:
        """Cancel a task if that is possible."""
        ...


class StartedTask(wire.CallToolResult, defer_build=True):  # as few clients know tasks, few servers need it
    """The answer to a call that goes on as a task: `state` is what is sent, to a client that knows tasks."""

    state: TaskState = Field(exclude=True)

    def with_note(self, note: str) -> "StartedTask":
        """Add a sentence to what is said of the task."""
        return self.model_copy(update={"state": replace(self.state, message=f"{self.state.message} {note}")})


class TaskIdParams(wire.RequestParams, defer_build=True):
    """What `tasks/get` and `tasks/cancel` are about."""

    task_id: str


class TaskUpdateParams(TaskIdParams, defer_build=True):
    """Answers to what a task asked for, by the keys that it asked under."""

    input_responses: dict[str, Any] = Field(default_factory=dict[str, Any])


class TaskHandlers:
    """Answers the extension's requests, after `check_task_request` let them through."""

    def __init__(self, source: TaskSource) -> None:
        self._source = source

    async def get(self, ctx: RequestContext, params: TaskIdParams) -> HandlerResult:
        return {"resultType": "complete", **detailed_task(await self._source.read(ctx, params.task_id))}

    async def update(self, ctx: RequestContext, params: TaskUpdateParams) -> HandlerResult:
        await self._source.answer(ctx, params.task_id, params.input_responses)
        return {"resultType": "complete"}

    async def cancel(self, ctx: RequestContext, params: TaskIdParams) -> HandlerResult:
        await self._source.cancel(ctx, params.task_id)
        return {"resultType": "complete"}


def add_tasks(server: Server[App], source: TaskSource) -> None:
    """Let a server answer the extension's requests about the tasks of a source, and say that it does."""
    handlers = TaskHandlers(source)
    server.extensions[EXTENSION_ID] = {}
    server.add_request_handler("tasks/get", TaskIdParams, handlers.get)
    server.add_request_handler("tasks/update", TaskUpdateParams, handlers.update)
    server.add_request_handler("tasks/cancel", TaskIdParams, handlers.cancel)
    server.middleware.append(check_task_request)


async def check_task_request(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Let only those reach the extension's methods who may: the SDK knows no method that only some clients have."""
    if ctx.method in METHODS:
        require_modern(ctx)
        require_extension(ctx)
        check_name_header(ctx)
    return await call_next(ctx)


def knows_tasks(ctx: RequestContext) -> bool:
    """Tell whether the client declared with this request that it knows the extension."""
    declared = ctx.session.client_capabilities
    return is_modern(ctx) and declared is not None and EXTENSION_ID in (declared.extensions or {})


def require_extension(ctx: RequestContext) -> None:
    """Raise the protocol's error for a client that did not declare the extension."""
    if not knows_tasks(ctx):
        wanted: Json = {"requiredCapabilities": {"extensions": {EXTENSION_ID: {}}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "Missing required client capability", wanted)


def check_name_header(ctx: RequestContext) -> None:
    """Raise the protocol's error if the header that proxies route by names another task; the SDK checks others."""
    headers = ctx.request.headers if ctx.request else {}
    if MCP_METHOD_HEADER not in headers:
        return  # not streamable HTTP, where the SDK wants that header of each request
    if decode_header_value(headers.get(MCP_NAME_HEADER)) != (ctx.params or {}).get("taskId"):
        raise MCPError(HEADER_MISMATCH, "The header Mcp-Name does not name the task in params.taskId.")


def wanted_task_ids(ctx: RequestContext, asked: wire.SubscriptionFilter) -> list[str]:
    """Give the ids of the tasks that a client wants to hear of, each once; raise the protocol's errors."""
    given: object = (asked.model_extra or {}).get("taskIds")
    if not given:
        return []
    require_extension(ctx)
    if not is_list(given) or len(given) > MAX_WATCHED_TASKS:
        raise MCPError(wire.INVALID_PARAMS, f"notifications.taskIds must be a list of at most {MAX_WATCHED_TASKS} ids.")
    return list(dict.fromkeys(task_id for task_id in given if isinstance(task_id, str)))


def task_notification(state: TaskState, meta: Mapping[str, Any]) -> wire.ServerNotification:
    """Tell a listening client how a task stands; the SDK's type of notifications leaves out those of extensions."""
    told = wire.Notification[dict[str, Any], str](
        method="notifications/tasks", params={**detailed_task(state), "_meta": dict(meta)}
    )
    return cast("wire.ServerNotification", told)


def create_task_result(state: TaskState) -> dict[str, Any]:
    """Give a task as the answer to the call that began it."""
    return {"resultType": "task", **task_fields(state)}


def detailed_task(state: TaskState) -> dict[str, Any]:
    """Give a task with its result, its error, or what it waits for."""
    told = task_fields(state)
    if state.status == "completed" and state.result is not None:
        told["result"] = state.result.model_dump(by_alias=True, mode="json", exclude_none=True)
    if state.status == "failed" and state.error is not None:
        told["error"] = state.error.model_dump(by_alias=True, mode="json", exclude_none=True)
    if state.status == "input_required":
        told["inputRequests"] = dict(state.input_requests)
    return told


def task_fields(state: TaskState) -> dict[str, Any]:
    return {
        "taskId": state.task_id,
        "status": state.status,
        **({"statusMessage": state.message} if state.message else {}),
        "createdAt": format_timestamp(state.created_at),
        "lastUpdatedAt": format_timestamp(max(state.created_at, state.updated_at)),
        "ttlMs": None,
        "pollIntervalMs": state.poll_interval_ms,
    }
