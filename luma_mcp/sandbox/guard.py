"""Who may come to the sandbox on a port: programs of this machine, and no web page that somebody looks at here."""

from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "[::1]")  # as in a URL
NAMES = {host.strip("[]") for host in HOSTS}
PIECE_SECONDS = 60.0
HTTP_PORT = 80


class LoopbackGuard:
    """Lets in requests that call this address by its name and come from no foreign web page, against DNS rebinding."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._names = {f"{host}:{port}" for host in HOSTS} | (set(HOSTS) if port == HTTP_PORT else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it with 421 (host) or 403 (origin). Each piece of a body has `PIECE_SECONDS`."""

        async def in_time() -> Message:
            with anyio.move_on_after(PIECE_SECONDS):
                return await receive()
            return {"type": "http.disconnect"}

        await (self._refusal(Headers(scope=scope)) or self._app)(scope, in_time, send)

    def _refusal(self, headers: Headers) -> Response | None:
        if headers.get("host", "").lower() not in self._names:
            return JSONResponse({"error": "The sandbox is called by its address on this machine only"}, 421)
        if not all(map(is_of_this_machine, headers.getlist("origin"))):
            return JSONResponse({"error": "Web pages may not call the sandbox"}, 403)
        return None


def is_of_this_machine(origin: str) -> bool:
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    plain = page.scheme in {"http", "https"} and origin.count("/") == 2 and "@" not in origin
    return plain and page.hostname in NAMES
