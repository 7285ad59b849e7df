"""The sandbox as an ASGI application."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from luma_mcp.core.models import SANDBOX_ORIGIN, Clock
from luma_mcp.sandbox.account import AccountEndpoints
from luma_mcp.sandbox.faults import Endpoint, Fault, Faults, Kind
from luma_mcp.sandbox.requests import (
    ContractVariant,
    EndpointContext,
    ErrorReply,
    add_request_ids,
    error_response,
    read_json_body,
)
from luma_mcp.sandbox.state import SandboxState
from luma_mcp.sandbox.tasks import TASKS_PATH, CallbackSender, TaskEndpoints
from luma_mcp.sandbox.transport import StreamingASGITransport, open_asgi_transport
from luma_mcp.sandbox.uploads import UploadEndpoints

STORAGE_URL = "https://storage.sandbox.invalid"
GENERATION_SECONDS = 8.0
CREDIT_CENTS = 1_000_000


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came in, for tests."""

    method: str
    path: str
    headers: Mapping[str, str]


class Sandbox:
    """An ASGI application that answers as RunAPI does, with its state in a folder.

    `seconds` is how long a generation takes. `storage_url` is the second origin, which takes the uploaded bytes. A
    result is the clip that was given, or with `treats` one that looks different. With `watch`, for tests, every request
    is added to `recorded_requests`.
    """

    def __init__(
        self,
        folder: Path,
        now: Clock,
        *,
        api_url: str,
        storage_url: str,
        seconds: float = GENERATION_SECONDS,
        credit_cents: int = CREDIT_CENTS,
        shape: ContractVariant | None = None,
        faults: Faults | None = None,
        treats: bool = False,
        watch: bool = True,
    ) -> None:
        self.state = SandboxState(folder, now, credit_cents=credit_cents)
        self.faults = faults or Faults()
        self.recorded_requests: list[RecordedRequest] = []
        variant = shape or ContractVariant()
        setup = EndpointContext(self.state, self.faults, variant, now, seconds, api_url, storage_url, treats)
        self._tasks = TaskEndpoints(setup)
        self._now = now
        self._app = application(setup, self._tasks, self.recorded_requests if watch else None)

    async def send_callbacks(self) -> None:
        """Call the `callback_url` of each task that ends from now on; never returns."""
        await CallbackSender(self.state, self._now, self._tasks.envelope).attend()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def application(setup: EndpointContext, tasks: TaskEndpoints, seen: list[RecordedRequest] | None) -> Starlette:
    """Route requests; every answer passes the faults that were ordered."""
    files, account = UploadEndpoints(setup), AccountEndpoints(setup)

    async def answer(name: str, endpoint: Endpoint, request: Request) -> Response:
        if seen is not None:
            seen.append(RecordedRequest(request.method, request.url.path, dict(request.headers)))
        try:
            response = await setup.faults.answer(name, request, endpoint)
        except ErrorReply as error:
            response = await error_response(request, error)
        return add_request_ids(request, response)

    def route(name: str, method: str, path: str, endpoint: Endpoint) -> Route:
        return Route(path, partial(answer, name, endpoint), methods=[method])

    made = Starlette(
        routes=[
            route("create", "POST", TASKS_PATH, tasks.create),
            route("read", "GET", f"{TASKS_PATH}/{{task_id}}", tasks.read),
            route("output", "GET", "/outputs/{name}", tasks.output),
            route("files", "POST", "/api/v1/files", files.register),
            route("files", "POST", "/api/v1/files/prepare", files.prepare),
            route("files", "POST", "/api/v1/files/confirm", files.confirm),
            route("upload", "PUT", "/uploads/{token}", files.receive),
            route("file", "GET", "/files/{token}/{name}", files.file),
            route("account", "GET", "/api/v1/me", account.me),
            route("account", "GET", "/api/v1/me/balance", account.balance),
            route("pricing", "GET", "/api/v1/price_schedules", account.schedules),
            route("pricing", "POST", "/api/v1/price_quotes", account.quote),
            Route("/sandbox/faults", partial(inject_fault, setup.faults), methods=["POST"]),
        ],
        exception_handlers={404: error_response, 405: error_response},
    )
    made.router.redirect_slashes = False  # to whatever the request calls this server
    return made


async def inject_fault(faults: Faults, request: Request) -> Response:
    """Order a fault over HTTP; the body is a JSON object with the fields of `Fault`."""
    try:
        fault = Fault(**await read_json_body(request))
        if fault.kind not in get_args(Kind):
            raise TypeError(f"kind is none of {', '.join(get_args(Kind))}")
    except (ErrorReply, TypeError) as error:
        return await error_response(
            request, error if isinstance(error, ErrorReply) else ErrorReply(400, {"error": str(error)})
        )
    faults.inject(fault)
    return Response(status_code=204)


@asynccontextmanager
async def open_sandbox_transport(folder: Path, now: Clock) -> AsyncGenerator[StreamingASGITransport]:
    """Give an httpx transport by which a sandbox, with its state in `folder`, answers for every host."""
    sandbox = Sandbox(folder, now, api_url=SANDBOX_ORIGIN, storage_url=STORAGE_URL, treats=True, watch=False)
    try:
        async with open_asgi_transport(sandbox) as transport:
            yield transport
    finally:
        sandbox.state.close()
