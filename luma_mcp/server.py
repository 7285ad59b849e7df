"""The MCP server around an open app: registration, annotations, and errors as the protocol wants them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import ValidationError

from luma_mcp import __version__, tools
from luma_mcp.app import App
from luma_mcp.errors import InvalidRequest, LumaError
from luma_mcp.untrusted import Json, is_list, is_object

NAME = "luma"
TITLE = "Luma video modification by RunAPI"
WEBSITE = "https://runapi.ai/models/luma"
PROBES = frozenset({"initialize", "server/discover", "ping", "notifications/initialized"})
INSTRUCTIONS = """\
This server modifies existing videos with Luma at RunAPI: a prompt and a source clip in, the re-rendered clip out, \
saved on the user's disk.

Order of calls:
1. modify_video with prompt and source_video_url. It submits the task and waits about 40 seconds. It is the only tool \
that costs money: 0.50 USD for each new task that succeeds, so say so to the user before several takes.
2. If done is false, call get_task with the task_id and wait_seconds 40, again until done is true. Most tasks take 30 \
to 120 seconds, some 20 minutes. The work goes on in the background whatever the host does; nothing is lost by a \
time-out.
3. When done, tell the user video_path. If it is empty, give the link in video_urls, which works until expires_at.

Never call modify_video again to wait or to check: use get_task. If a call was cut off, repeating it with the same \
arguments joins the same task and costs nothing more; new_take=true is only for a user who wants another version. To \
continue from a result, pass luma://tasks/<task_id> as source_video_url. After a restart or when a task_id is lost, \
call list_tasks.

Every failure has error.code, error.charged (no, yes, unknown), error.retry_safe and error.hint, and every answer has \
next_step: follow it, and tell the user about charges truthfully."""

SANDBOX_NOTE = "Sandbox: nothing is charged, and results are stand-ins. Tell the user so.\n\n"

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
READS_LOCALLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
SPENDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)


class LumaTool(Tool):
    """A tool whose every failure, wrong arguments included, is an answer in our own form."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:  # noqa: FBT001, FBT002 - the SDK's signature
        """Run the tool; give `LumaError`s and unusable arguments as results with `is_error`."""
        unknown = sorted(arguments.keys() - self.parameters["properties"].keys())
        if unknown:
            known = ", ".join(self.parameters["properties"])
            return tools.refuse(InvalidRequest(f"{self.name} has no argument {unknown[0][:80]!r}; it takes {known}."))
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as error:
            match error.__cause__:
                case LumaError() as cause:
                    return tools.refuse(cause)
                case ValidationError() as cause:
                    return tools.refuse(InvalidRequest(complaint(cause)))
                case _:
                    raise


def build_server(app: App) -> MCPServer[App]:
    """Assemble the server around an open app."""

    @asynccontextmanager
    async def lifespan(_: MCPServer[App]) -> AsyncGenerator[App]:
        yield app

    async def wake(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method not in PROBES:
            app.wake()
        return await call_next(ctx)

    return MCPServer(
        NAME,
        title=TITLE,
        version=__version__,
        website_url=WEBSITE,
        instructions=f"{SANDBOX_NOTE}{INSTRUCTIONS}" if app.settings.sandbox else INSTRUCTIONS,
        tools=[
            luma_tool(tools.modify_video, "Modify a video", SPENDS),
            luma_tool(tools.get_task, "See or await a task", READS),
            luma_tool(tools.list_tasks, "List tasks", READS_LOCALLY),
        ],
        lifespan=lifespan,
        middleware=[wake],
        log_level="WARNING",
    )


def luma_tool(function: Callable[..., Any], title: str, annotations: ToolAnnotations) -> Tool:
    """Register a function: flat schemas, no other arguments than those it names."""
    tool = LumaTool.from_function(function, title=title, annotations=annotations.model_copy(update={"title": title}))
    tool.parameters = {**tool.parameters, "additionalProperties": False}
    tool.fn_metadata.output_schema = without_references(tool.fn_metadata.output_schema or {})
    return tool


def without_references(schema: Json) -> Json:
    """Write a schema's definitions out where they are used: some hosts do not follow `$ref`."""
    definitions: Json = schema.get("$defs", {})
    plain = {name: value for name, value in schema.items() if name != "$defs"}

    def resolved(node: object) -> Any:
        if is_list(node):
            return [resolved(item) for item in node]
        if not is_object(node):
            return node
        reference: str = node.get("$ref", "")
        target: Json = definitions[reference.rpartition("/")[2]] if reference else {}
        return {name: resolved(value) for name, value in {**target, **node}.items() if name != "$ref"}

    return cast("Json", resolved(plain))


def complaint(error: ValidationError) -> str:
    """Say in one line what is wrong with the arguments, without repeating their values."""
    return (
        "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        + "."
    )
