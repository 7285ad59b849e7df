"""The life of the server process on a port."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from socket import socket
from typing import TYPE_CHECKING

import anyio
import uvicorn
from mcp.server import Server

from luma_mcp.app.app import App, open_app
from luma_mcp.core.addresses import bracketed
from luma_mcp.core.observer import Observers
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.server.server import build_server
from luma_mcp.transports.routes import TRANSPORT_PATHS, HttpTransports
from luma_mcp.transports.shutdown import force_exit_after, watch_exit_signals
from luma_mcp.transports.sockets import open_sockets, raise_file_limit, uvicorn_config
from luma_mcp.transports.tracing import open_tracing

if TYPE_CHECKING:
    from luma_mcp.transports.metrics import Metrics

DRAIN_SECONDS = 2.0  # at most, while answers go out; `GRACE_SECONDS` and the app's `LAST_ANSWERS_SECONDS` follow
FORCED_EXIT_SECONDS = 4.5  # README promises an end within 5

LOCAL_CALLER_TEXT = "you: luma-mcp token prints the token"

Build = Callable[[App], Server[App]]
Say = Callable[[str], None]

logger = logging.getLogger(__name__)


class Uvicorn(uvicorn.Server):
    """A web server that leaves signals to this process: it would pass them on, after its own end, and kill it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take no signal: this process has its own way to end."""
        yield


async def serve_http(settings: Settings, say: Say, *, build: Build = build_server) -> None:
    """Serve clients over HTTP until a signal; raise `BadSetting` if the sockets cannot or must not be opened.

    Nobody comes in unless the settings say who, with tokens or without. The app is opened once, around all transports
    and clients. `build` makes the server; `say` prints where it is.
    """
    raise_file_limit()
    metrics = make_metrics(settings)
    with open_sockets(settings) as sockets:
        async with (
            open_tracing() as tracing,
            open_app(settings, observer=Observers((*tracing, *metrics))) as app,
            anyio.create_task_group() as group,
        ):
            app.start_tracker()
            ended = anyio.Event()
            await group.start(watch_exit_signals, ended, name="signals")
            group.start_soon(force_exit_on_end, ended, name="the end")
            web = HttpTransports(app, build(app), [route for each in metrics for route in each.routes(app)])
            say(banner(settings, sockets[0]))
            if doubts := missing_key_warning(settings):
                logger.warning("%s", doubts)
            await serve_web(web, sockets, ended)
            group.cancel_scope.cancel()


def make_metrics(settings: Settings) -> tuple["Metrics", ...]:
    """Make what counts for a Prometheus, where there is a token for it; raise `BadSetting` without the extra."""
    if settings.metrics_token is None:
        return ()
    try:
        from luma_mcp.transports.metrics import Metrics  # noqa: PLC0415 - only the extra brings what it needs
    except ImportError:
        raise BadSetting("LUMA_MCP_METRICS_TOKEN", "needs the extra `otel`, which is not installed") from None
    return (Metrics(settings.metrics_token.get_secret_value()),)


async def serve_web(web: HttpTransports, sockets: list[socket], ended: anyio.Event) -> None:
    """Serve until `ended` is set; then answer whoever waits, end the streams, and close the connections."""
    listener = Uvicorn(uvicorn_config(web.application()))

    async def listen() -> None:
        try:
            await listener.serve(sockets)
        finally:
            ended.set()

    async with anyio.create_task_group() as group, web.run_sessions():
        group.start_soon(listen, name="uvicorn")
        await ended.wait()
        with anyio.move_on_after(DRAIN_SECONDS):
            await web.drain()
        listener.should_exit = True


async def force_exit_on_end(ended: anyio.Event) -> None:
    await ended.wait()
    force_exit_after(FORCED_EXIT_SECONDS)


def missing_key_warning(settings: Settings) -> str:
    """Warn that nothing can be submitted because the key is missing; empty if all is well."""
    if settings.api_key is None and not settings.sandbox:
        return (
            "There is no RunAPI key: nothing can be submitted. Get one with luma-mcp login, which needs no restart, or"
            " set RUNAPI_API_KEY; or try the sandbox with LUMA_MCP_SANDBOX=true."
        )
    return ""


def banner(settings: Settings, opened: socket) -> str:
    host, port = opened.getsockname()[:2]
    base = f"http://{bracketed(host)}:{port}"
    paths = TRANSPORT_PATHS[settings.transport]
    named = list(dict.fromkeys(name for name, _ in settings.callers))
    named += [f"those in {settings.auth_tokens_file}"] if settings.auth_tokens_file else []
    named += [f"users of {settings.oauth_issuer}"] if settings.oauth_issuer else []
    own = "all programs and users of this machine, without a token" if settings.needs_no_token else LOCAL_CALLER_TEXT
    who = f"for {', '.join(named) or own}"
    played = "the sandbox " if settings.sandbox else ""
    return f"luma-mcp serves {played}at {' and '.join(base + path for path in paths)} ({who}). Stop it with Ctrl-C."
