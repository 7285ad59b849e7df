"""Whether this server is alive, and whether it can do its work: for whoever watches over it from outside."""

import anyio

from luma_mcp.app.app import App
from luma_mcp.core.concurrency import background_work, cancel_after
from luma_mcp.core.errors import LumaError

FRESH_SECONDS = 5.0
LATELY_SECONDS = 60.0
OK = "ok"


class Health:
    """Looks at most every few seconds, however often somebody asks."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._looking = anyio.Lock()
        self._looked_at = -FRESH_SECONDS
        self._found: dict[str, str] = {}

    async def check(self) -> dict[str, str]:
        """Tell of each part that this server needs whether it is `ok`, or the code of what is wrong."""
        async with background_work() as group:
            group.start_soon(cancel_after, self._app.answering.ending, group.cancel_scope)
            async with self._looking:
                if anyio.current_time() >= self._looked_at + FRESH_SECONDS:
                    self._found = {"ledger": await self._ledger(), "runapi": await self._runapi()}
                    self._looked_at = anyio.current_time()
            if not self._app.answering.ending.is_set():
                return self._found
        return {"server": "ending"}

    async def _ledger(self) -> str:
        try:
            await self._app.ledger.check_writable()
        except LumaError as error:
            return error.code
        return OK

    async def _runapi(self) -> str:
        try:
            self._app.runapi.check_ready()
            if anyio.current_time() > self._app.runapi.heard_at + LATELY_SECONDS:
                await self._app.runapi.reach()
        except LumaError as error:
            return error.code
        return OK
