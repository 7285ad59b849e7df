"""What all handlers of the protocol share: their request, lists of one page, and failures as protocol errors."""

from typing import Any

import anyio
import mcp.types as wire
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from starlette.types import Scope

from luma_mcp.app.app import App
from luma_mcp.core.errors import InvalidRequest, LumaError, SourceNotAllowed, SourceNotFound, TaskNotFound
from luma_mcp.core.models import LOCAL_CALLER

Request = ServerRequestContext[App, Any]
Page = wire.PaginatedRequestParams | None
GONE = "luma_mcp.gone"  # where a request's scope has the event of its client's leaving
CALLERS_FAULT = (InvalidRequest, TaskNotFound, SourceNotAllowed, SourceNotFound)


def caller_of(ctx: Request) -> str:
    """Name who asks: over HTTP the caller whose token was given, else the user of this machine."""
    settings = ctx.lifespan_context.settings
    if not (settings.serves_http and settings.callers):
        return LOCAL_CALLER
    user = ctx.request.user if ctx.request else None
    if not isinstance(user, AuthenticatedUser):
        raise PermissionError("This request came past the check of tokens.")
    return user.access_token.client_id


def only_page(params: Page) -> None:
    """Raise `InvalidRequest` for a cursor: all lists fit on one page, so none was ever given; an empty one is none."""
    if params is not None and params.cursor:
        raise InvalidRequest("cursor is not one that this server returned.")


def protocol_error(error: LumaError) -> MCPError:
    """Say a failure in the protocol's way, for whatever is not a tool call."""
    code = wire.INVALID_PARAMS if isinstance(error, CALLERS_FAULT) else wire.INTERNAL_ERROR
    return MCPError(code, f"{error.message} {error.hint}", {"code": error.code, "hint": error.hint})


def gone_of(scope: Scope) -> anyio.Event | None:
    """Give the event that the client of a request has left, if the answer goes back on the same connection."""
    found: anyio.Event | None = scope.get(GONE)
    return found
