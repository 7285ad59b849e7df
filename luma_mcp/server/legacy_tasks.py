"""Tool calls as tasks as the protocol 2025-11-25 tries them out (SEP-1686); only where the settings want that.

There it is the client that asks for a task. The SDK knows the words of that revision and none of its behaviour, and
lets no handler answer `tools/call` with a task, so all of it is one middleware.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import mcp.types as wire
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError

from luma_mcp.app.progress import Progress
from luma_mcp.core.text import is_object
from luma_mcp.server.context import INVALID_PARAMS_ERRORS, RequestContext, caller_of
from luma_mcp.server.results import format_timestamp
from luma_mcp.server.tasks import StartedTask, TaskIdParams, TaskState
from luma_mcp.server.tool_results import Answer
from luma_mcp.server.video_tasks import VideoTasks

P = TypeVar("P", bound=BaseModel)
PROTOCOL_VERSION = "2025-11-25"
RELATED_TASK_KEY = "io.modelcontextprotocol/related-task"
IMMEDIATE_RESPONSE_KEY = "io.modelcontextprotocol/model-immediate-response"
TOOL = "modify_video"  # the only one that takes long
LISTED = 20  # on a page
CAPABILITY: Mapping[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
CANCEL_REFUSAL = "RunAPI cannot cancel a task: it goes on, and is charged if it succeeds."
OVER_REFUSAL = "The task is over already, so that nothing is left to cancel."
ENDING = "This server ends. The task goes on: ask for its result again."

RunTool = Callable[[RequestContext, wire.CallToolRequestParams], Awaitable[Answer]]
Handler = Callable[[RequestContext], Awaitable[HandlerResult]]


def may_ask_for_tasks(ctx: RequestContext) -> bool:
    """Tell whether a client speaks the revision that has such requests, to a server that answers them."""
    return ctx.protocol_version == PROTOCOL_VERSION and ctx.lifespan_context.settings.legacy_tasks


def asks_for_task(ctx: RequestContext) -> bool:
    """Tell whether a client asks for a task, and may."""
    is_asked = ctx.method == "tools/call" and is_object((ctx.params or {}).get("task"))
    return is_asked and may_ask_for_tasks(ctx)


def offer_task(tool: wire.Tool) -> wire.Tool:
    """Say of the tool that takes long that it may be called as a task."""
    offered = {"execution": wire.ToolExecution(task_support="optional")}
    return tool.model_copy(update=offered) if tool.name == TOOL else tool


class LegacyTasks:
    """Answers what clients of 2025-11-25 ask about tasks."""

    def __init__(self, run_tool: RunTool, tasks: VideoTasks) -> None:
        self._run_tool = run_tool
        self._tasks = tasks
        self._handlers: Mapping[str, Handler] = {
            "tools/call": self._call_tool,
            "tasks/get": self._get,
            "tasks/result": self._result,
            "tasks/list": self._list,
            "tasks/cancel": self._cancel,
        }

    async def answer(self, ctx: RequestContext, call_next: CallNext) -> HandlerResult:
        """Answer as a middleware: what is no request about tasks of that revision goes on."""
        if ctx.method == "initialize":
            return with_capability(await call_next(ctx))
        has_shaken_hands = ctx.session.client_params is not None
        handler = self._handlers.get(ctx.method) if ctx.protocol_version == PROTOCOL_VERSION else None
        if handler is None or not has_shaken_hands or (ctx.method == "tools/call" and not asks_for_task(ctx)):
            return await call_next(ctx)
        return await handler(ctx)

    async def _call_tool(self, ctx: RequestContext) -> HandlerResult:
        """Begin a task; a refusal is an error of the protocol, because such a client awaits nothing but a task."""
        params = parse(wire.CallToolRequestParams, ctx)
        if params.name != TOOL:
            raise MCPError(wire.METHOD_NOT_FOUND, f"Of the tools of this server, only {TOOL} can be called as a task.")
        answer = await self._run_tool(ctx, params)
        if not isinstance(answer, StartedTask):
            raise refusal(answer)
        told = {IMMEDIATE_RESPONSE_KEY: answer.state.message, RELATED_TASK_KEY: {"taskId": answer.state.task_id}}
        return {"task": bare_task(answer.state), "_meta": told}

    async def _get(self, ctx: RequestContext) -> HandlerResult:
        return bare_task(await self._tasks.read(ctx, parse(TaskIdParams, ctx).task_id))

    async def _result(self, ctx: RequestContext) -> HandlerResult:
        """Answer with what the tool made of it, once it is over."""
        app, state = ctx.lifespan_context, await self._tasks.read(ctx, parse(TaskIdParams, ctx).task_id)
        if state.result is None:
            task = await app.wait_until_over(state.task_id, Progress(ctx.session.report_progress))
            state = await self._tasks.state(app, task)
        if state.result is None:
            raise MCPError(wire.INTERNAL_ERROR, ENDING)
        result = state.result.model_dump(by_alias=True, mode="json", exclude_none=True, exclude={"result_type"})
        return {**result, "_meta": {RELATED_TASK_KEY: {"taskId": state.task_id}}}

    async def _list(self, ctx: RequestContext) -> HandlerResult:
        app, cursor = ctx.lifespan_context, parse(wire.PaginatedRequestParams, ctx).cursor or ""
        tasks, next_cursor = await app.list_tasks(caller_of(ctx), "", LISTED, cursor)
        page = {"tasks": [bare_task(await self._tasks.state(app, task)) for task in tasks]}
        return page | {"nextCursor": next_cursor} if next_cursor else page

    async def _cancel(self, ctx: RequestContext) -> HandlerResult:
        """Refuse: that revision wants a cancelled task to be over, and none of RunAPI's is."""
        state = await self._tasks.read(ctx, parse(TaskIdParams, ctx).task_id)
        raise MCPError(wire.INVALID_PARAMS, OVER_REFUSAL if state.is_over else CANCEL_REFUSAL)


