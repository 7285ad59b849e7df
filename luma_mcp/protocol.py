"""What all handlers of the protocol share: their request, lists of one page, and failures as protocol errors."""

from typing import Any

import mcp.types as wire
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from luma_mcp.app import App
from luma_mcp.errors import InvalidRequest, LumaError, SourceNotAllowed, SourceNotFound, TaskNotFound

Request = ServerRequestContext[App, Any]
Page = wire.PaginatedRequestParams | None
CALLERS_FAULT = (InvalidRequest, TaskNotFound, SourceNotAllowed, SourceNotFound)


def only_page(params: Page) -> None:
    """Raise `InvalidRequest` for a cursor: all lists fit on one page, so none was ever given."""
    if params is not None and params.cursor is not None:
        raise InvalidRequest("cursor is not one that this server returned.")


def protocol_error(error: LumaError) -> MCPError:
    """Say a failure in the protocol's way, for whatever is not a tool call."""
    code = wire.INVALID_PARAMS if isinstance(error, CALLERS_FAULT) else wire.INTERNAL_ERROR
    return MCPError(code, f"{error.message} {error.hint}", {"code": error.code, "hint": error.hint})
