"""The life of the server process on a port."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from socket import socket

import anyio
import uvicorn
from mcp.server import Server

from luma_mcp.app.app import App, open_app
from luma_mcp.core.settings import Settings
from luma_mcp.server.server import build_server
from luma_mcp.transports.routes import MCP_PATH, SSE_PATH, Web
from luma_mcp.transports.shutdown import await_signal, leave_by_force
from luma_mcp.transports.sockets import allow_files, listening, uvicorn_config

ANSWERING_SECONDS = 2.0  # at most, while answers go out; connections then get `GRACE_SECONDS`, submissions 1.2
FORCE_SECONDS = 4.5  # whoever asks for the end waits 5

OWN = "you: luma-mcp token prints the token"

Build = Callable[[App], Server[App]]
Say = Callable[[str], None]

logger = logging.getLogger(__name__)


class Uvicorn(uvicorn.Server):
    """A web server that leaves signals to this process: it would pass them on, after its own end, and kill it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take no signal."""
        yield


async def serve_http(settings: Settings, say: Say, *, build: Build = build_server) -> None:
    """Serve clients over HTTP until a signal asks for the end; raise `BadSetting` if that cannot or must not be.

    Nobody comes in unless the settings say who, with tokens or without. The app is opened once, around all transports
    and clients. `build` makes the server; `say` tells a person where.
    """
    allow_files()
    with listening(settings) as sockets:
        async with open_app(settings) as app, anyio.create_task_group() as group:
            app.wake()
            ended = anyio.Event()
            await group.start(await_signal, ended, name="signals")
            group.start_soon(leave_in_time, ended, name="the end")
            web = Web(app, build(app))
            say(banner(settings, sockets[0]))
            if doubts := risks(settings):
                logger.warning("%s", doubts)
            await serve_web(web, sockets, ended)
            group.cancel_scope.cancel()


async def serve_web(web: Web, sockets: list[socket], ended: anyio.Event) -> None:
    """Serve until asked to end; then answer whoever waits, end the streams, and close the connections."""
    listener = Uvicorn(uvicorn_config(web.application()))

    async def listen() -> None:
        try:
            await listener.serve(sockets)
        finally:
            ended.set()

    async with anyio.create_task_group() as group, web.sessions():
        group.start_soon(listen, name="uvicorn")
        await ended.wait()
        with anyio.move_on_after(ANSWERING_SECONDS):
            await web.answer_all()
        listener.should_exit = True


async def leave_in_time(ended: anyio.Event) -> None:
    """See to it that the process ends soon after it was asked to."""
    await ended.wait()
    leave_by_force(FORCE_SECONDS)


def risks(settings: Settings) -> str:
    """Say what about the settings is probably not meant: that the key is missing, so that nothing can be made."""
    if settings.api_key is None and not settings.sandbox:
        return (
            "RUNAPI_API_KEY is not set, or is a placeholder: nothing can be submitted. Set it, or try the sandbox with"
            " LUMA_MCP_SANDBOX=true."
        )
    return ""


def banner(settings: Settings, opened: socket) -> str:
    """Say where clients find this server, and who may come in."""
    host, port = opened.getsockname()[:2]
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    paths = {"sse": [SSE_PATH], "streamable-http": [MCP_PATH], "http": [MCP_PATH, SSE_PATH]}[settings.transport]
    names = ", ".join(dict.fromkeys(name for name, _ in settings.callers))
    own = "all programs and users of this machine, without a token" if settings.needs_no_token else OWN
    who = f"for {names or own}"
    played = "the sandbox " if settings.sandbox else ""
    return f"luma-mcp serves {played}at {' and '.join(base + path for path in paths)} ({who}). Stop it with Ctrl-C."