def with_capability(introduction: HandlerResult) -> HandlerResult:
    """Add tasks to what a server says of itself to a client of that revision."""
    if not is_object(introduction) or introduction["protocolVersion"] != PROTOCOL_VERSION:
        return introduction
    return {**introduction, "capabilities": {**introduction["capabilities"], "tasks": CAPABILITY}}


def bare_task(state: TaskState) -> dict[str, Any]:
    """Give a task in that revision's form: a tool's failure is a failed task, of which some show the message alone."""
    failure = failure_in(state.result) if state.result else {}
    return {
        "taskId": state.task_id,
        "status": "failed" if failure else state.status,
        "statusMessage": f"{state.message} {failure['hint']}" if failure else state.message,
        "createdAt": format_timestamp(state.created_at),
        "lastUpdatedAt": format_timestamp(max(state.created_at, state.updated_at)),
        "ttl": None,
        "pollInterval": state.poll_interval_ms,
    }


def refusal(answer: Answer) -> MCPError:
    """Make the error of the protocol for a call that began no task."""
    failure = failure_in(answer)
    is_argument = failure["code"] in {error.code for error in INVALID_PARAMS_ERRORS}
    code = wire.INVALID_PARAMS if is_argument else wire.INTERNAL_ERROR
    return MCPError(code, f"{failure['message']} {failure['hint']}".strip(), failure)


def failure_in(answer: Answer) -> dict[str, Any]:
    """Give the error that a tool's answer tells of, with its hint; empty if it tells of none."""
    if isinstance(answer, wire.InputRequiredResult) or not answer.is_error:
        return {}
    error = (answer.structured_content or {}).get("error")
    return dict(error) if is_object(error) else {"code": "", "message": "The call failed.", "hint": ""}


def parse(model: type[P], ctx: RequestContext) -> P:
    """Read a request's parameters as the SDK does; raise the protocol's error."""
    try:
        return model.model_validate(ctx.params or {}, by_name=False)
    except ValidationError:
        raise MCPError(wire.INVALID_PARAMS, "Invalid request parameters", "") from None
