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
from luma_mcp.sandbox.account import Account
from luma_mcp.sandbox.callbacks import CallingBack
from luma_mcp.sandbox.faults import Endpoint, Fault, Faults, Kind
from luma_mcp.sandbox.files import Files
from luma_mcp.sandbox.http import Refused, Setup, Shape, json_body, refused, with_ids
from luma_mcp.sandbox.state import State
from luma_mcp.sandbox.tasks import PATH, Tasks
from luma_mcp.sandbox.transport import InProcess, in_process

STORAGE_URL = "https://storage.sandbox.invalid"
SECONDS = 8.0
CREDIT_CENTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]


class Sandbox:
    """Plays RunAPI with its state in a folder.

    `seconds` is how long a generation takes. `storage_url` is the second origin, which takes the uploaded bytes. `seen`
    lists what was asked, for tests that `watch`.
    """

    def __init__(
        self,
        folder: Path,
        now: Clock,
        *,
        api_url: str,
        storage_url: str,
        seconds: float = SECONDS,
        credit_cents: int = CREDIT_CENTS,
        shape: Shape | None = None,
        faults: Faults | None = None,
        watch: bool = True,
    ) -> None:
        self.state = State(folder, now, credit_cents=credit_cents)
        self.faults = faults or Faults()
        self.seen: list[Seen] = []
        setup = Setup(self.state, self.faults, shape or Shape(), now, seconds, api_url, storage_url)
        self._tasks = Tasks(setup)
        self._now = now
        self._app = application(setup, self._tasks, self.seen if watch else None)

    async def call_back(self) -> None:
        """Call back when tasks end, for ever."""
        await CallingBack(self.state, self._now, self._tasks.envelope).attend()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)


def application(setup: Setup, tasks: Tasks, seen: list[Seen] | None) -> Starlette:
    """Lay out the routes; every answer passes the faults that were ordered."""
    files, account = Files(setup), Account(setup)

    async def answer(name: str, endpoint: Endpoint, request: Request) -> Response:
        if seen is not None:
            seen.append(Seen(request.method, request.url.path, dict(request.headers)))
        try:
            response = await setup.faults.answer(name, request, endpoint)
        except Refused as error:
            response = await refused(request, error)
        return with_ids(request, response)

    def route(name: str, method: str, path: str, endpoint: Endpoint) -> Route:
        return Route(path, partial(answer, name, endpoint), methods=[method])

    made = Starlette(
        routes=[
            route("create", "POST", PATH, tasks.create),
            route("read", "GET", f"{PATH}/{{task_id}}", tasks.read),
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
            Route("/sandbox/faults", partial(order_fault, setup.faults), methods=["POST"]),
        ],
        exception_handlers={404: refused, 405: refused},
    )
    made.router.redirect_slashes = False  # to whatever the request calls this server
    return made


async def order_fault(faults: Faults, request: Request) -> Response:
    """Order a fault over HTTP: the fields of `Fault` as a JSON object."""
    try:
        fault = Fault(**await json_body(request))
        if fault.kind not in get_args(Kind):
            raise TypeError(f"kind is none of {', '.join(get_args(Kind))}")
    except (Refused, TypeError) as error:
        return await refused(request, error if isinstance(error, Refused) else Refused(400, {"error": str(error)}))
    faults.order(fault)
    return Response(status_code=204)


@asynccontextmanager
async def embedded(folder: Path, now: Clock) -> AsyncGenerator[InProcess]:
    """Give a transport behind which a sandbox, with its state in `folder`, answers for every host."""
    sandbox = Sandbox(folder, now, api_url=SANDBOX_ORIGIN, storage_url=STORAGE_URL, watch=False)
    try:
        async with in_process(sandbox) as transport:
            yield transport
    finally:
        sandbox.state.close()
