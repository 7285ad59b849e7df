"""The suite's tools that ask the client in the middle of a call, as protocols up to 2025-11-25 allow."""

from typing import Any

import mcp.types as wire
from mcp.shared.message import ServerMessageMetadata

from luma_mcp.server.context import RequestContext
from tests.system.conformance.fixture_kinds import Call, Fixtures, says
from tests.system.conformance.fixture_requests import CAN_ELICIT, CAN_SAMPLE, form, require, sampling

WITH_DEFAULTS: dict[str, Any] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
PLAIN_OPTIONS = ["option1", "option2", "option3"]
TITLED_OPTIONS = [{"const": f"value{number}", "title": f"Option {number}"} for number in (1, 2, 3)]
CHOICES: dict[str, Any] = {
    "untitledSingle": {"type": "string", "enum": PLAIN_OPTIONS},
    "titledSingle": {"type": "string", "oneOf": TITLED_OPTIONS},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": PLAIN_OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED_OPTIONS}},
}
IDENTITY: dict[str, Any] = {
    "username": {"type": "string", "description": "User's response"},
    "email": {"type": "string", "description": "User's email address"},
}
A_PROMPT: dict[str, Any] = {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}
A_MESSAGE: dict[str, Any] = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}

fixtures = Fixtures()


@fixtures.tool("test_sampling", A_PROMPT)
async def sample(call: Call) -> wire.CallToolResult:
    """Repeat what the client's model says to a prompt."""
    require(call.ctx, CAN_SAMPLE)
    request = sampling(call.arguments["prompt"])
    response = await call.ctx.session.send_request(request, wire.CreateMessageResult, metadata=within(call.ctx))
    return says(f"LLM response: {response.content}")


@fixtures.tool("test_elicitation", A_MESSAGE)
async def elicit_identity(call: Call) -> wire.CallToolResult:
    """Ask the user who they are."""
    return await elicit(call.ctx, form(call.arguments["message"], IDENTITY, tuple(IDENTITY)))


@fixtures.tool("test_elicitation_sep1034_defaults")
async def elicit_with_defaults(call: Call) -> wire.CallToolResult:
    """Ask for fields of every kind that have defaults."""
    return await elicit(call.ctx, form("Please check the defaults.", WITH_DEFAULTS))


@fixtures.tool("test_elicitation_sep1330_enums")
async def elicit_choices(call: Call) -> wire.CallToolResult:
    """Ask for choices of every kind."""
    return await elicit(call.ctx, form("Please choose.", CHOICES))


@fixtures.tool("test_missing_capability")
async def need_sampling(call: Call) -> wire.CallToolResult:
    """Work only for clients that offer sampling."""
    require(call.ctx, CAN_SAMPLE)
    return says("The client offers sampling.")


async def elicit(ctx: RequestContext, request: wire.ElicitRequest) -> wire.CallToolResult:
    """Ask the user, and say what came of it."""
    require(ctx, CAN_ELICIT)
    response = await ctx.session.send_request(request, wire.ElicitResult, metadata=within(ctx))
    return says(f"Elicitation completed: action={response.action}, content={response.content}")


def within(ctx: RequestContext) -> ServerMessageMetadata:
    """Tie a request to the call in which it is made, so that it goes out on the stream of that call."""
    return ServerMessageMetadata(related_request_id=ctx.request_id)
