"""RunAPI over HTTP: one method an endpoint, and the key to one origin only. Contract: sections 1, 2 and 5."""

import hashlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import quote

import anyio
import httpx
from pydantic import SecretStr

from luma_mcp.connection import Connection
from luma_mcp.errors import (
    BadAnswer,
    LumaError,
    MissingApiKey,
    NetworkFailure,
    RateLimited,
    ServiceUnavailable,
    WrongAddress,
)
from luma_mcp.models import MODEL, Reading, Status, Task
from luma_mcp.readings import reading, status_in, task_id_in
from luma_mcp.refusals import refusal, retry_after_seconds
from luma_mcp.untrusted import Json, child, json_object, safe_text, text, without_secret

TOTAL_SECONDS = 60.0
REACH_SECONDS = 5.0
LARGEST_ANSWER_BYTES = 1 << 22
BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
TASKS = "/api/v1/luma/modify_video"
PRICES = f"/api/v1/price_schedules?service=luma&action=modify_video&model={MODEL}"
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Accepted:
    """RunAPI's answer to a submission."""

    task_id: str
    status: Status


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """Where the bytes of a local file go (contract 5.1); single use."""

    signed_id: str
    url: str
    headers: dict[str, str]


class RunAPI:
    """The API as this server needs it. Errors raised are `LumaError`s whose `charged` is about the task asked for.

    `heard_at` is when RunAPI last answered anything sensible, on the event loop's clock.
    """

    def __init__(self, connection: Connection, base_url: str, api_key: SecretStr | None) -> None:
        self._connection = connection
        self._base_url = base_url
        self._api_key = api_key
        self.origin = base_url
        self.heard_at = -math.inf
        self.key_id = hashlib.sha256(api_key.get_secret_value().encode()).hexdigest()[:16] if api_key else ""

    def check_ready(self) -> None:
        """Raise `MissingApiKey` or `ProxyUnusable` if this machine is not set up to ask anything."""
        if self._api_key is None:
            raise MissingApiKey
        self._connection.check()

    async def create(self, task: Task) -> Accepted:
        """Submit a task under its idempotency key; a repetition under it cannot charge twice (contract 1.4)."""
        try:
            response = await self._send("POST", TASKS, submission(task), {"Idempotency-Key": task.key})
        except NetworkFailure as error:
            error.charged = "no" if isinstance(error.__cause__, NEVER_SENT) else "unknown"
            raise
        body = json_object(response)
        if task_id := task_id_in(body if response.is_success else {}, response.headers):
            return Accepted(task_id, status_in(body))
        if response.is_success:
            raise BadAnswer("RunAPI took the submission but named no task.", charged="unknown")
        if response.status_code == 404:
            raise WrongAddress(response.request.url.host)
        raise in_doubt(self._refusal(response))

    async def read(self, task_id: str) -> Reading:
        """Ask for the state of a task (contract 2)."""
        response = await self._send("GET", f"{TASKS}/{quote(task_id, safe='')}")
        if not response.is_success:
            raise self._refusal(response)
        found = reading(json_object(response), retry_after_seconds(response.headers))
        if any(url != without_secret(url, self._api_key) for url in found.video_urls):
            raise BadAnswer("RunAPI's answer about the task repeats the key.")
        return replace(found, error=without_secret(found.error, self._api_key))

    async def reach(self) -> None:
        """Ask for something public, without the key, to learn whether RunAPI answers at all (contract 6).

        Raises `NetworkFailure` or `ServiceUnavailable`.
        """
        request = self._connection.http.build_request("GET", self._base_url + PRICES)
        with anyio.move_on_after(REACH_SECONDS):
            response = await self._exchange(request)
            if response.is_server_error:
                raise self._refusal(response)
            self.heard_at = anyio.current_time()
            return
        raise NetworkFailure(f"{request.url.host} did not answer in {REACH_SECONDS:.0f} seconds.")

    async def prepare_upload(self, name: str, size: int, checksum: str) -> UploadTarget:
        """Ask where to put a file of `size` bytes whose MD5 in base64 is `checksum` (contract 5.1)."""
        answer = await self._post("/api/v1/files/prepare", {"filename": name, "byte_size": size, "checksum": checksum})
        target = UploadTarget(
            text(answer.get("signed_id")),
            text(answer.get("upload_url")),
            {name: str(value) for name, value in child(answer, "headers").items()},
        )
        if not (target.signed_id and target.url):
            raise BadAnswer("RunAPI did not say where to upload the file.")
        return target

    async def put_upload(self, target: UploadTarget, size: int, content: AsyncIterator[bytes]) -> None:
        """Send the bytes to their target: without the key, with exactly the headers given, once."""
        headers = {**target.headers, "Content-Length": str(size)}
        try:
            request = self._connection.http.build_request("PUT", target.url, headers=headers, content=content)
        except httpx.InvalidURL as error:
            raise BadAnswer("RunAPI named an upload address that is no URL.") from error
        response = await self._exchange(request)
        if not response.is_success:
            said = self._refusal(response).message
            raise ServiceUnavailable(f"The upload was not taken, and starts again: {said}")

    async def confirm_upload(self, target: UploadTarget) -> str:
        """Finish an upload and give the URL under which RunAPI finds the file for about an hour."""
        answer = await self._post("/api/v1/files/confirm", {"signed_id": target.signed_id})
        if url := text(answer.get("url")):
            return url
        raise BadAnswer("RunAPI did not say where the uploaded file is.")

    async def _post(self, path: str, body: Json) -> Json:
        response = await self._send("POST", path, body)
        if not response.is_success:
            raise self._refusal(response)
        return json_object(response)

    async def _send(
        self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        self.check_ready()
        key = cast("SecretStr", self._api_key).get_secret_value()
        sent = {"Accept": "application/json", "Authorization": f"Bearer {key}", **(headers or {})}
        request = self._connection.http.build_request(method, self._base_url + path, json=body, headers=sent)
        with anyio.move_on_after(TOTAL_SECONDS):
            response = await self._exchange(request)
            if not response.is_server_error:
                self.heard_at = anyio.current_time()
            return response
        raise NetworkFailure(f"{request.url.host} did not finish its answer in {TOTAL_SECONDS:.0f} seconds.")

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._connection.http.send(request, follow_redirects=False, stream=True)
            try:
                return await bounded(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise network_failure(error, request.url.host, self._api_key) from error

    def _refusal(self, response: httpx.Response) -> LumaError:
        return refusal(response, hidden=self._api_key)


def in_doubt(error: LumaError) -> LumaError:
    """Mark what leaves open whether a submission was accepted: trouble on RunAPI's side, but not a refusal for pace."""
    if error.transient and not isinstance(error, RateLimited):
        error.charged = "unknown"
    return error


def submission(task: Task) -> dict[str, Any]:
    """Build the body of a create request: optional fields only when they say something (contract 1.1)."""
    wanted = task.request
    body: dict[str, Any] = {
        "model": wanted.model,
        "prompt": wanted.prompt,
        "source_video_url": task.source_url or wanted.source,
    }
    if callback := wanted.callback_url or task.callback:
        body["callback_url"] = callback
    if wanted.watermark:
        body["watermark"] = True
    return body


async def bounded(response: httpx.Response) -> httpx.Response:
    """Read an answer whole, unless it is larger than any answer of an API; raise `BadAnswer` for that."""
    content = bytearray()
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > LARGEST_ANSWER_BYTES:
                raise BadAnswer(f"{response.request.url.host} sent an answer that is too large.")
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in BODY_HEADERS]
    return httpx.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)


def network_failure(error: httpx.HTTPError, host: str, hidden: SecretStr | None) -> NetworkFailure:
    """Say in one sentence what broke on the way to `host`."""
    causes: dict[type[httpx.HTTPError], str] = {
        httpx.ConnectTimeout: "did not accept a connection in time",
        httpx.PoolTimeout: "is busy with this server's other requests",
        httpx.TimeoutException: "did not answer in time",
        httpx.ProxyError: "could not be reached through the proxy",
        httpx.ConnectError: "could not be reached",
    }
    cause = next((words for kind, words in causes.items() if isinstance(error, kind)), "broke the connection")
    detail = without_secret(safe_text(str(error)), hidden) or type(error).__name__
    return NetworkFailure(f"{host} {cause} ({detail}).")
