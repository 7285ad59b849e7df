"""The endpoints for tasks, and the calls when one has ended, as RunAPI has them (contract 1 to 3)."""

import logging
import re
import uuid
from collections.abc import Callable
from typing import Any

import anyio
import httpx
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from luma_mcp.core.addresses import is_loopback_url
from luma_mcp.core.models import MODEL, SANDBOX_SECONDS_HEADER, Clock
from luma_mcp.sandbox.requests import EndpointContext, ErrorReply, JsonObject, bundled_clip, read_json_body, require_key
from luma_mcp.sandbox.state import FAILED_SOURCE, PRICE_CENTS, Generation, SandboxState, Upload
from luma_mcp.sandbox.treatment import Treatment

TASKS_PATH = "/api/v1/luma/modify_video"
MAX_KEY_LENGTH = 512
POLL_SECONDS = 0.1
ANSWER_SECONDS = 5.0
CALLED_PATH = re.compile(r"/callbacks/[A-Za-z0-9_-]+")
logger = logging.getLogger(__name__)


class TaskEndpoints:
    """Creates and reads tasks."""

    def __init__(self, setup: EndpointContext) -> None:
        self._setup = setup
        self._treatment = Treatment()

    async def create(self, request: Request) -> Response:
        """Accept a task; the same key and body again give the same task, another body gives 409 (contract 1.4)."""
        require_key(request)
        body = await read_json_body(request)
        self._validate(body)
        key = request.headers.get("idempotency-key", "").strip() or None
        if key and len(key) > MAX_KEY_LENGTH:
            raise ErrorReply(400, {"error": "Idempotency-Key is too long"})
        if not self._setup.state.has_task_for_key(key) and not self._setup.state.can_afford_task():
            raise ErrorReply(402, {"error": "Insufficient credits"})
        fault = None if self._setup.state.has_task_for_key(key) else self._setup.faults.take("create", generation=True)
        failure = (fault.text or "Generation failed.") if fault else self._source_failure(body["source_video_url"])
        made, replayed = self._setup.state.create_or_replay(key, body, self._setup.seconds, failure)
        headers = self._headers(made)
        if replayed and body != made.body:
            message = "Idempotency-Key was used with a different request"
            return JSONResponse({"error": {"code": "request_conflict", "message": message}}, 409, headers)
        answer = {self._setup.variant.id_field: made.id, "status": self._setup.variant.first_status}
        return JSONResponse(
            answer | ({"task_replayed": True} if replayed else {}), self._setup.variant.create_code, headers
        )

    def _validate(self, body: JsonObject) -> None:
        source, watermark = body.get("source_video_url"), body.get("watermark")
        checks = (
            ("prompt", is_filled_text(body.get("prompt")), "is required"),
            ("source_video_url", is_filled_text(source), "is required"),
            ("source_video_url", str(source).lower().startswith(("http://", "https://")), "must be a URL"),
            ("model", body.get("model") == MODEL, f"must be {MODEL}"),
            ("watermark", self._setup.variant.boolean_watermark or not isinstance(watermark, bool), "must be a string"),
        )
        faults: dict[str, list[str]] = {}
        for field, holds, message in checks:
            if not holds:
                faults.setdefault(field, [message])
        if faults:
            raise ErrorReply(self._setup.variant.validation_code, {"error": "Validation failed", "errors": faults})

    def _source_failure(self, url: str) -> str:
        """Say what is wrong with a source that was uploaded here; others are not fetched and count as good."""
        if not url.startswith(f"{self._setup.storage_url}/files/"):
            return ""
        upload = self._find_upload(url)
        return "" if upload and upload.is_available(self._setup.now()) else FAILED_SOURCE

    def _find_upload(self, url: str) -> Upload | None:
        """Find the file that was uploaded to an address, expired or not."""
        token = url.removeprefix(f"{self._setup.storage_url}/files/").split("/")[0]
        return self._setup.state.find_upload("token", token)

    async def read(self, request: Request) -> Response:
        require_key(request)
        asked = request.path_params["task_id"]
        try:
            uuid.UUID(asked)
        except ValueError:
            raise ErrorReply(400, {"error": {"code": "invalid_resource_id", "message": "id is not valid"}}) from None
        task = self._setup.state.generation(asked)
        if task is None:
            raise ErrorReply(404, {"error": "Not found"})
        headers = self._headers(task)
        if self._setup.variant.poll_retry_after is not None:
            headers["Retry-After"] = str(self._setup.variant.poll_retry_after)
        return JSONResponse(self.envelope(task), headers=headers)

    def _headers(self, task: Generation) -> dict[str, str]:
        """Name the task, and tell how long it takes: who tries the sandbox is not to wait as long as for RunAPI."""
        told = {SANDBOX_SECONDS_HEADER: f"{task.seconds:g}"} if self._setup.variant.tells_seconds else {}
        return {"X-RunAPI-Task-Id": task.id, **told}

    def envelope(self, task: Generation) -> JsonObject:
        """Give the body of both a poll's answer and a callback."""
        status = task.status(self._setup.now())
        envelope: dict[str, Any] = {self._setup.variant.id_field: task.id, "status": status}
        if status == "failed":
            return envelope | {"error": task.failure}
        if status == "completed":
            envelope["videos"] = [{"url": f"{self._setup.api_url}/outputs/{task.id}.mp4"}]
            envelope["usage"] = {"cost": PRICE_CENTS / 100}
            if self._setup.variant.with_sources:
                envelope["sources"] = [{"url": task.body["source_video_url"]}]
            if self._setup.variant.with_billing:
                del envelope["usage"]
                envelope["billing"] = {"reservation": None, "settlement": {"charged_amount_cents": PRICE_CENTS}}
        return envelope

    async def output(self, request: Request) -> Response:
        """Serve the result: what is made of the uploaded clip, or of the clip that comes with the sandbox."""
        task = self._setup.state.generation(request.path_params["name"].removesuffix(".mp4"))
        if task is None or task.status(self._setup.now()) != "completed":
            raise ErrorReply(404, {"error": "Not found"})
        upload = self._find_upload(task.body["source_video_url"])
        clip = self._setup.state.path(upload) if upload else bundled_clip()
        clip = clip if clip.is_file() else bundled_clip()
        if self._setup.treats:
            clip = await self._treatment.result(clip, clip.with_name(f"{clip.name}-{task.id}"))
        return FileResponse(clip, media_type="video/mp4")


