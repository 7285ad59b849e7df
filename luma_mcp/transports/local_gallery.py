"""The gallery of the user of this machine, on a loopback port of its own, until a signal ends it."""

import secrets
from collections.abc import Callable, Coroutine
from socket import socket
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from luma_mcp.app.app import App, open_app
from luma_mcp.core.addresses import LOOPBACK
from luma_mcp.core.settings import Settings
from luma_mcp.transports.auth import LOOPBACK_NAMES
from luma_mcp.transports.gallery import Gallery
from luma_mcp.transports.gallery_access import GalleryAccess
from luma_mcp.transports.gallery_sessions import OneTimeToken
from luma_mcp.transports.http import Uvicorn, force_exit_on_end
from luma_mcp.transports.middleware import TransportSecurity
from luma_mcp.transports.shutdown import watch_exit_signals
from luma_mcp.transports.sockets import raise_file_limit, uvicorn_config

Show = Callable[[str], Coroutine[Any, Any, None]]


class LocalGallery:
    """The gallery of the user of this machine, on a port of its own, for whoever has its address.

    The path is random, as cookies are shared by all ports of a machine: to another server here, which may be another
    user's, browsers send this one's cookie only under this path.
    """

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        self._port = port
        self._token = OneTimeToken()
        self._path = f"/{secrets.token_urlsafe(16)}"

    @property
    def url(self) -> str:
        """The address to open, which lets one browser in, once."""
        return f"http://{LOOPBACK}:{self._port}{self._path}/#token={self._token.value}"

    def application(self) -> Starlette:
        """Give what is to be served on the port."""
        gallery = Gallery(self._app, GalleryAccess(self._token, is_open=False))
        names = {f"{name}:{self._port}" for name in LOOPBACK_NAMES} | {*self._app.settings.allowed_hosts}
        security = Middleware(TransportSecurity, known=names, unchecked=(), public_url="", takes_forwarded=False)
        made = Starlette(routes=[Mount(self._path, routes=gallery.routes(unbounded))], middleware=[security])
        made.router.redirect_slashes = False
        return made


async def serve_local_gallery(settings: Settings, listener: socket, show: Show) -> None:
    """Serve on an open socket until a signal; `show` is told the address once it can be opened."""
    raise_file_limit()
    async with open_app(settings) as app, anyio.create_task_group() as group:
        ended = anyio.Event()
        await group.start(watch_exit_signals, ended, name="signals")
        group.start_soon(force_exit_on_end, ended, name="the end")
        gallery = LocalGallery(app, listener.getsockname()[1])
        group.start_soon(show, gallery.url, name="the browser")
        await serve_until(ended, app, gallery, listener)
        group.cancel_scope.cancel()


async def serve_until(ended: anyio.Event, app: App, gallery: LocalGallery, listener: socket) -> None:
    """Serve until `ended` is set; then whoever waits is answered with how things stand."""
    server = Uvicorn(uvicorn_config(gallery.application()))
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listener], name="uvicorn")
        await ended.wait()
        app.begin_drain()
        server.should_exit = True


def unbounded(app: ASGIApp) -> ASGIApp:
    return app
