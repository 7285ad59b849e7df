"""The sandbox's endpoints for tasks (contract 1 and 2) and for their results."""

import uuid
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from luma_mcp.core.models import MODEL
from luma_mcp.sandbox.http import Json, Refused, Setup, authorise, bundled_clip, json_body
from luma_mcp.sandbox.state import FAILED_SOURCE, PRICE_CENTS, Generation

PATH = "/api/v1/luma/modify_video"
LONGEST_KEY = 512


class Tasks:
    """Creates and reads tasks."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    async def create(self, request: Request) -> Response:
        """Accept a task; the same key and body again give the same task, another body gives 409 (contract 1.4)."""
        authorise(request)
        body = await json_body(request)
        self._validate(body)
        key = request.headers.get("idempotency-key", "").strip() or None
        if key and len(key) > LONGEST_KEY:
            raise Refused(400, {"error": "Idempotency-Key is too long"})
        if not self._setup.state.replayable(key) and not self._setup.state.affordable():
            raise Refused(402, {"error": "Insufficient credits"})
        fault = None if self._setup.state.replayable(key) else self._setup.faults.take("create", generation=True)
        failure = (fault.text or "Generation failed.") if fault else self._source_failure(body["source_video_url"])
        made, replayed = self._setup.state.accept(key, body, self._setup.seconds, failure)
        headers = {"X-RunAPI-Task-Id": made.id}
        if replayed and body != made.body:
            message = "Idempotency-Key was used with a different request"
            return JSONResponse({"error": {"code": "request_conflict", "message": message}}, 409, headers)
        answer = {self._setup.shape.id_field: made.id, "status": self._setup.shape.first_status}
        return JSONResponse(
            answer | ({"task_replayed": True} if replayed else {}), self._setup.shape.create_code, headers
        )

    def _validate(self, body: Json) -> None:
        faults: dict[str, list[str]] = {}
        for field in ("prompt", "source_video_url"):
            if not isinstance(body.get(field), str) or not body[field].strip():
                faults[field] = ["is required"]
        if body.get("model") != MODEL:
            faults["model"] = [f"must be {MODEL}"]
        if not str(body.get("source_video_url", "")).lower().startswith(("http://", "https://")):
            faults.setdefault("source_video_url", ["must be a URL"])
        if isinstance(body.get("watermark"), bool) and not self._setup.shape.boolean_watermark:
            faults["watermark"] = ["must be a string"]
        if faults:
            raise Refused(self._setup.shape.validation_code, {"error": "Validation failed", "errors": faults})

    def _source_failure(self, url: str) -> str:
        """Tell what is wrong with a source that lies here; others cannot be fetched from here and count as good."""
        if not url.startswith(f"{self._setup.storage_url}/files/"):
            return ""
        return "" if self._own_file(url) else FAILED_SOURCE

    def _own_file(self, url: str) -> Path | None:
        parts = url.removeprefix(f"{self._setup.storage_url}/files/").split("/")
        upload = self._setup.state.upload("token", parts[0])
        return self._setup.state.path(upload) if upload and upload.alive(self._setup.now()) else None

    async def read(self, request: Request) -> Response:
        """Tell the state of a task (contract 2)."""
        authorise(request)
        asked = request.path_params["task_id"]
        try:
            uuid.UUID(asked)
        except ValueError:
            raise Refused(400, {"error": {"code": "invalid_resource_id", "message": "id is not valid"}}) from None
        task = self._setup.state.generation(asked)
        if task is None:
            raise Refused(404, {"error": "Not found"})
        headers = {"X-RunAPI-Task-Id": task.id}
        if self._setup.shape.poll_retry_after is not None:
            headers["Retry-After"] = str(self._setup.shape.poll_retry_after)
        return JSONResponse(self.envelope(task), headers=headers)

    def envelope(self, task: Generation) -> Json:
        """Describe a task as both the answer to a question and a call back do."""
        status = task.status(self._setup.now())
        envelope: dict[str, Any] = {self._setup.shape.id_field: task.id, "status": status}
        if status == "failed":
            return envelope | {"error": task.failure}
        if status == "completed":
            envelope["videos"] = [{"url": f"{self._setup.api_url}/outputs/{task.id}.mp4"}]
            envelope["usage"] = {"cost": PRICE_CENTS / 100}
            if self._setup.shape.with_sources:
                envelope["sources"] = [{"url": task.body["source_video_url"]}]
            if self._setup.shape.with_billing:
                del envelope["usage"]
                envelope["billing"] = {"reservation": None, "settlement": {"charged_amount_cents": PRICE_CENTS}}
        return envelope

    async def output(self, request: Request) -> Response:
        """Serve the result: the uploaded clip itself, or the clip that comes with the sandbox."""
        task = self._setup.state.generation(request.path_params["name"].removesuffix(".mp4"))
        if task is None or task.status(self._setup.now()) != "completed":
            raise Refused(404, {"error": "Not found"})
        content = self._kept_file(task.body["source_video_url"])
        return FileResponse(content or bundled_clip(), media_type="video/mp4")

    def _kept_file(self, url: str) -> Path | None:
        token = url.removeprefix(f"{self._setup.storage_url}/files/").split("/")[0]
        upload = self._setup.state.upload("token", token)
        path = self._setup.state.path(upload) if upload else None
        return path if path and path.is_file() else None
