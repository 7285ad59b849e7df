"""What is served over HTTP, and under which path."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from luma_mcp.app.app import App
from luma_mcp.core.settings import Settings
from luma_mcp.core.uris import CALLBACKS_PATH, UPLOADS_PATH, VIDEOS_PATH
from luma_mcp.transports.auth import authenticated_caller, own_host_names
from luma_mcp.transports.bearer import BearerTokens
from luma_mcp.transports.caller_sessions import CallerSessions
from luma_mcp.transports.callers import Callers
from luma_mcp.transports.challenge import challenge_of, metadata_routes
from luma_mcp.transports.gallery import Gallery
from luma_mcp.transports.gallery_access import GALLERY_PATH, GalleryAccess
from luma_mcp.transports.health import HEALTH_PATH, METRICS_PATH, READY_PATH, Health, health_routes
from luma_mcp.transports.middleware import AccessLog, ConcurrencyLimit, TransportSecurity
from luma_mcp.transports.require_token import RequireSpendScope, RequireToken
from luma_mcp.transports.sockets import connection_limit
from luma_mcp.transports.sse import MESSAGES_PATH, SseStreams
from luma_mcp.transports.uploads import UploadEndpoints
from luma_mcp.transports.videos import video_routes

MCP_PATH = "/mcp"
SSE_PATH = "/sse"
TRANSPORT_PATHS = {"streamable-http": (MCP_PATH,), "sse": (SSE_PATH,), "http": (MCP_PATH, SSE_PATH)}
SECRET_PATHS = (CALLBACKS_PATH, UPLOADS_PATH, VIDEOS_PATH)  # what follows is a secret: whoever knows it may come
LOGGED_PATHS = frozenset(
    {
        *("/", MCP_PATH, SSE_PATH, MESSAGES_PATH, HEALTH_PATH, READY_PATH, METRICS_PATH, GALLERY_PATH),
        *(*SECRET_PATHS, "/.well-known"),
    }
)
# By any name, from any page: health is no secret, and secrets guard the rest.
UNCHECKED_PREFIXES = (HEALTH_PATH, READY_PATH, METRICS_PATH, *(f"{path}/" for path in SECRET_PATHS))
MAX_MESSAGE_BYTES = 1 << 20
MAX_SESSIONS = 1000
MAX_CALLBACKS = 50
MAX_SSE_MESSAGES = 200  # beside streams of events, of one caller
SESSION_IDLE_SECONDS = 1800.0


class HttpTransports:
    """The transports over HTTP, with the gallery, health checks and RunAPI's callbacks, and `more` beside them."""

    def __init__(self, app: App, server: Server[App], more: Sequence[BaseRoute] = ()) -> None:
        self._app = app
        self._more = more
        self._over = False
        self._under_way: Counter[str] = Counter()
        self._streams = SseStreams(server, MAX_MESSAGE_BYTES)
        self._sessions = CallerSessions(partial(build_session_manager, server), SESSION_IDLE_SECONDS)
        self._callers = Callers(app.settings, app.now)

    @asynccontextmanager
    async def run_sessions(self) -> AsyncGenerator[None]:
        """Run sessions while inside; end them all, with their streams, when left."""
        async with self._callers.open(), self._sessions.run():
            try:
                yield
            finally:
                self._over = True
                self._streams.end()

    async def drain(self) -> None:
        """Answer whoever waits with how things stand, and whatever is asked upon that."""
        self._app.begin_drain()
        await self._app.wait_until_idle()

    def application(self) -> Starlette:
        settings = self._app.settings
        access = GalleryAccess(self._callers, is_open=settings.needs_no_token)
        gallery = Gallery(self._app, access, takes_uploads=True)
        made = Starlette(
            routes=[
                *self._transports(),
                *gallery.routes(self._bounded),
                *UploadEndpoints(self._app).routes(self._bounded),
                *video_routes(self._app),
                *health_routes(Health(self._app)),
                *self._more,
                *metadata_routes(settings),
                *callback_routes(self._app.handle_callback, settings),
            ],
            middleware=[
                Middleware(AccessLog, track_request=self._app.track_request, paths=LOGGED_PATHS),
                Middleware(
                    TransportSecurity,
                    known=own_host_names(settings),
                    unchecked=UNCHECKED_PREFIXES,
                    public_url=settings.callback_base_url,
                    takes_forwarded=not settings.needs_no_token,
                ),
                Middleware(AuthenticationMiddleware, backend=BearerTokens(self._callers)),
            ],
        )
        made.router.redirect_slashes = False  # it would lead clients out of TLS, which only the proxy knows of
        return made

    def _transports(self) -> list[BaseRoute]:
        served = {MCP_PATH: self._streamable_http_routes, SSE_PATH: self._sse_routes}
        return [route for path in TRANSPORT_PATHS[self._app.settings.transport] for route in served[path]()]

    def _streamable_http_routes(self) -> list[BaseRoute]:
        endpoint = self._with_access_checks(self._handle_streamable_http)
        return [Route(MCP_PATH, endpoint), Route(f"{MCP_PATH}/", endpoint)]

    def _sse_routes(self) -> list[BaseRoute]:
        stream = self._with_access_checks(self._streams.handle_stream)
        messages = ConcurrencyLimit(self._streams.handle_message, MAX_SSE_MESSAGES, Counter())
        return [
            *(Route(path, stream, methods=["GET"]) for path in (SSE_PATH, f"{SSE_PATH}/")),
            Mount(MESSAGES_PATH, self._with_access_checks(messages)),
        ]

    async def _handle_streamable_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = [header for header in scope["headers"] if header[0] != b"last-event-id"]  # no events are kept
        await self._sessions.handle_request(authenticated_caller(scope), {**scope, "headers": known}, receive, send)

    def _with_access_checks(self, transport: ASGIApp) -> ASGIApp:
        settings = self._app.settings
        if settings.needs_no_token:
            return self._bounded(transport)
        challenge = challenge_of(settings)
        return RequireToken(self._bounded(RequireSpendScope(transport, challenge, MAX_MESSAGE_BYTES)), challenge)

    def _bounded(self, served: ASGIApp) -> ASGIApp:
        async def unless_over(scope: Scope, receive: Receive, send: Send) -> None:
            await (shutdown_response() if self._over else served)(scope, receive, send)

        return ConcurrencyLimit(unless_over, caller_request_limit(self._app.settings), self._under_way)


