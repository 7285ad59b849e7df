"""The suite's tools that answer by themselves: kinds of content, schemas, progress, log messages, a failure."""

from typing import Any

import anyio
import mcp.types as wire
from mcp.server.connection import allowed_log_levels

from luma_mcp.server.context import RequestContext
from tests.system.conformance.fixture_kinds import Call, Fixtures, says
from tests.system.conformance.fixture_resources import AUDIO, IMAGE, embedded, text_contents

PAUSE_SECONDS = 0.05  # so that a client sees that what is told arrives on the way
KEYWORDS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
MIRRORED: dict[str, Any] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
}

fixtures = Fixtures()


@fixtures.tool("test_simple_text")
async def simple_text(_: Call) -> wire.CallToolResult:
    """Say one sentence."""
    return says("This is a simple text response for testing.")


@fixtures.tool("test_image_content")
async def image(_: Call) -> wire.CallToolResult:
    """Show an image."""
    return wire.CallToolResult(content=[IMAGE])


@fixtures.tool("test_audio_content")
async def audio(_: Call) -> wire.CallToolResult:
    """Play a sound."""
    return wire.CallToolResult(content=[AUDIO])


@fixtures.tool("test_embedded_resource")
async def embedded_resource(_: Call) -> wire.CallToolResult:
    """Embed a text resource."""
    contents = text_contents("test://embedded-resource", "This is an embedded resource content.")
    return wire.CallToolResult(content=[embedded(contents)])


@fixtures.tool("test_multiple_content_types")
async def mixed_content(_: Call) -> wire.CallToolResult:
    """Answer with a text, an image and a resource."""
    text = wire.TextContent(type="text", text="Multiple content types test:")
    contents = text_contents("test://mixed-content-resource", '{"test": "data", "value": 123}', "application/json")
    return wire.CallToolResult(content=[text, IMAGE, embedded(contents)])


@fixtures.tool("test_error_handling")
async def failure(_: Call) -> wire.CallToolResult:
    """Fail."""
    return says("This tool intentionally returns an error for testing").model_copy(update={"is_error": True})


@fixtures.tool("test_tool_with_progress")
async def progress(call: Call) -> wire.CallToolResult:
    """Report progress three times."""
    for percent in (0, 50, 100):
        await call.ctx.session.report_progress(percent, 100)
        await anyio.sleep(PAUSE_SECONDS)
    return says("Reported progress to the end.")


@fixtures.tool("test_tool_with_logging")
async def logging(call: Call) -> wire.CallToolResult:
    """Log three messages."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(call.ctx, message)
        await anyio.sleep(PAUSE_SECONDS)
    return says("Logged to the end.")


@fixtures.tool("test_logging_tool")
async def logging_on_request(call: Call) -> wire.CallToolResult:
    """Log one message, if the request wants any."""
    await log(call.ctx, "Logged because the request asked for it")
    return says("Logged, where that was wanted.")


@fixtures.tool("test_reconnection")
async def reconnection(call: Call) -> wire.CallToolResult:
    """Close the stream of the call on the way, where the server could send the rest later."""
    if call.ctx.close_sse_stream:
        await call.ctx.close_sse_stream()
    return says("Answered after the stream was closed, if it could be.")


@fixtures.tool("json_schema_2020_12_tool", KEYWORDS)
async def schema_keywords(call: Call) -> wire.CallToolResult:
    """Repeat arguments of a schema with many keywords."""
    return says(f"Called with {call.arguments}")


@fixtures.tool("test_argument_in_header", MIRRORED)
async def argument_in_header(call: Call) -> wire.CallToolResult:
    """Repeat an argument that is to be mirrored in a header of the HTTP request."""
    return says(f"Called for {call.arguments['region']}")


async def log(ctx: RequestContext, message: str) -> None:
    """Tell the client a message, unless its era wants log messages only on request."""
    if "info" in allowed_log_levels(ctx.protocol_version, ctx.meta):
        about = wire.LoggingMessageNotificationParams(level="info", data=message)
        await ctx.session.send_notification(wire.LoggingMessageNotification(params=about), ctx.request_id)
