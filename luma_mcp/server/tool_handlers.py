"""The tools as the protocol sees them: flat schemas, annotations, and every failure as an answer."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

import mcp.types as wire
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool

from luma_mcp.core.errors import InvalidRequest, LumaError
from luma_mcp.core.settings import Settings
from luma_mcp.core.text import Json, is_list, is_object
from luma_mcp.server import tool_texts, tools
from luma_mcp.server.context import Page, Request, only_page
from luma_mcp.server.results import own_seconds
from luma_mcp.server.tool_arguments import check_names, fitting, ignored

READS = wire.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
READS_LOCALLY = wire.ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
WRITES = wire.ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)

logger = logging.getLogger(__name__)


class LumaTool(Tool):
    """A tool whose every failure, wrong arguments included, is an answer in our own form."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:  # noqa: FBT001, FBT002 - the SDK's signature
        """Run the tool on what it knows of the arguments; give `LumaError`s as results with `is_error`."""
        try:
            known = fitting(self.name, self.parameters, arguments)
            return await super().run(known, context, convert_result)
        except LumaError as error:
            return tools.refuse(error)
        except ToolError as error:
            if isinstance(error.__cause__, LumaError):
                return tools.refuse(error.__cause__)
            logger.exception("%s ended unexpectedly", self.name)
            text = wire.TextContent(type="text", text=str(error))
            return wire.CallToolResult(content=[text], is_error=True)


class SpendingTool(LumaTool):
    """A tool that costs money: nothing that was perhaps meant is ignored in silence."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:  # noqa: FBT001, FBT002 - the SDK's signature
        """Refuse names that are almost right, and list those that were ignored."""
        properties = self.parameters["properties"]
        try:
            check_names(self.name, arguments, properties)
        except LumaError as error:
            return tools.refuse(error)
        answer = await super().run(arguments, context, convert_result)
        return tools.with_ignored(answer, ignored(arguments, properties))


class ToolHandlers:
    """Answers `tools/list` and `tools/call`."""

    def __init__(self, settings: Settings) -> None:
        modify = luma_tool(tools.modify_video, "Modify a video", WRITES, settings, kind=SpendingTool)
        if not settings.readable_folders:
            modify.parameters["properties"]["source_video_url"]["description"] = tool_texts.SOURCE_WITHOUT_FILES
        save = luma_tool(tools.save_video, "Save a video", WRITES, settings)
        if settings.callers:
            save.parameters["properties"]["filename"]["description"] = tool_texts.NAME_ON_SERVER
        made = (
            modify,
            luma_tool(tools.get_task, "See or await a task", READS, settings),
            luma_tool(tools.list_tasks, "List tasks", READS_LOCALLY, settings),
            save,
            luma_tool(tools.check_account, "Check price, balance and limits", READS, settings),
        )
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


def luma_tool(
    function: Callable[..., Any],
    title: str,
    hints: wire.ToolAnnotations,
    settings: Settings,
    *,
    kind: type[LumaTool] = LumaTool,
) -> Tool:
    """Register a function under its text for models: flat schemas, open to arguments that hosts add."""
    tool = kind.from_function(
        function,
        title=title,
        description=tool_texts.TOOLS[function.__name__].format(**own_seconds(settings)),
        annotations=hints.model_copy(update={"title": title}),
    )
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
