"""What the fixtures are made of: a tool or a prompt as clients see it, with the function that answers for it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import mcp.types as wire
from mcp.server.context import HandlerResult

from luma_mcp.server.context import RequestContext

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Call:
    """What a fixture is asked: its arguments, and what came back if it had asked something itself."""

    ctx: RequestContext
    arguments: Mapping[str, Any]
    responses: wire.InputResponses
    state: str | None

    def filled_in(self, key: str, name: str) -> object:
        """Read a field of a form that came back; None for whatever did not."""
        response = self.responses.get(key)
        return (response.content or {}).get(name) if isinstance(response, wire.ElicitResult) else None


Function = Callable[[Call], Awaitable[HandlerResult]]
Described = TypeVar("Described", wire.Tool, wire.Prompt)


@dataclass(frozen=True)
class Fixture(Generic[Described]):
    """A tool or a prompt of the suite."""

    described: Described
    function: Function

    async def answer(
        self, ctx: RequestContext, params: wire.CallToolRequestParams | wire.GetPromptRequestParams
    ) -> HandlerResult:
        """Answer `tools/call` or `prompts/get`."""
        call = Call(ctx, params.arguments or {}, params.input_responses or {}, params.request_state)
        return await self.function(call)


@dataclass(frozen=True)
class Fixtures:
    """Collects functions as tools and prompts; their docstrings describe them to clients."""

    tools: dict[str, Fixture[wire.Tool]] = field(default_factory=dict[str, Fixture[wire.Tool]])
    prompts: dict[str, Fixture[wire.Prompt]] = field(default_factory=dict[str, Fixture[wire.Prompt]])

    def tool(self, name: str, schema: dict[str, Any] = NO_ARGUMENTS) -> Callable[[Function], Function]:
        """Decorate a function that answers calls of a tool."""

        def decorate(function: Function) -> Function:
            described = wire.Tool(name=name, description=function.__doc__, input_schema=schema)
            self.tools[name] = Fixture(described, function)
            return function

        return decorate

    def prompt(self, name: str, *required: str) -> Callable[[Function], Function]:
        """Decorate a function that fills a prompt in."""

        def decorate(function: Function) -> Function:
            arguments = [wire.PromptArgument(name=argument, required=True) for argument in required]
            described = wire.Prompt(name=name, description=function.__doc__, arguments=arguments)
            self.prompts[name] = Fixture(described, function)
            return function

        return decorate


def says(text: str) -> wire.CallToolResult:
    """Answer a tool call with a text."""
    return wire.CallToolResult(content=[wire.TextContent(type="text", text=text)])


def prompt(text: str, *before: wire.ContentBlock) -> wire.GetPromptResult:
    """Make a prompt that ends with a text."""
    said = wire.TextContent(type="text", text=text)
    return wire.GetPromptResult(messages=[wire.PromptMessage(role="user", content=each) for each in (*before, said)])
