"""Whether this server is alive, and whether it can do its work: for whoever watches over it from outside."""

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from luma_mcp.app.app import App
from luma_mcp.core.concurrency import background_work, cancel_after
from luma_mcp.core.errors import LumaError

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
CACHE_SECONDS = 5.0
MAX_SILENCE_SECONDS = 60.0
OK = "ok"


class Health:
    """Checks the parts at most every `CACHE_SECONDS`, however often somebody asks."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._looking = anyio.Lock()
        self._looked_at = -CACHE_SECONDS
        self._found: dict[str, str] = {}

    async def check(self) -> dict[str, str]:
        """Give for each part that this server needs `ok`, or the error code of what is wrong."""
        async with background_work() as group:
            group.start_soon(cancel_after, self._app.draining, group.cancel_scope)
            async with self._looking:
                if anyio.current_time() >= self._looked_at + CACHE_SECONDS:
                    self._found = {"ledger": await self._ledger(), "runapi": await self._runapi()}
                    self._looked_at = anyio.current_time()
            if not self._app.draining.is_set():
                return self._found
        return {"server": "ending"}

    async def _ledger(self) -> str:
        try:
            await self._app.check_ledger()
        except LumaError as error:
            return error.code
        return OK

    async def _runapi(self) -> str:
        try:
            await self._app.check_runapi(MAX_SILENCE_SECONDS)
        except LumaError as error:
            return error.code
        return OK


def health_routes(health: Health) -> list[BaseRoute]:
    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        parts = await health.check()
        good = all(state == OK for state in parts.values())
        return JSONResponse({"status": "ready" if good else "not ready", **parts}, 200 if good else 503)

    return [Route(HEALTH_PATH, alive, methods=["GET"]), Route(READY_PATH, ready, methods=["GET"])]
