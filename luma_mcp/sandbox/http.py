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
from luma_mcp.sandbox.state import State

INVALID_KEY = "invalid"
LARGEST_BODY_BYTES = 1 << 20

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the contract is uncertain: which of the possible answers to give."""

    create_code: int = 200
    id_field: str = "id"
    first_status: str = "processing"
    validation_code: int = 400
    poll_retry_after: float | None = None
    with_sources: bool = True
    with_billing: bool = False
    boolean_watermark: bool = True


@dataclass(frozen=True, slots=True)
class Setup:
    """What every endpoint works with. `seconds` is how long a generation takes."""

    state: State
    faults: Faults
    shape: Shape
    now: Clock
    seconds: float
    api_url: str
    storage_url: str


class Refused(HTTPException):
    """An answer with an error body."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status)
        self.body = body


async def refused(_: Request, error: Exception) -> Response:
    """Answer with the body of a refusal; anything else that Starlette refuses is not there."""
    if isinstance(error, Refused):
        return JSONResponse(error.body, error.status_code)
    return JSONResponse({"error": "Not found"}, 404)


def authorise(request: Request) -> None:
    """Refuse a request without a usable key; any key but the word `invalid` is usable."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip() or key.strip() == INVALID_KEY:
        raise Refused(401, {"error": "unauthorized"})


async def take(request: Request, most: int, use: Callable[[bytes], object]) -> None:
    """Take a body piece by piece; refuse what is larger than `most` bytes, or breaks off."""
    size = 0
    try:
        async with aclosing(request.stream()) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size > most:
                    raise Refused(413, {"error": f"The body is larger than {most} bytes"})
                use(piece)
    except ClientDisconnect:
        raise Refused(400, {"error": "The body broke off"}) from None


async def json_body(request: Request, most: int = LARGEST_BODY_BYTES) -> dict[str, Any]:
    """Read a JSON object, or refuse what is none, or larger than `most` bytes."""
    content = bytearray()
    await take(request, most, content.extend)
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, {"error": "The body is not a JSON object"})
    return cast("dict[str, Any]", body)


def with_ids(request: Request, response: Response) -> Response:
    """Name the request in its answer, and repeat the client's own name for it."""
    response.headers["x-request-id"] = f"req_{uuid.uuid4().hex[:16]}"
    if asked := request.headers.get("x-client-request-id"):
        response.headers["X-Client-Request-Id"] = asked
    return response


def timestamp(seconds: float) -> str:
    """Write POSIX seconds as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def bundled_clip() -> Path:
    """Find the clip that comes with the sandbox."""
    return Path(str(files("luma_mcp.sandbox") / "clip.mp4"))
