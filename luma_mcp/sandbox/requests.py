"""What the sandbox's endpoints share: how it is set up, how requests are read and refused."""

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from luma_mcp.core.models import Clock
from luma_mcp.sandbox.faults import Faults
from luma_mcp.sandbox.state import SandboxState

INVALID_KEY = "invalid"
MAX_BODY_BYTES = 1 << 20

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContractVariant:
    """Which of the possible answers to give where RunAPI's contract is uncertain."""

    create_code: int = 200
    id_field: str = "id"
    first_status: str = "processing"
    validation_code: int = 400
    poll_retry_after: float | None = None
    tells_seconds: bool = True  # how long a generation takes, which RunAPI does not
    with_sources: bool = True
    with_billing: bool = False
    boolean_watermark: bool = True


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """What every endpoint works with."""

    state: SandboxState
    faults: Faults
    variant: ContractVariant
    now: Clock
    seconds: float  # how long a generation takes
    api_url: str
    storage_url: str
    treats: bool  # results are made to look different from their clips


class ErrorReply(HTTPException):
    """An answer with an error body."""

    def __init__(self, status: int, body: JsonObject) -> None:
        super().__init__(status)
        self.body = body


async def error_response(_: Request, error: Exception) -> Response:
    """Answer with the body of an `ErrorReply`, and 404 for whatever else Starlette refuses."""
    if isinstance(error, ErrorReply):
        return JSONResponse(error.body, error.status_code)
    return JSONResponse({"error": "Not found"}, 404)


def require_key(request: Request) -> None:
    """Raise `ErrorReply` for a request without a key; every key but the word `invalid` will do."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip() or key.strip() == INVALID_KEY:
        raise ErrorReply(401, {"error": "unauthorized"})


async def read_body(request: Request, most: int, use: Callable[[bytes], object]) -> None:
    """Pass a body to `use` piece by piece; raise `ErrorReply` if it has over `most` bytes, or breaks off."""
    size = 0
    try:
        async with aclosing(request.stream()) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size > most:
                    raise ErrorReply(413, {"error": f"The body is larger than {most} bytes"})
                use(piece)
    except ClientDisconnect:
        raise ErrorReply(400, {"error": "The body broke off"}) from None


async def read_json_body(request: Request, most: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """Read a JSON object; raise `ErrorReply` for anything else, and for over `most` bytes."""
    content = bytearray()
    await read_body(request, most, content.extend)
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ErrorReply(400, {"error": "The body is not a JSON object"})
    return cast("dict[str, Any]", body)


def add_request_ids(request: Request, response: Response) -> Response:
    response.headers["x-request-id"] = f"req_{uuid.uuid4().hex[:16]}"
    if asked := request.headers.get("x-client-request-id"):
        response.headers["X-Client-Request-Id"] = asked
    return response


def timestamp(seconds: float) -> str:
    """Write POSIX seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def bundled_clip() -> Path:
    """Give the clip of a walk by day, which stands for every source that is not uploaded."""
    return Path(str(files("luma_mcp.sandbox") / "clip.mp4"))


def foggy_clip() -> Path:
    """Give the same walk in fog."""
    return Path(str(files("luma_mcp.sandbox") / "foggy.mp4"))
