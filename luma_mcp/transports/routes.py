"""What is served over HTTP, and under which path."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from mcp.server import Server
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from luma_mcp.app.app import App
from luma_mcp.core.settings import Settings
from luma_mcp.core.uris import CALLBACKS_PATH
from luma_mcp.transports.exchange import Watched, named
from luma_mcp.transports.health import OK, Health
from luma_mcp.transports.middleware import NAMED_TOKENS, OWN_TOKEN, Callers, Gate, NeedsToken, Shared, known_hosts
from luma_mcp.transports.sockets import most_connections
from luma_mcp.transports.sse import MESSAGES_PATH, Streams

MCP_PATH = "/mcp"
SSE_PATH = "/sse"
HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
PATHS = frozenset({MCP_PATH, SSE_PATH, MESSAGES_PATH, HEALTH_PATH, READY_PATH, CALLBACKS_PATH})
UNCHECKED = (HEALTH_PATH, READY_PATH, f"{CALLBACKS_PATH}/")  # by whatever name; a secret guards the last
LARGEST_MESSAGE_BYTES = 1 << 20
MOST_SESSIONS = 1000
MOST_CALLS = 50
MOST_MESSAGES = 200  # beside streams of events, of one caller
SESSION_IDLE_SECONDS = 1800.0


class Web:
    """The server's transports over HTTP, and what stands beside them."""

    def __init__(self, app: App, server: Server[App]) -> None:
        self._app = app
        self._over = False
        self._under_way: Counter[str] = Counter()
        self._streams = Streams(server, LARGEST_MESSAGE_BYTES)
        callers = {name for name, _ in app.settings.tokens} or {""}
        self._sessions = {caller: sessions_of_one_caller(server) for caller in callers}

    @asynccontextmanager
    async def sessions(self) -> AsyncGenerator[None]:
        """Hold sessions inside, and end them all, with their streams, when left."""
        async with AsyncExitStack() as stack:
            for sessions in self._sessions.values():
                await stack.enter_async_context(sessions.run())
            try:
                yield
            finally:
                self._over = True
                self._streams.end()

    async def answer_all(self) -> None:
        """Answer whoever waits with how things stand, and whatever is asked thereupon."""
        self._app.end_waits()
        await self._app.answering.quiet()

    def application(self) -> Starlette:
        """Lay out the routes behind the checks."""
        settings = self._app.settings
        made = Starlette(
            routes=[
                *self._transports(),
                *watching(Health(self._app)),
                *called_back(self._app.callbacks.arrived, settings),
            ],
            middleware=[
                Middleware(Watched, answering=self._app.answering, paths=PATHS),
                Middleware(
                    Gate,
                    known=known_hosts(settings),
                    unchecked=UNCHECKED,
                    public_url=settings.called_at,
                    takes_forwarded=not settings.needs_no_token,
                ),
                Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(Callers(settings.tokens))),
            ],
        )
        made.router.redirect_slashes = False  # it would lead clients out of TLS, which only the proxy knows of
        return made

    def _transports(self) -> list[BaseRoute]:
        streamable: list[BaseRoute] = [Route(path, self._guarded(self._take)) for path in (MCP_PATH, f"{MCP_PATH}/")]
        sse: list[BaseRoute] = [
            *(Route(path, self._guarded(self._streams.stream), methods=["GET"]) for path in (SSE_PATH, f"{SSE_PATH}/")),
            Mount(MESSAGES_PATH, self._guarded(Shared(self._streams.take_message, MOST_MESSAGES, Counter()))),
        ]
        return {"streamable-http": streamable, "sse": sse, "http": streamable + sse}[self._app.settings.transport]

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = [header for header in scope["headers"] if header[0] != b"last-event-id"]  # no events are kept
        await self._sessions[named(scope)].handle_request({**scope, "headers": known}, receive, send)

    def _guarded(self, transport: ASGIApp) -> ASGIApp:
        """Let in only callers with a token unless none is needed, and nobody after the end."""

        async def unless_over(scope: Scope, receive: Receive, send: Send) -> None:
            await (ending() if self._over else transport)(scope, receive, send)

        settings = self._app.settings
        bounded = Shared(unless_over, most_of_one(settings), self._under_way)
        if settings.needs_no_token:
            return bounded
        return NeedsToken(bounded, NAMED_TOKENS if settings.callers else OWN_TOKEN)


def sessions_of_one_caller(server: Server[App]) -> StreamableHTTPSessionManager:
    """Hold the sessions of streamable HTTP of one caller: who opens many takes no other caller's place."""
    return StreamableHTTPSessionManager(
        server,
        max_request_body_size=LARGEST_MESSAGE_BYTES,
        max_sessions=MOST_SESSIONS,
        session_idle_timeout=SESSION_IDLE_SECONDS,
    )


def most_of_one(settings: Settings) -> int:
    """Give how many requests one of several callers may have under way: a quarter of what there is stays for others."""
    several = len(dict(settings.callers)) > 1
    return most_connections() * 3 // 4 if several else most_connections()


def ending() -> Response:
    """Refuse what comes too late for this process."""
    return PlainTextResponse("This server is ending.", 503, headers={"Retry-After": "5"})


def watching(health: Health) -> list[BaseRoute]:
    """Tell whoever watches over this server how it is."""

    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        parts = await health.check()
        good = all(state == OK for state in parts.values())
        return JSONResponse({"status": "ready" if good else "not ready", **parts}, 200 if good else 503)

    return [Route(HEALTH_PATH, alive, methods=["GET"]), Route(READY_PATH, ready, methods=["GET"])]


def called_back(arrived: Callable[[str], None], settings: Settings) -> list[BaseRoute]:
    """Take RunAPI's calls, and answer all alike, whether anybody waits for them or not; what they say is not read."""

    async def arrive(request: Request) -> Response:
        arrived(request.path_params["secret"])
        return Response(status_code=204)

    calls = Shared(request_response(arrive), MOST_CALLS, Counter())
    return [Route(f"{CALLBACKS_PATH}/{{secret}}", calls, methods=["POST"])] if settings.called_at else []
