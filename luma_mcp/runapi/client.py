"""RunAPI's endpoints as this server needs them: tasks, files, account. Contract: sections 1, 2, 5 and 6."""

import re
from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import anyio
import httpx
from pydantic import SecretStr

from luma_mcp.core.addresses import LONGEST_URL
from luma_mcp.core.errors import (
    BadAnswer,
    InvalidRequest,
    LumaError,
    NetworkFailure,
    RateLimited,
    ServiceUnavailable,
    TaskNotFound,
    WrongAddress,
)
from luma_mcp.core.models import MODEL, Reading, Status, Task
from luma_mcp.core.money import Balance, Price
from luma_mcp.core.storage_errors import UploadRefused
from luma_mcp.core.text import child, json_object, text, without_secret
from luma_mcp.runapi.api import Api, network_failure
from luma_mcp.runapi.connection import Connection
from luma_mcp.runapi.error_map import explanation, retry_after_seconds
from luma_mcp.runapi.responses import (
    balance_in,
    held_task_id_in,
    is_about_task,
    is_link,
    lifetime_in,
    price_in,
    reading,
    refuses,
    status_in,
    task_id_in,
)
from luma_mcp.runapi.ssrf import PublicNetwork, UploadNetwork
from luma_mcp.runapi.upload_targets import UploadTarget, put

REACH_SECONDS = 5.0
PRICE_SECONDS = 20.0
LONGEST_UPLOAD_SECONDS = 3600.0
TOO_LARGE = 413
PASSING = frozenset((408, 425, 429))
NOT_MODIFIED = 304
CONFLICT = 409
TASKS = "/api/v1/luma/modify_video"
PRICES = f"/api/v1/price_schedules?service=luma&action=modify_video&model={MODEL}"
BALANCE = "/api/v1/me/balance"
SIGNED_ID = re.compile(r"[\x21-\x7e]{1,4096}")
ETAG = re.compile(r"[\x20-\x7e]{1,200}")
WATERMARK = b"watermark"
WATERMARK_HINT = (
    "This RunAPI takes no boolean watermark: repeat the call without watermark. Nothing was charged for this one."
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """RunAPI's answer to a submission, which an earlier request under the same key may have made."""

    task_id: str
    status: Status
    replayed: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """Where RunAPI finds an uploaded file, and for how many seconds after that was asked (contract 5.1)."""

    url: str
    seconds: float


class RunAPI(Api):
    """The API. Errors raised are `LumaError`s whose `charged` is about the task asked for.

    `allow_private` lets files come from and go to private addresses; `network` is what looks at where they come from.
    """

    _priced: tuple[str, Price] | None = None

    def __init__(
        self, connection: Connection, base_url: str, api_key: SecretStr | None, *, allow_private: bool = False
    ) -> None:
        super().__init__(connection, base_url, api_key)
        self.network = PublicNetwork(trusted=base_url, allow_private=allow_private)
        self._upload_network = UploadNetwork(trusted=base_url, allow_private=allow_private)

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def create(self, task: Task) -> Accepted:
        """Submit a task under its idempotency key; a repetition under it cannot charge twice (contract 1.4).

        A conflict about the key is about this task, as keys are fresh and what is sent under one never changes: it may
        name the task, and else an earlier request is still being worked on (`Conflict`, which passes).
        """
        try:
            response = await self.send("POST", TASKS, submission(task), {"Idempotency-Key": task.key})
        except NetworkFailure as error:
            error.charged = "unknown" if error.sent else "no"
            raise
        body = json_object(response)
        taken = response.is_success and not refuses(body)
        held = held_task_id_in(body, response.headers) if response.status_code == CONFLICT else ""
        if task_id := held or task_id_in(body if taken else {}, response.headers):
            self._check_without_key(task_id)
            return Accepted(task_id, status_in(body), replayed=bool(held) or body.get("task_replayed") is True)
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
        self._check_without_key(*found.video_urls)
        return found

    def _check_without_key(self, *words: str) -> None:
        """Raise `BadAnswer`, charged "unknown", for what would be shown and holds the key, in whatever encoding."""
        for plain in map(unquote, words):
            if plain != without_secret(plain, self.api_key):
                raise BadAnswer("RunAPI's answer about the task repeats the key.", charged="unknown")

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

    async def put_upload(self, target: UploadTarget, size: int, content: AsyncIterable[bytes]) -> None:
        """Send the bytes to their target: without the key, and from their beginning wherever that leads.

        Raises `UploadRefused` for what the storage does not take, and would not take again.
        """
        host = "RunAPI's storage"
        try:
            with anyio.move_on_after(LONGEST_UPLOAD_SECONDS) as bound:
                response = await put(self.connection.storage, self._upload_network, target, size, content)
                check_taken(response, self.api_key)
        except httpx.HTTPError as error:
            raise network_failure(error, host, self.api_key) from error
        if bound.cancelled_caught:
            raise NetworkFailure(f"{host} did not take the file in {LONGEST_UPLOAD_SECONDS:.0f} seconds.")

    async def confirm_upload(self, target: UploadTarget) -> Stored:
        """Finish an upload and tell where RunAPI finds the file, for about an hour."""
        answer = await self.post("/api/v1/files/confirm", {"signed_id": target.signed_id})
        if is_link(url := text(answer.get("url"))):
            return Stored(url, lifetime_in(answer))
        raise BadAnswer("RunAPI did not say where the uploaded file is.")

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


def check_taken(response: httpx.Response, hidden: SecretStr | None) -> None:
    """Raise `InvalidRequest` for a file that is too large, `UploadRefused` for one not taken, else what may pass."""
    if response.is_success:
        return
    said = without_secret(f"its storage answered {response.status_code}: {explanation(response)}", hidden)
    if response.status_code == TOO_LARGE:
        raise InvalidRequest(f"The file is too large for RunAPI: {said}", hint="Give a smaller clip.")
    passing = response.is_server_error or response.status_code in PASSING
    error = (ServiceUnavailable if passing else UploadRefused)(f"RunAPI did not take the upload: {said}")
    error.retry_after = retry_after_seconds(response.headers)
    raise error


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
