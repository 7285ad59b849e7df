"""What all handlers of the protocol share: their request, lists of one page, and failures as protocol errors."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import mcp.types as wire
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.types import Scope

from luma_mcp.app.app import App
from luma_mcp.core.concurrency import background_work, cancel_after
from luma_mcp.core.errors import InvalidRequest, LumaError, SourceNotAllowed, SourceNotFound, TaskNotFound
from luma_mcp.core.models import LOCAL_CALLER

RequestContext = ServerRequestContext[App, Any]
PageParams = wire.PaginatedRequestParams | None
DISCONNECTED_KEY = "luma_mcp.gone"  # in a request's scope: the event set when its client leaves
MAX_SHOWN_NAME = 80
CACHE_TTL_MS = 300_000  # for which clients may keep what stays as it is while a server runs
PERSON_SECONDS = 30.0  # for which a call waits for a person, whatever it asks: common hosts cut one at 60
INVALID_PARAMS_ERRORS = (InvalidRequest, TaskNotFound, SourceNotAllowed, SourceNotFound)


class ToolContext(Context[App]):
    """A tool call: it begins once, however often its tool runs and whatever it asks a person."""

    def __init__(self, request_context: RequestContext, given: wire.CallToolRequestParams) -> None:
        super().__init__(request_context=request_context, input_params=given)
        self._person_until = anyio.current_time() + PERSON_SECONDS

    @property
    def person_seconds(self) -> float:
        """For how many seconds the call still waits for a person."""
        return max(0.0, self._person_until - anyio.current_time())


def caller_of(ctx: RequestContext) -> str:
    """Name who asks: over HTTP the caller whose token was given, else the user of this machine."""
    settings = ctx.lifespan_context.settings
    if not (settings.serves_http and settings.names_callers):
        return LOCAL_CALLER
    caller = caller_name(ctx.request.user) if ctx.request else ""
    if not caller:
        raise PermissionError("This request came past the check of tokens.")
    return caller


def caller_name(user: object) -> str:
    """Name the caller whose token came with a request, as the SDK tells it there; empty if none did."""
    return user.access_token.client_id if isinstance(user, AuthenticatedUser) else ""


def is_modern(ctx: RequestContext) -> bool:
    """Tell whether a request is of the era without a handshake, 2026-07-28 and later."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def require_modern(ctx: RequestContext) -> None:
    """Raise what clients of earlier protocols are told of any method that theirs does not have."""
    if not is_modern(ctx):
        raise MCPError(wire.METHOD_NOT_FOUND, "Method not found", ctx.method)


def can_ask(ctx: RequestContext, mode: Literal["form", "url"]) -> bool:
    """Tell whether the client can show a person a form, or a page; one that names neither means forms."""
    declared = ctx.session.client_capabilities
    modes = declared and declared.elicitation
    if not modes:
        return False
    shows = modes.url is not None if mode == "url" else modes.form is not None or modes.url is None
    return shows and (is_modern(ctx) or ctx.session.can_send_request)


@asynccontextmanager
async def waiting_within(ctx: RequestContext, seconds: float) -> AsyncGenerator[None]:
    """Give what waits inside some seconds at most, and no longer than until the server ends."""
    with anyio.move_on_after(seconds):
        async with background_work() as group:
            group.start_soon(cancel_after, ctx.lifespan_context.draining, group.cancel_scope)
            yield


def reject_cursor(params: PageParams) -> None:
    """Raise `InvalidRequest` for a cursor: all lists have one page, so none was ever given out; empty is none."""
    if params is not None and params.cursor:
        raise InvalidRequest("cursor is not one that this server returned.")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InvalidRequest:
    """Make the error for a name that a client cannot have from here; it lists those that there are."""
    return InvalidRequest(f"There is no {kind} {name[:MAX_SHOWN_NAME]!r}; there are {', '.join(known)}.")


def protocol_error(error: LumaError) -> MCPError:
    """Convert a failure outside tool calls, which have a form of their own, into JSON-RPC's."""
    code = wire.INVALID_PARAMS if isinstance(error, INVALID_PARAMS_ERRORS) else wire.INTERNAL_ERROR
    return MCPError(code, f"{error.message} {error.hint}", {"code": error.code, "hint": error.hint})


def disconnect_event(scope: Scope) -> anyio.Event | None:
    """Give the event set when a request's client leaves, if the answer goes back on the same connection."""
    found: anyio.Event | None = scope.get(DISCONNECTED_KEY)
    return found
