"""Where RunAPI's login page leaves its answer: a port of loopback, closed once it has a code (contract 7.1)."""

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import anyio
import h11
from anyio.abc import SocketListener, SocketStream

from luma_mcp.core.addresses import LOOPBACK
from luma_mcp.core.concurrency import background_work, guarded
from luma_mcp.runapi.connection import HttpClients
from luma_mcp.runapi.login import LoginAttempt, LoginFailed, NewKey, exchange_code

REQUEST_SECONDS = 10.0
CALLBACK_PATH = "/callback"
RECEIVED_BYTES = 1 << 14
DONE = "You can close this page and go back."
GONE = (OSError, h11.ProtocolError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class OpenLogin:
    """A login that waits for a person: the page to open, and who takes its answer, from nobody but the page."""

    def __init__(self, attempt: LoginAttempt, base_url: str) -> None:
        self.hostname = socket.gethostname()
        self.url = attempt.page_url(base_url, self.hostname)
        self.display_code = attempt.display_code
        self._attempt = attempt
        self._base_url = base_url
        self._came = anyio.Event()
        self._code = ""
        self._failure: LoginFailed | None = None

    async def code(self) -> str:
        """Wait for the page's answer, and give its code; raise `LoginFailed` if it says that there is none."""
        await self._came.wait()
        if self._failure:
            raise self._failure
        return self._code

    async def key(self, clients: HttpClients, code: str) -> NewKey:
        """Exchange the page's code for a key; raise `LoginFailed`, `NetworkFailure` or `BadAnswer`."""
        return await exchange_code(clients, self._base_url, self._attempt, code, self.hostname)

    async def answer(self, stream: SocketStream) -> None:
        """Answer the one request of a connection."""
        await guarded(partial(self._answer, stream), otherwise=None, what="Answering RunAPI's page")

    async def _answer(self, stream: SocketStream) -> None:
        async with stream:
            with suppress(*GONE), anyio.move_on_after(REQUEST_SECONDS):
                connection = h11.Connection(h11.SERVER)
                request = await receive_request(connection, stream)
                status, words = self._take(request)
                try:
                    await send_response(connection, stream, status, self._headers, words)
                finally:
                    if status is HTTPStatus.OK:
                        self._came.set()  # only now: who waits for it closes the port

    def _take(self, request: h11.Request) -> tuple[HTTPStatus, str]:
        path, _, query = request.target.decode("ascii", "replace").partition("?")
        headers = dict(request.headers)
        host = headers.get(b"host", b"").decode("ascii", "replace")
        if host not in {f"{name}:{self._attempt.port}" for name in (LOOPBACK, "localhost")}:
            return HTTPStatus.BAD_REQUEST, "This is another server."
        if path != CALLBACK_PATH:
            return HTTPStatus.NOT_FOUND, "There is nothing here."
        if request.method == b"OPTIONS":
            return HTTPStatus.NO_CONTENT, ""
        if request.method != b"GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, "This takes the answer of a page."
        return self._take_query(dict(parse_qsl(query)))

    def _take_query(self, query: Mapping[str, str]) -> tuple[HTTPStatus, str]:
        if not (self._code or self._failure):
            try:
                self._code = self._attempt.code_in(query)
            except LoginFailed as failure:
                self._failure = failure
            except ValueError as error:
                return HTTPStatus.BAD_REQUEST, f"This login is another one: {error}."
        return HTTPStatus.OK, DONE

    @property
    def _headers(self) -> Mapping[str, str]:
        parts = urlsplit(self._base_url)
        return {
            "Access-Control-Allow-Origin": f"{parts.scheme}://{parts.netloc}",
            "Access-Control-Allow-Private-Network": "true",
            "Cache-Control": "no-store",
        }


@asynccontextmanager
async def open_login(base_url: str) -> AsyncGenerator[OpenLogin]:
    """Open a port for the page's answer, which is closed when left; raise `OSError` if there is none."""
    with socket.create_server((LOOPBACK, 0)) as opened:
        login = OpenLogin(LoginAttempt(opened.getsockname()[1]), base_url)
        async with await SocketListener.from_socket(opened) as listener, background_work() as group:
            group.start_soon(listener.serve, login.answer)
            yield login


async def receive_request(connection: h11.Connection, stream: SocketStream) -> h11.Request:
    """Give the head of a request; raise one of `GONE`."""
    while True:
        match event := connection.next_event():
            case h11.Request():
                return event
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive(RECEIVED_BYTES))
            case _:
                raise anyio.EndOfStream


async def send_response(
    connection: h11.Connection, stream: SocketStream, status: HTTPStatus, headers: Mapping[str, str], words: str
) -> None:
    body = words.encode()
    length = {} if status is HTTPStatus.NO_CONTENT else {"Content-Length": str(len(body))}
    told = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close", **length, **headers}
    parts = (
        h11.Response(status_code=status, reason=status.phrase, headers=[*told.items()]),
        h11.Data(body),
        h11.EndOfMessage(),
    )
    await stream.send(b"".join(connection.send(part) or b"" for part in parts))
