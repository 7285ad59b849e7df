"""RunAPI's endpoints as this server needs them: tasks, files, account. Contract: sections 1, 2, 5 and 6."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import anyio
import httpx

from luma_mcp.api import Api
from luma_mcp.errors import (
    BadAnswer,
    InvalidRequest,
    LumaError,
    NetworkFailure,
    ProxyUnusable,
    RateLimited,
    ServiceUnavailable,
    TaskNotFound,
    WrongAddress,
)
from luma_mcp.models import MODEL, Reading, Status, Task
from luma_mcp.money import Balance, Price
from luma_mcp.readings import (
    balance_in,
    is_about_task,
    is_link,
    lifetime_in,
    price_in,
    reading,
    refuses,
    status_in,
    task_id_in,
)
from luma_mcp.refusals import retry_after_seconds
from luma_mcp.sources import LONGEST_URL, is_port, is_public_host
from luma_mcp.untrusted import child, json_object, text, without_secret

REACH_SECONDS = 5.0
PRICE_SECONDS = 20.0
LONGEST_UPLOAD_SECONDS = 3600.0
UPLOAD_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
TOO_LARGE = 413
NOT_MODIFIED = 304
TASKS = "/api/v1/luma/modify_video"
PRICES = f"/api/v1/price_schedules?service=luma&action=modify_video&model={MODEL}"
BALANCE = "/api/v1/me/balance"
SIGNED_ID = re.compile(r"[\x21-\x7e]{1,4096}")
ETAG = re.compile(r"[\x20-\x7e]{1,200}")
WATERMARK = b"watermark"
WATERMARK_HINT = (
    "This RunAPI takes no boolean watermark: repeat the call without watermark. Nothing was charged for this one."
)
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


@dataclass(frozen=True, slots=True)
class Stored:
    """Where RunAPI finds an uploaded file, and for how many seconds after that was asked (contract 5.1)."""

    url: str
    seconds: float


class RunAPI(Api):
    """The API. Errors raised are `LumaError`s whose `charged` is about the task asked for."""

    _priced: tuple[str, Price] | None = None

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def create(self, task: Task) -> Accepted:
        """Submit a task under its idempotency key; a repetition under it cannot charge twice (contract 1.4)."""
        try:
            response = await self.send("POST", TASKS, submission(task), {"Idempotency-Key": task.key})
        except NetworkFailure as error:
            never_sent = isinstance(error, ProxyUnusable) or isinstance(error.__cause__, NEVER_SENT)
            error.charged = "no" if never_sent else "unknown"
            raise
        body = json_object(response)
        taken = response.is_success and not refuses(body)
        if task_id := task_id_in(body if taken else {}, response.headers):
            return Accepted(task_id, status_in(body))
        refused = in_doubt(self.refusal(response))
        if isinstance(refused, TaskNotFound):
            raise WrongAddress(response.request.url.host)
        if isinstance(refused, InvalidRequest) and task.request.watermark and WATERMARK in response.content.lower():
            refused.hint = WATERMARK_HINT
        raise refused

    async def read(self, task_id: str) -> Reading:
        """Ask for the state of a task (contract 2)."""
        response = await self.send("GET", f"{TASKS}/{quote(task_id, safe='')}")
        body = json_object(response)
        if not response.is_success or (body and not is_about_task(body)):
            raise self.refusal(response)
        found = reading(body, retry_after_seconds(response.headers), self.api_key)
        if any(url != without_secret(url, self.api_key) for url in found.video_urls):
            raise BadAnswer("RunAPI's answer about the task repeats the key.")
        return found

    # -- files --------------------------------------------------------------------------------------------------------

    async def prepare_upload(self, name: str, size: int, checksum: str) -> UploadTarget:
        """Ask where to put a file of `size` bytes whose MD5 in base64 is `checksum` (contract 5.1)."""
        answer = await self.post("/api/v1/files/prepare", {"filename": name, "byte_size": size, "checksum": checksum})
        target = UploadTarget(
            text(answer.get("signed_id")),
            text(answer.get("upload_url")),
            {name: str(value) for name, value in child(answer, "headers").items()},
        )
        if not target.url or not SIGNED_ID.fullmatch(target.signed_id) or len(target.url) > LONGEST_URL:
            raise BadAnswer("RunAPI did not say where to upload the file.")
        return target

    async def put_upload(self, target: UploadTarget, size: int, content: AsyncIterator[bytes]) -> None:
        """Send the bytes to their target: without the key, with exactly the headers given, once."""
        storage = self.connection.storage
        try:
            headers = httpx.Headers(target.headers)
            headers["Content-Length"] = str(size)
            request = storage.build_request("PUT", target.url, headers=headers, content=content, timeout=UPLOAD_TIMEOUT)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise BadAnswer("RunAPI named an upload address or headers that cannot be used.") from error
        self._check_upload_host(request.url)
        with anyio.move_on_after(LONGEST_UPLOAD_SECONDS) as bound:
            response = await self.exchange(storage, request)
            check_taken(response, self.refusal(response))
        if bound.cancelled_caught:
            raise NetworkFailure(f"{request.url.host} did not take the file in {LONGEST_UPLOAD_SECONDS:.0f} seconds.")

    async def confirm_upload(self, target: UploadTarget) -> Stored:
        """Finish an upload and tell where RunAPI finds the file, for about an hour."""
        answer = await self.post("/api/v1/files/confirm", {"signed_id": target.signed_id})
        if is_link(url := text(answer.get("url"))):
            return Stored(url, lifetime_in(answer))
        raise BadAnswer("RunAPI did not say where the uploaded file is.")

    def _check_upload_host(self, url: httpx.URL) -> None:
        """Send files to private addresses only if RunAPI itself is at one, as when it is played on this machine."""
        try:
            near = is_public_host(url.host) or not is_public_host(httpx.URL(self.origin).host)
        except ValueError:  # a host in a form that no host can have
            near = False
        if url.scheme not in ("http", "https") or url.userinfo or not near or not is_port(url.port):
            raise BadAnswer("RunAPI named an upload address that files are not sent to.")

    # -- account ------------------------------------------------------------------------------------------------------

    async def price(self) -> Price:
        """Ask what one task costs; public, so it takes no key, and unchanged it is not sent again (contract 6)."""
        known = {"If-None-Match": self._priced[0]} if self._priced else {}
        response = await self.ask_publicly(PRICES, {"Accept": "application/json", **known}, PRICE_SECONDS)
        if self._priced and response.status_code == NOT_MODIFIED:
            return self._priced[1]
        if response.status_code == NOT_MODIFIED:
            raise BadAnswer("RunAPI says that the price has not changed, but never told it.")
        price = price_in(self.answered(response))
        etag = response.headers.get("etag", "")
        self._priced = (etag, price) if ETAG.fullmatch(etag) else None
        return price

    async def balance(self) -> Balance:
        """Ask what is left on the account and what was spent (contract 6)."""
        return balance_in(await self.get(BALANCE))

    async def reach(self) -> None:
        """Ask for something public, without the key, to learn whether RunAPI answers at all (contract 6).

        Raises `NetworkFailure` or `ServiceUnavailable`.
        """
        response = await self.ask_publicly(PRICES, {}, REACH_SECONDS)
        if response.is_server_error:
            raise self.refusal(response)


def check_taken(response: httpx.Response, refusal: LumaError) -> None:
    """Raise `InvalidRequest` for a file that is too large, and `ServiceUnavailable` for anything else not taken."""
    if response.status_code == TOO_LARGE:
        raise InvalidRequest(f"The file is too large for RunAPI: {refusal.message}", hint="Give a smaller clip.")
    if not response.is_success:
        raise ServiceUnavailable(f"The upload was not taken: {refusal.message}")


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
