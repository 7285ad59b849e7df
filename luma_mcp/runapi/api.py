"""Requests to RunAPI: the key to one origin only, bounded answers, and every failure as one of our errors."""

import hashlib
import math
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import cast

import anyio
import httpx
from pydantic import SecretStr

from luma_mcp.core.errors import (
    BadAnswer,
    Conflict,
    LumaError,
    MissingApiKey,
    NetworkFailure,
    ServiceUnavailable,
    TaskNotFound,
)
from luma_mcp.core.text import Json, json_object, safe_text, without_secret
from luma_mcp.runapi.connection import Connection
from luma_mcp.runapi.error_map import refusal
from luma_mcp.runapi.explanations import denies

TOTAL_SECONDS = 60.0
LARGEST_ANSWER_BYTES = 1 << 22
PROXY_STATUS = re.compile(r"^(\d{3})\b.*$")
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
BODY_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class Api:
    """RunAPI at one address, with one key or none.

    `heard_at` is when RunAPI last answered anything sensible, on the event loop's clock.
    """

    def __init__(self, connection: Connection, base_url: str, api_key: SecretStr | None) -> None:
        self.connection = connection
        self.api_key = api_key
        self.origin = base_url
        self.heard_at = -math.inf
        self.key_id = hashlib.sha256(api_key.get_secret_value().encode()).hexdigest()[:16] if api_key else ""

    def check_ready(self) -> None:
        """Raise `MissingApiKey` or `ProxyUnusable` if this machine is not set up to ask anything."""
        if self.api_key is None:
            raise MissingApiKey
        self.connection.check(self.origin)

    async def post(self, path: str, body: Json) -> Json:
        """Send a JSON object about no task and give the one in the answer; raise a `LumaError`, charged "no"."""
        return self.answered(await self.send("POST", path, body))

    async def get(self, path: str) -> Json:
        """Give the JSON object at a path that is about no task; raise a `LumaError`, charged "no"."""
        return self.answered(await self.send("GET", path))

    def answered(self, response: httpx.Response) -> Json:
        """Give the JSON object of an answer that is about no task; raise a `LumaError`, charged "no"."""
        body = json_object(response)
        if not response.is_success or denies(body):
            raise aside(self.refusal(response))
        return body

    async def send(
        self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Ask with the key, and give any answer that comes in time; raise `MissingApiKey` or `NetworkFailure`."""
        self.check_ready()
        key = cast("SecretStr", self.api_key).get_secret_value()
        sent = {"Accept": "application/json", "Authorization": f"Bearer {key}", **(headers or {})}
        request = self.connection.http.build_request(method, self.origin + path, json=body, headers=sent)
        return await self.ask(request, TOTAL_SECONDS)

    async def ask_publicly(self, path: str, headers: Mapping[str, str], seconds: float) -> httpx.Response:
        """Ask without the key, and give any answer that comes in time; raise `NetworkFailure`."""
        self.connection.check(self.origin)
        request = self.connection.http.build_request("GET", self.origin + path, headers=headers)
        return await self.ask(request, seconds)

    async def ask(self, request: httpx.Request, seconds: float) -> httpx.Response:
        """Send a request to RunAPI, and remember when it answered."""
        with anyio.move_on_after(seconds):
            response = await self.exchange(self.connection.http, request)
            if not response.is_server_error:
                self.heard_at = anyio.current_time()
            return response
        raise NetworkFailure(f"{request.url.host} did not finish its answer in {seconds:.0f} seconds.")

    async def exchange(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        """Send a request to wherever it goes, and read the answer whole; raise `NetworkFailure` or `BadAnswer`."""
        try:
            response = await client.send(request, follow_redirects=False, stream=True)
            try:
                return await bounded(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, ValueError) as error:  # the latter for a redirect to what is no address
            raise network_failure(error, request.url.host, self.api_key) from error

    def refusal(self, response: httpx.Response) -> LumaError:
        """Turn an answer that is no success into the error that fits it."""
        return refusal(response, hidden=self.api_key)


def aside(error: LumaError) -> LumaError:
    """Say of a question that is about no task what went wrong with it: nothing can be charged or missing then."""
    if isinstance(error, Conflict | TaskNotFound):
        return ServiceUnavailable(error.message)
    return error


async def bounded(response: httpx.Response) -> httpx.Response:
    """Read an answer whole, unless it is larger than any answer of an API, or packed so; raise `BadAnswer` for that."""
    if "," in response.headers.get("content-encoding", ""):
        raise BadAnswer(f"{response.request.url.host} sent an answer that is packed more than once.")
    content = bytearray()
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > LARGEST_ANSWER_BYTES:
                raise BadAnswer(f"{response.request.url.host} sent an answer that is too large.")
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in BODY_HEADERS]
    return httpx.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)


def network_failure(error: httpx.HTTPError | ValueError, host: str, hidden: SecretStr | None) -> NetworkFailure:
    """Say in one sentence what broke on the way to `host`."""
    causes: dict[type[httpx.HTTPError], str] = {
        httpx.ConnectTimeout: "did not accept a connection in time",
        httpx.PoolTimeout: "is busy with this server's other requests",
        httpx.TimeoutException: "did not answer in time",
        httpx.ProxyError: "could not be reached through the proxy",
        httpx.ConnectError: "could not be reached",
    }
    cause = next((words for kind, words in causes.items() if isinstance(error, kind)), "broke the connection")
    detail = safe_text(str(error)) or type(error).__name__
    if isinstance(error, httpx.ProxyError):
        detail = PROXY_STATUS.sub(r"\1", detail)  # what a proxy says beside it may repeat a password
    failure = NetworkFailure(without_secret(f"{host} {cause} ({detail}).", hidden))
    failure.sent = not isinstance(error, NEVER_SENT)
    return failure
