"""The sandbox calls back when a task ends, as RunAPI does (contract 3); on this machine only."""

import logging
import re
from collections.abc import Callable

import anyio
import httpx

from luma_mcp.core.models import Clock
from luma_mcp.core.settings_values import leads_to_loopback
from luma_mcp.sandbox.http import Json
from luma_mcp.sandbox.state import Generation, State

LOOK_SECONDS = 0.1
ANSWER_SECONDS = 5.0
CALLED_PATH = re.compile(r"/callbacks/[A-Za-z0-9_-]+")

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
            httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, follow_redirects=False) as http,
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
        if not may_be_called(address):
            return
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                async with http.stream("POST", address, json=self._envelope(task)):
                    pass  # what the answer holds is nobody's
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            logger.warning("The call about task %s was not taken: %s", task.id, type(error).__name__)


def may_be_called(address: str) -> bool:
    """Tell whether an address is one that a server on this machine gives out for calls: nothing else here is called."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return False
    plain = url.scheme in {"http", "https"} and not (url.userinfo or url.query or url.fragment)
    return plain and bool(CALLED_PATH.fullmatch(url.path)) and leads_to_loopback(address)
