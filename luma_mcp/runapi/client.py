"""RunAPI's endpoints as this server needs them: tasks, files, account; bounded answers, and failures as our errors.

Contract: sections 1, 2, 5 and 6.
"""

import hashlib
import hmac
import logging
import math
import re
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, unquote

import anyio
import httpx
from pydantic import SecretStr

from luma_mcp.core.addresses import MAX_URL_LENGTH
from luma_mcp.core.errors import (
    BadAnswer,
    Conflict,
    InvalidRequest,
    KeyReplaced,
    LumaError,
    MissingApiKey,
    NetworkFailure,
    RateLimited,
    ServiceUnavailable,
    TaskNotFound,
    UploadRefused,
    WrongAddress,
)
from luma_mcp.core.models import MODEL, PRICE_USD, Balance, Price, Status, Task, TaskSnapshot
from luma_mcp.core.text import Json, child, json_object, redact_secret, stripped_string
from luma_mcp.runapi.connection import (
    HttpClients,
    network_failure,
    read_bounded,
)
from luma_mcp.runapi.error_map import error_from_response, is_error_body, quoted_error_text, retry_after_seconds
from luma_mcp.runapi.responses import (
    balance_in,
    conflict_task_id_in,
    is_about_task,
    is_refusal,
    is_web_url,
    lifetime_in,
    parse_task,
    price_in,
    status_in,
    task_id_in,
    told_seconds_in,
)
from luma_mcp.runapi.ssrf import DownloadGuard, UploadGuard
from luma_mcp.runapi.upload_targets import UploadTarget, put_file

TOTAL_SECONDS = 60.0
REACH_SECONDS = 5.0
PRICE_SECONDS = 20.0
MAX_UPLOAD_SECONDS = 3600.0
RETRYABLE_UPLOAD_STATUSES = frozenset((HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS))
MODIFY_VIDEO_PATH = "/api/v1/luma/modify_video"
PRICES_PATH = f"/api/v1/price_schedules?service=luma&action=modify_video&model={MODEL}"
BALANCE_PATH = "/api/v1/me/balance"
SIGNED_ID = re.compile(r"[\x21-\x7e]{1,4096}")
ETAG = re.compile(r"[\x20-\x7e]{1,200}")
WATERMARK = b"watermark"
WATERMARK_HINT = (
    "This RunAPI takes no boolean watermark: repeat the call without watermark. Nothing was charged for this one."
)
BEARER = "Bearer "

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """RunAPI's answer to a submission."""

    task_id: str
    status: Status
    replayed: bool  # an earlier request under the same key made the task


@dataclass(frozen=True, slots=True)
class Stored:
    """An uploaded file at RunAPI (contract 5.1)."""

    url: str
    seconds: float  # for which it is kept, from when this was asked