def build_session_manager(server: Server[App]) -> StreamableHTTPSessionManager:
    """Hold the sessions of one caller."""
    return StreamableHTTPSessionManager(
        server,
        max_request_body_size=MAX_MESSAGE_BYTES,
        max_sessions=MAX_SESSIONS,
        session_idle_timeout=SESSION_IDLE_SECONDS,
    )


def caller_request_limit(settings: Settings) -> int:
    """Give how many requests a caller may have under way; of several, none gets more than three quarters."""
    several = len(dict(settings.callers)) > 1 or settings.auth_tokens_file or settings.oauth_issuer
    return connection_limit() * 3 // 4 if several else connection_limit()


def shutdown_response() -> Response:
    return PlainTextResponse("This server is ending.", 503, headers={"Retry-After": "5"})


def callback_routes(arrived: Callable[[str], None], settings: Settings) -> list[BaseRoute]:
    """Take RunAPI's calls, all answered alike, whether anybody waits for them or not; their bodies are not read."""

    async def arrive(request: Request) -> Response:
        arrived(request.path_params["secret"])
        return Response(status_code=204)

    calls = ConcurrencyLimit(request_response(arrive), MAX_CALLBACKS, Counter())
    return [Route(f"{CALLBACKS_PATH}/{{secret}}", calls, methods=["POST"])] if settings.callback_base_url else []
