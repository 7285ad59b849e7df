"""The tools as the protocol sees them: flat schemas, annotations, and every failure as an answer."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

import mcp.types as wire
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from pydantic import ValidationError

from luma_mcp import tools
from luma_mcp.answers import with_waits
from luma_mcp.errors import InvalidRequest, LumaError
from luma_mcp.protocol import Page, Request, only_page
from luma_mcp.settings import Settings
from luma_mcp.untrusted import Json, is_list, is_object

READS = wire.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
READS_LOCALLY = wire.ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
SAVES = wire.ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
SPENDS = wire.ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)

logger = logging.getLogger(__name__)


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
                    logger.exception("%s ended unexpectedly", self.name)
                    text = wire.TextContent(type="text", text=str(error))
                    return wire.CallToolResult(content=[text], is_error=True)


class ToolHandlers:
    """Answers `tools/list` and `tools/call`."""

    def __init__(self, settings: Settings) -> None:
        modify = luma_tool(tools.modify_video, "Modify a video", SPENDS)
        if not settings.readable_folders:
            modify.parameters["properties"]["source_video_url"]["description"] = tools.SOURCE_WITHOUT_FILES
        save = luma_tool(tools.save_video, "Save a video", SAVES)
        if settings.callers:
            save.parameters["properties"]["filename"]["description"] = tools.NAME_ON_SERVER
        made = (
            modify,
            luma_tool(tools.get_task, "See or await a task", READS),
            luma_tool(tools.list_tasks, "List tasks", READS_LOCALLY),
            save,
            luma_tool(tools.check_account, "Check price, balance and limits", READS),
        )
        for tool in made:
            tool.description = with_waits(tool.description, settings)
        self._tools = {tool.name: tool for tool in made}

    def described(self) -> Sequence[wire.Tool]:
        """Describe all tools."""
        return [described(tool) for tool in self._tools.values()]

    async def list(self, _: Request, params: Page) -> wire.ListToolsResult:
        """Answer with all tools."""
        only_page(params)
        return wire.ListToolsResult(tools=[*self.described()])

    async def call(self, ctx: Request, params: wire.CallToolRequestParams) -> wire.CallToolResult:
        """Call one tool."""
        tool = self._tools.get(params.name)
        if tool is None:
            known = ", ".join(self._tools)
            return tools.refuse(InvalidRequest(f"There is no tool {params.name[:80]!r}; there are {known}."))
        answer: wire.CallToolResult = await tool.run(
            params.arguments or {}, Context(request_context=ctx), convert_result=True
        )
        return answer


def luma_tool(function: Callable[..., Any], title: str, annotations: wire.ToolAnnotations) -> Tool:
    """Register a function: flat schemas, no other arguments than those it names."""
    tool = LumaTool.from_function(function, title=title, annotations=annotations.model_copy(update={"title": title}))
    tool.parameters = {**tool.parameters, "additionalProperties": False}
    tool.fn_metadata.output_schema = without_references(tool.fn_metadata.output_schema or {})
    return tool


def described(tool: Tool) -> wire.Tool:
    """Describe a tool to a client."""
    return wire.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.parameters,
        output_schema=tool.output_schema,
        annotations=tool.annotations,
    )


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
