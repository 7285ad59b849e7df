"""What a server can ask a client for: a form to be filled in, words of a model, the client's folders."""

from collections.abc import Mapping
from typing import Any

import mcp.types as wire
from mcp.shared.exceptions import MCPError

from luma_mcp.server.context import RequestContext

CAN_SAMPLE = wire.ClientCapabilities(sampling=wire.SamplingCapability())
CAN_ELICIT = wire.ClientCapabilities(elicitation=wire.ElicitationCapability())
CAN_LIST_ROOTS = wire.ClientCapabilities(roots=wire.RootsCapability())


def form(message: str, fields: Mapping[str, Any], required: tuple[str, ...] = ()) -> wire.ElicitRequest:
    """Ask a person to fill in some fields, of which some are needed."""
    schema = {"type": "object", "properties": dict(fields), "required": list(required)}
    return wire.ElicitRequest(params=wire.ElicitRequestFormParams(message=message, requested_schema=schema))


def question(message: str, name: str, kind: str = "string") -> wire.ElicitRequest:
    """Ask a person for one thing."""
    return form(message, {name: {"type": kind}}, (name,))


def sampling(message: str) -> wire.CreateMessageRequest:
    """Ask the client's model something."""
    said = wire.SamplingMessage(role="user", content=wire.TextContent(type="text", text=message))
    return wire.CreateMessageRequest(params=wire.CreateMessageRequestParams(messages=[said], max_tokens=100))


def require(ctx: RequestContext, capabilities: wire.ClientCapabilities) -> None:
    """Raise the protocol's error if the client did not declare what a call needs."""
    if not ctx.session.check_client_capability(capabilities):
        data = wire.MissingRequiredClientCapabilityErrorData(required_capabilities=capabilities)
        raise MCPError(
            wire.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "The client lacks a capability that this call needs.",
            data.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
