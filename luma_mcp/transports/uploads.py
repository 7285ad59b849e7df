"""Clips of people who are elsewhere: `PUT /uploads/<ticket>`, and a page there to pick one in. The ticket is the right.

A failure says nothing of what a ticket might have been good for.
"""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from luma_mcp.app.app import App
from luma_mcp.app.tickets import TicketSpent, TicketUnknown
from luma_mcp.core.errors import LumaError, OutputNotWritable, SourceNotFound, SourceTooLarge
from luma_mcp.core.models import UploadTicket
from luma_mcp.core.uris import UPLOADS_PATH, upload_uri
from luma_mcp.server.results import failure_object
from luma_mcp.transports.gallery_access import SAFE_HEADERS, json_response, status_of, without_folders
from luma_mcp.transports.middleware import ConcurrencyLimit
from luma_mcp.transports.sockets import LONG_BODY_KEY
from luma_mcp.viewer.page import upload_html, upload_policy

MAX_UPLOADS = 4  # of one caller at once
TICKET_KEY = "luma_mcp.upload"  # in a request's scope
LENGTH = re.compile(r"[0-9]{1,18}")
ARRIVED_STEP = "The clip has arrived. The assistant can use it now: tell it so, or give it source_video_url."
STILL_GOOD = "The address is not used up: it takes another try until it expires."
INTERRUPTED = "The clip was cut off on its way."
STATUS_CODES: dict[type[LumaError], int] = {
    TicketUnknown: 404,
    TicketSpent: 410,
    SourceTooLarge: 413,
    SourceNotFound: 422,
    OutputNotWritable: 507,
}


class TicketHolders:
    """Serves whoever has a ticket as the caller to whom it was given, and nobody else."""

    def __init__(self, app: App, served: ASGIApp) -> None:
        self._app = app
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 404, 410 or 503."""
        try:
            ticket = await self._app.find_upload(scope["path_params"]["ticket"])
        except LumaError as error:
            await refusal(scope, error)(scope, receive, send)
            return
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=ticket.caller, scopes=[]))
        scope[TICKET_KEY] = ticket
        await self._served(scope, receive, send)


class UploadEndpoints:
    """Takes clips by their tickets."""

    def __init__(self, app: App) -> None:
        self._app = app
        policy = {"Content-Security-Policy": upload_policy()}
        self._page = Response(upload_html(), headers=SAFE_HEADERS | policy, media_type="text/html")

    def routes(self, bound: Callable[[ASGIApp], ASGIApp]) -> list[BaseRoute]:
        """List what is served; `bound` wraps all that is served to a caller."""
        path = f"{UPLOADS_PATH}/{{ticket}}"
        put = ConcurrencyLimit(request_response(self._receive), MAX_UPLOADS, Counter())
        return [
            Route(path, TicketHolders(self._app, bound(put)), methods=["PUT"]),
            Route(path, TicketHolders(self._app, bound(self._page)), methods=["GET"]),
        ]

    async def _receive(self, request: Request) -> Response:
        ticket: UploadTicket = request.scope[TICKET_KEY]
        if allow_long_body := request.scope.get(LONG_BODY_KEY):
            allow_long_body()
        length = request.headers.get("content-length", "")
        try:
            async with aclosing(body_of(request)) as pieces:
                size = int(length) if LENGTH.fullmatch(length) else None
                clip = await self._app.receive_upload(ticket, pieces, size)
        except ClientDisconnect:
            return PlainTextResponse(INTERRUPTED, 400)  # for the log: nobody is there to read it
        except LumaError as error:
            return failure_response(error)
        told = {
            "source_video_url": upload_uri(ticket.id),
            "size_bytes": clip.size,
            "duration_seconds": clip.seconds,
            "next_step": ARRIVED_STEP,
        }
        return json_response({name: value for name, value in told.items() if value is not None})


async def body_of(request: Request) -> AsyncGenerator[bytes]:
    """Yield the body in pieces; raise `ClientDisconnect` if the client leaves before its end."""
    async for piece in request.stream():
        if piece:
            yield piece


def failure_response(error: LumaError) -> Response:
    """Say why a clip was not taken, and whether its ticket is used up."""
    told = without_folders(error)
    if not isinstance(told, TicketSpent):
        told.hint = f"{told.hint} {STILL_GOOD}"
    return json_response(failure_object(told), status_of(told, STATUS_CODES))


def refusal(scope: Scope, error: LumaError) -> Response:
    """Refuse what comes without a ticket that is good: a program in JSON, a person in words."""
    told = without_folders(error)
    status = status_of(told, STATUS_CODES)
    if scope["method"] == "PUT" or "text/html" not in Headers(scope=scope).get("accept", ""):
        return json_response(failure_object(told), status)
    return PlainTextResponse(f"{told.message} {told.hint}", status, headers=SAFE_HEADERS)