class CallbackSender:
    """Posts the `envelope` of each task that ends from now on to its `callback_url`, once, whatever is answered."""

    def __init__(self, state: SandboxState, now: Clock, envelope: Callable[[Generation], JsonObject]) -> None:
        self._state = state
        self._now = now
        self._envelope = envelope
        self._called = {task.id for task in self._ended()}

    async def attend(self) -> None:
        async with (
            httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, follow_redirects=False) as http,
            anyio.create_task_group() as calls,
        ):
            while True:
                for task in self._ended():
                    if task.id not in self._called:
                        self._called.add(task.id)
                        calls.start_soon(self._call, http, task)
                await anyio.sleep(POLL_SECONDS)

    def _ended(self) -> list[Generation]:
        now = self._now()
        return [task for task in self._state.generations() if task.status(now) in {"completed", "failed"}]

    async def _call(self, http: httpx.AsyncClient, task: Generation) -> None:
        address = str(task.body.get("callback_url", ""))
        if not is_callback_url(address):
            return
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                async with http.stream("POST", address, json=self._envelope(task)):
                    pass  # what the answer holds is not read
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            logger.warning("The call about task %s was not taken: %s", task.id, type(error).__name__)


def is_callback_url(address: str) -> bool:
    """Tell whether an address is such as a server on this machine gives out: nothing else may be called from here."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return False
    plain = url.scheme in {"http", "https"} and not (url.userinfo or url.query or url.fragment)
    return plain and bool(CALLED_PATH.fullmatch(url.path)) and is_loopback_url(address)


def is_filled_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
