"""Who may use the gallery's API: pages of this very origin and programs with a token, each for a caller's own tasks."""

import json
import logging
from collections.abc import Mapping

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from luma_mcp.core.errors import (
    InvalidRequest,
    LumaError,
    OutputNotWritable,
    SourceNotAllowed,
    SourceNotFound,
    TaskNotFound,
)
from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.core.text import is_object
from luma_mcp.server.results import failure_object
from luma_mcp.server.scopes import READ_SCOPE, allows
from luma_mcp.transports.auth import authenticated_caller
from luma_mcp.transports.bearer import CallerToken, TokenRefused, TokenVerifier
from luma_mcp.transports.gallery_sessions import GallerySessions

READS = frozenset({"GET", "HEAD"})
MAX_BODY_BYTES = 4096
GALLERY_PATH = "/gallery"
SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STATUS_CODES: dict[type[LumaError], int] = {
    InvalidRequest: 400,
    TaskNotFound: 404,
    SourceNotFound: 404,
    SourceNotAllowed: 404,
}
NO_ROOM = "This server cannot read or keep that now, for want of room or because of its disk."
FOREIGN = "Only the gallery's own page may call this address."
NO_SESSION = "This wants the gallery's session, or a token: Authorization: Bearer <token>."
WRONG_TOKEN = "This token is unknown, or was used before."  # noqa: S105 - names no token
NO_TOKEN = 'The body must be a JSON object with a text "token", sent as application/json.'  # noqa: S105 - as above
LACKS_SCOPE = f"This token lacks the scope {READ_SCOPE}."
TOO_LARGE = f"A body can have {MAX_BODY_BYTES} bytes here."
logger = logging.getLogger(__name__)


class GalleryAccess:
    """Lets browsers in that have exchanged a token for a session, and whoever shows a token with each request.

    `is_open` is for servers that want no token from anybody on their machine.
    """

    def __init__(self, verifier: TokenVerifier, *, is_open: bool) -> None:
        self._verifier = verifier
        self._sessions = GallerySessions()
        self._is_open = is_open

    def refusal(self, scope: Scope) -> Response | None:
        """Give the refusal of a request of another origin (403) or of nobody known (401); None for one to be served.

        Who comes with a session is named in the scope from then on, as whoever shows a token is.
        """
        by_token = bool(authenticated_caller(scope))
        if is_foreign(scope) or not (by_token or scope["method"] in READS or is_named_origin(scope)):
            return refusal_as_json(403, FOREIGN)
        if not by_token and (caller := self._session_caller(scope)):
            scope["user"] = AuthenticatedUser(caller)
        if not allows(scope.get("user"), READ_SCOPE):
            return refusal_as_json(403, LACKS_SCOPE)
        return None if self.caller_in(scope) else refusal_as_json(401, NO_SESSION)

    def caller_in(self, scope: Scope) -> str:
        """Name the caller of a request; empty if that is nobody known."""
        return authenticated_caller(scope) or (LOCAL_CALLER if self._is_open else "")

    async def begin_session(self, request: Request) -> Response:
        """Exchange a token for a session's cookie (`POST /gallery/session`)."""
        if is_foreign(request.scope) or not is_named_origin(request.scope):
            return refusal_as_json(403, FOREIGN)
        body = await read_bounded(request)
        if body is None:
            return refusal_as_json(413, TOO_LARGE)
        if not (token := token_in(request.headers, body)):
            return refusal_as_json(400, NO_TOKEN)
        try:
            caller = await self._verifier.verify_token(token)
        except TokenRefused as refused:
            return refusal_as_json(refused.status, refused.reason or WRONG_TOKEN)
        answer = Response(status_code=204, headers=SAFE_HEADERS)
        answer.set_cookie(
            cookie_name(request.scope),
            self._sessions.begin(caller),
            path=request.scope.get("root_path", "") + GALLERY_PATH,
            secure=request.headers.get("origin", "").startswith("https:"),
            httponly=True,
            samesite="strict",
        )
        return answer

    def _session_caller(self, scope: Scope) -> CallerToken | None:
        return self._sessions.caller_of(Request(scope).cookies.get(cookie_name(scope), ""))


class CallersOnly:
    """Serves callers of the gallery alone."""

    def __init__(self, app: ASGIApp, access: GalleryAccess) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 401 or 403."""
        await (self._access.refusal(scope) or self._app)(scope, receive, send)


def cookie_name(scope: Scope) -> str:
    """Name the cookie after the port: browsers keep one jar for all ports of a machine."""
    return f"luma_gallery_{scope['server'][1]}"


def is_foreign(scope: Scope) -> bool:
    """Tell whether a browser says that a request comes from another origin, be it another port of this machine."""
    headers = Headers(scope=scope)
    host = headers.get("host", "").lower()
    sites = {"same-origin", "none"} if scope["method"] in READS else {"same-origin"}
    own = {f"http://{host}", f"https://{host}"}
    return bool({*headers.getlist("sec-fetch-site")} - sites or {*map(str.lower, headers.getlist("origin"))} - own)


def is_named_origin(scope: Scope) -> bool:
    """Tell whether a browser says at all where a request comes from, as all do of those that change something."""
    headers = Headers(scope=scope)
    return "origin" in headers or "sec-fetch-site" in headers


async def read_bounded(request: Request) -> bytes | None:
    """Read a small body; None for a larger one, of which the rest is not read."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def token_in(headers: Headers, body: bytes) -> str:
    """Read the token in a request for a session; empty if there is none.

    Forms of other pages cannot send JSON, scripts of theirs not without asking first.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return ""
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    token = found.get("token") if is_object(found) else None
    return token.strip() if isinstance(token, str) and token.isascii() else ""


def refusal_as_json(status: int, reason: str) -> Response:
    return json_response({"error": {"code": "refused", "message": reason}}, status)


def failure_response(error: LumaError) -> Response:
    return json_response(failure_object(error), status_of(error, STATUS_CODES))


def status_of(error: LumaError, codes: Mapping[type[LumaError], int]) -> int:
    """Give the status of the first class that an error is of; 503 for any other."""
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 503)


def without_folders(error: LumaError) -> LumaError:
    """Give what strangers may be told of a failure: not which folders of this machine cannot be written."""
    if not isinstance(error, OutputNotWritable):
        return error
    logger.warning("A request failed: %s", error.message)
    return OutputNotWritable(NO_ROOM, hint="Try again later, or tell whoever runs this server.")


def json_response(answer: object, status: int = 200) -> Response:
    """Answer with JSON of ASCII alone: names of files may hold what is no Unicode."""
    return Response(json.dumps(answer), status, SAFE_HEADERS, "application/json")