class RunAPI:
    """The API at one address, with one key or none.

    Methods raise `LumaError`s, whose `charged` is about the task. `allow_private` lets files come from and go to
    private addresses; `download_guard` checks where they come from. `reload_key` is asked for a key when there is none,
    and when RunAPI refuses the one in use (401).
    """

    def __init__(
        self,
        connection: HttpClients,
        base_url: str,
        api_key: SecretStr | None,
        *,
        allow_private: bool = False,
        reload_key: Callable[[], SecretStr | None] = lambda: None,
    ) -> None:
        self.connection = connection
        self.origin = base_url
        self._address = httpx.URL(base_url)
        self.api_key = api_key
        self._reload_key = reload_key
        self._refused_key_ids: set[str] = set()  # of keys that others took the place of
        self.told_seconds: float | None = None  # that a generation takes: the sandbox tells, RunAPI does not
        self.last_answer_at = -math.inf  # of a status below 500, on the event loop's clock
        self.download_guard = DownloadGuard(trusted=base_url, allow_private=allow_private)
        self._upload_guard = UploadGuard(trusted=base_url, allow_private=allow_private)
        self._priced: tuple[str, Price] | None = None
        self.known_price_usd = PRICE_USD  # what RunAPI last said that a task costs, else what its documentation says

    @property
    def key_id(self) -> str:
        """Tell keys apart without showing them; empty without a key."""
        return hashlib.sha256(self.api_key.get_secret_value().encode()).hexdigest()[:16] if self.api_key else ""

    @property
    def account(self) -> tuple[str, str]:
        """Give the address, and the id of the key: an idempotency key means nothing to another account."""
        return self.origin, self.key_id

    def derive_secret(self, purpose: str) -> bytes:
        """Give a secret that all servers with this key share, and that tells nothing about the key."""
        key = self.api_key.get_secret_value() if self.api_key else ""
        return hmac.digest(key.encode(), f"luma_mcp {purpose}".encode(), "sha256")

    def look_for_key(self) -> None:
        """Take the key that there may be by now, if there was none."""
        if self.api_key is None:
            self.api_key = self._reload_key()

    def check_ready(self) -> None:
        """Raise `MissingApiKey` or `ProxyUnusable` if no request can be sent from here."""
        self.look_for_key()
        if self.api_key is None:
            raise MissingApiKey
        self.connection.check_proxy(self._address)

    def has_replaced(self, key_id: str) -> bool:
        """Tell whether RunAPI refused the key with this id, and another one took its place."""
        return key_id in self._refused_key_ids

    def _replace_key(self, refused: SecretStr | None) -> bool:
        """Look for a key in place of a refused one; tell whether there is another one now."""
        if self.api_key == refused and (found := self._reload_key()) not in (None, refused):
            self._refused_key_ids.add(self.key_id)
            self.api_key = found
            logger.info("RunAPI refused the key, so the new one in RunAPI's own file is used")
        return self.api_key != refused

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def create_task(self, task: Task) -> Accepted:
        """Submit a task under its idempotency key; a repetition under it cannot charge twice (contract 1.4).

        A conflict about the key is about this task, as keys are fresh and what is sent under one never changes: it may
        name the task, and else an earlier request is still being worked on (`Conflict`, which passes). `KeyReplaced`
        leaves it to the caller to write down that it goes out again with another RunAPI key.
        """
        try:
            response = await self._send_once("POST", MODIFY_VIDEO_PATH, submission(task), {"Idempotency-Key": task.key})
        except NetworkFailure as error:
            error.charged = "unknown" if error.sent else "no"
            raise
        body = json_object(response)
        taken = response.is_success and not is_refusal(body)
        held = conflict_task_id_in(body, response.headers) if response.status_code == HTTPStatus.CONFLICT else ""
        if task_id := held or task_id_in(body if taken else {}, response.headers):
            check_without_key(key_of(response.request), task_id)
            return Accepted(task_id, status_in(body), replayed=bool(held) or body.get("task_replayed") is True)
        refused = mark_charge_unknown(self._error_from(response))
        if is_key_refused(response) and self._replace_key(key_of(response.request)):
            raise KeyReplaced(refused.message)
        if isinstance(refused, TaskNotFound):
            raise WrongAddress(response.request.url.host)
        if isinstance(refused, InvalidRequest) and task.request.watermark and WATERMARK in response.content.lower():
            refused.hint = WATERMARK_HINT
        raise refused

    async def read_task(self, task_id: str) -> TaskSnapshot:
        """Ask for the state of a task (contract 2)."""
        response = await self.send_with_key("GET", f"{MODIFY_VIDEO_PATH}/{quote(task_id, safe='')}")
        body = json_object(response)
        if not response.is_success or (body and not is_about_task(body)):
            raise self._error_from(response)
        key = key_of(response.request)
        found = parse_task(body, retry_after_seconds(response.headers), key)
        check_without_key(key, *found.video_urls)
        return found

    # -- files --------------------------------------------------------------------------------------------------------

    async def prepare_upload(self, name: str, size: int, checksum: str) -> UploadTarget:
        """Ask where to put a file of `size` bytes whose MD5 in base64 is `checksum` (contract 5.1)."""
        answer = await self._post("/api/v1/files/prepare", {"filename": name, "byte_size": size, "checksum": checksum})
        target = UploadTarget(
            stripped_string(answer.get("signed_id")),
            stripped_string(answer.get("upload_url")),
            {name: str(value) for name, value in child(answer, "headers").items()},
        )
        if not target.url or not SIGNED_ID.fullmatch(target.signed_id) or len(target.url) > MAX_URL_LENGTH:
            raise BadAnswer("RunAPI did not say where to upload the file.")
        return target

    async def put_upload(self, target: UploadTarget, size: int, content: AsyncIterable[bytes]) -> None:
        """Send `size` bytes to their target, without the key; `content` is read anew for each redirect.

        Raises `InvalidRequest` for a file that is too large, `UploadRefused` for what the storage would not take again
        either, `ServiceUnavailable` or `NetworkFailure` for what may pass.
        """
        host = "RunAPI's storage"
        try:
            with anyio.move_on_after(MAX_UPLOAD_SECONDS) as bound:
                response = await put_file(self.connection.storage, self._upload_guard, target, size, content)
                check_upload_response(response, self.api_key)
        except httpx.HTTPError as error:
            raise network_failure(error, host, self.api_key) from error
        if bound.cancelled_caught:
            raise NetworkFailure(f"{host} did not take the file in {MAX_UPLOAD_SECONDS:.0f} seconds.")

    async def confirm_upload(self, target: UploadTarget) -> Stored:
        """Finish an upload, and give where RunAPI finds the file."""
        answer = await self._post("/api/v1/files/confirm", {"signed_id": target.signed_id})
        if is_web_url(url := stripped_string(answer.get("url"))):
            return Stored(url, lifetime_in(answer))
        raise BadAnswer("RunAPI did not say where the uploaded file is.")

    # -- account ------------------------------------------------------------------------------------------------------

    async def price(self) -> Price:
        """Ask what one task costs; public, so it takes no key, and unchanged it is not sent again (contract 6)."""
        known = {"If-None-Match": self._priced[0]} if self._priced else {}
        response = await self.get_without_key(PRICES_PATH, {"Accept": "application/json", **known}, PRICE_SECONDS)
        if self._priced and response.status_code == HTTPStatus.NOT_MODIFIED:
            return self._priced[1]
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            raise BadAnswer("RunAPI says that the price has not changed, but never told it.")
        price = price_in(self._object_or_raise(response))
        etag = response.headers.get("etag", "")
        self._priced = (etag, price) if ETAG.fullmatch(etag) else None
        self.known_price_usd = price.usd
        return price

    async def balance(self) -> Balance:
        """Ask what is left on the account and what was spent (contract 6)."""
        return balance_in(await self._get(BALANCE_PATH))

    async def check_reachable(self) -> None:
        """Ask for something public, without the key (contract 6); raise `NetworkFailure` or `ServiceUnavailable`."""
        response = await self.get_without_key(PRICES_PATH, {}, REACH_SECONDS)
        if response.is_server_error:
            raise self._error_from(response)

    # -- requests ------------------------------------------------------------------------------------------------------

    async def _post(self, path: str, body: Json) -> Json:
        return self._object_or_raise(await self.send_with_key("POST", path, body))

    async def _get(self, path: str) -> Json:
        return self._object_or_raise(await self.send_with_key("GET", path))

    def _object_or_raise(self, response: httpx.Response) -> Json:
        """Give the JSON object of an answer that is about no task; raise a `LumaError`, charged "no"."""
        body = json_object(response)
        if not response.is_success or is_error_body(body):
            raise as_taskless_error(self._error_from(response))
        return body

    async def send_with_key(
        self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send a request with the key, and give any response that comes in time; a new key is tried once.

        Raises `MissingApiKey`, `ProxyUnusable`, `NetworkFailure` or `BadAnswer`.
        """
        response = await self._send_once(method, path, body, headers)
        if is_key_refused(response) and self._replace_key(key_of(response.request)):
            return await self._send_once(method, path, body, headers)
        return response

    async def _send_once(
        self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        self.check_ready()
        key = cast("SecretStr", self.api_key).get_secret_value()
        sent = {"Accept": "application/json", "Authorization": f"{BEARER}{key}", **(headers or {})}
        request = self.connection.http.build_request(method, self.origin + path, json=body, headers=sent)
        response = await self._ask(request, TOTAL_SECONDS)
        self.told_seconds = told_seconds_in(response.headers, self.told_seconds)
        return response

    async def get_without_key(self, path: str, headers: Mapping[str, str], seconds: float) -> httpx.Response:
        """Send a GET without the key, and give any response within `seconds`.

        Raises `ProxyUnusable`, `NetworkFailure` or `BadAnswer`.
        """
        self.connection.check_proxy(self._address)
        request = self.connection.http.build_request("GET", self.origin + path, headers=headers)
        return await self._ask(request, seconds)

    async def _ask(self, request: httpx.Request, seconds: float) -> httpx.Response:
        with anyio.move_on_after(seconds):
            response = await self._exchange(request)
            if not response.is_server_error:
                self.last_answer_at = anyio.current_time()
            return response
        raise NetworkFailure(f"{request.url.host} did not finish its answer in {seconds:.0f} seconds.")

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the response whole; raise `NetworkFailure` or `BadAnswer`."""
        try:
            response = await self.connection.exchange(request)
            try:
                return await read_bounded(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, ValueError) as error:  # the latter for a redirect to what is no address
            raise network_failure(error, request.url.host, key_of(request) or self.api_key) from error

    def _error_from(self, response: httpx.Response) -> LumaError:
        return error_from_response(response, hidden=key_of(response.request) or self.api_key)


def key_of(request: httpx.Request) -> SecretStr | None:
    """Give the key that a request was sent with: by now there may be another one."""
    key = request.headers.get("authorization", "").removeprefix(BEARER)
    return SecretStr(key) if key else None


def is_key_refused(response: httpx.Response) -> bool:
    return response.status_code == HTTPStatus.UNAUTHORIZED


def check_without_key(key: SecretStr | None, *words: str) -> None:
    """Raise `BadAnswer`, charged "unknown", for what would be shown and holds the key, in whatever encoding."""
    for plain in map(unquote, words):
        if plain != redact_secret(plain, key):
            raise BadAnswer("RunAPI's answer about the task repeats the key.", charged="unknown")


def check_upload_response(response: httpx.Response, hidden: SecretStr | None) -> None:
    """Raise `InvalidRequest` for a file that is too large, `UploadRefused` for one not taken, else what may pass."""
    if response.is_success:
        return
    said = redact_secret(f"its storage answered {response.status_code}: {quoted_error_text(response)}", hidden)
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise InvalidRequest(f"The file is too large for RunAPI: {said}", hint="Give a smaller clip.")
    passing = response.is_server_error or response.status_code in RETRYABLE_UPLOAD_STATUSES
    error = (ServiceUnavailable if passing else UploadRefused)(f"RunAPI did not take the upload: {said}")
    error.retry_after = retry_after_seconds(response.headers)
    raise error


def mark_charge_unknown(error: LumaError) -> LumaError:
    """Mark failures on RunAPI's side, which leave open whether a submission was accepted; rate limiting does not."""
    if error.transient and not isinstance(error, RateLimited):
        error.charged = "unknown"
    return error


def submission(task: Task) -> dict[str, Any]:
    """Build the body of a create request; optional fields only if they are set (contract 1.1)."""
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


def as_taskless_error(error: LumaError) -> LumaError:
    """Replace errors about tasks where a question is about none: nothing can be charged or missing then."""
    if isinstance(error, Conflict | TaskNotFound):
        return ServiceUnavailable(error.message)
    return error
