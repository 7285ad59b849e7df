"""Faults that a test can order from the sandbox: each request to a route takes the first one that is meant for it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import anyio
import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

Kind = Literal[
    "400", "401", "402", "403", "404", "409", "422", "429", "500", "502", "503", "504",
    "html", "empty", "malformed", "redirect", "slow", "drop_before", "drop_after", "fail", "answer",
]  # fmt: skip
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, for the next requests to a route.

    `fail` lets the task be accepted and its generation end badly. `answer` gives `text` as JSON with `status`, in place
    of what would have been done.
    """

    kind: Kind
    route: str = "create"  # or read, files, file, upload, account, pricing, output
    times: int = 1
    seconds: float | None = None  # how long a slow answer takes, or what Retry-After says
    text: str = ""  # of an answer or an error, or where a redirect leads
    status: int = 200


class Faults:
    """The faults that have been ordered and not yet happened."""

    def __init__(self) -> None:
        self._ordered: list[Fault] = []

    def inject(self, *faults: Fault) -> None:
        self._ordered.extend(faults)

    def clear(self) -> None:
        self._ordered.clear()

    def take(self, route: str, *, generation: bool = False) -> Fault | None:
        """Use up the next fault of a route, None if there is none; `generation` asks for failed generations alone."""
        for index, fault in enumerate(self._ordered):
            if fault.route == route and (fault.kind == "fail") == generation:
                rest = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                self._ordered[index : index + 1] = rest
                return fault
        return None

    async def answer(self, route: str, request: Request, endpoint: Endpoint) -> Response:
        fault = self.take(route)
        if fault is None:
            return await endpoint(request)
        if fault.kind == "slow":
            await anyio.sleep(fault.seconds or 0)
            return await endpoint(request)
        if fault.kind == "drop_after":
            await endpoint(request)
        return fault_response(fault)


def fault_response(fault: Fault) -> Response:
    return RESPONSES.get(fault.kind, error_status)(fault)


def error_status(fault: Fault) -> Response:
    """Answer with the status that the kind of the fault names."""
    headers = {"Retry-After": f"{fault.seconds:g}"} if fault.seconds is not None else {}
    error = fault.text or REASONS.get(fault.kind, "Server error")
    return JSONResponse({"error": error}, int(fault.kind), headers)


PAGE = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
REASONS = {
    "400": "Bad request",
    "401": "unauthorized",
    "402": "Insufficient credits",
    "403": "Forbidden",
    "404": "Not found",
    "409": "Conflict",
    "422": "Validation failed",
    "429": "Too many requests",
    "503": "No active channel is available",
}


class DroppedResponse(Response):
    """A connection that breaks in the middle of the answer, for real on a socket and as httpx reports it in process."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


RESPONSES: Mapping[Kind, Callable[[Fault], Response]] = {  # of the kinds that are no status
    "drop_before": lambda _: DroppedResponse(),
    "drop_after": lambda _: DroppedResponse(),
    "html": lambda _: HTMLResponse(PAGE, 502),
    "empty": lambda _: Response(status_code=500),
    "malformed": lambda _: Response('{"id": "550e84', media_type="application/json"),
    "redirect": lambda fault: Response(
        status_code=307, headers={"Location": fault.text or "https://elsewhere.invalid/"}
    ),
    "answer": lambda fault: Response(fault.text, fault.status, media_type="application/json"),
}
