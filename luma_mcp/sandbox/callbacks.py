"""The sandbox calls back when a task ends, as RunAPI does (contract 3); on this machine only."""

import logging
from collections.abc import Callable

import anyio
import httpx

from luma_mcp.models import Clock
from luma_mcp.sandbox.http import Json
from luma_mcp.sandbox.state import Generation, State
from luma_mcp.setting_values import leads_to_loopback

LOOK_SECONDS = 0.1
ANSWER_SECONDS = 5.0

logger = logging.getLogger(__name__)


class CallingBack:
    """Calls once for each task that ends from now on; `envelope` is what is said about a task."""

    def __init__(self, state: State, now: Clock, envelope: Callable[[Generation], Json]) -> None:
        self._state = state
        self._now = now
        self._envelope = envelope
        self._called = {task.id for task in self._ended()}

    async def attend(self) -> None:
        """Call back, for ever."""
        async with (
            httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as http,
            anyio.create_task_group() as calls,
        ):
            while True:
                for task in self._ended():
                    if task.id not in self._called:
                        self._called.add(task.id)
                        calls.start_soon(self._call, http, task)
                await anyio.sleep(LOOK_SECONDS)

    def _ended(self) -> list[Generation]:
        now = self._now()
        return [task for task in self._state.generations() if task.status(now) in {"completed", "failed"}]

    async def _call(self, http: httpx.AsyncClient, task: Generation) -> None:
        address = str(task.body.get("callback_url", ""))
        if not address or not leads_to_loopback(address):
            return
        try:
            await http.post(address, json=self._envelope(task))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            logger.warning("The call about task %s was not taken: %s", task.id, type(error).__name__)
