"""Sessions of callers who are known only when they come, and whose number is bounded."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from luma_mcp.transports import caller_sessions
from luma_mcp.transports.caller_sessions import CallerSessions

pytestmark = pytest.mark.anyio
IDLE_SECONDS = 60.0


class Recorder:
    """What stands for the SDK's manager: it notes who runs, and holds requests up."""

    def __init__(self, running: list["Recorder"]) -> None:
        self._running = running
        self.free = anyio.Event()
        self.served = 0

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        self._running.append(self)
        try:
            yield
        finally:
            self._running.remove(self)

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self in self._running
        self.served += 1
        if scope.get("waits"):
            await self.free.wait()


def sessions_of(running: list[Recorder]) -> CallerSessions:
    return CallerSessions(lambda: cast("StreamableHTTPSessionManager", Recorder(running)), IDLE_SECONDS)


async def come(sessions: CallerSessions, caller: str, **scope: Any) -> None:
    async def none(*_: Any) -> Any:
        pytest.fail("nothing is read or sent")

    await sessions.handle_request(caller, scope, none, none)


async def test_each_caller_has_sessions_of_its_own_that_end_with_the_server() -> None:
    running: list[Recorder] = []
    sessions = sessions_of(running)
    async with sessions.run():
        assert not running
        async with anyio.create_task_group() as group:
            for caller in ("ann", "ann", "bob"):
                group.start_soon(come, sessions, caller)
        assert sorted(one.served for one in running) == [1, 2]
    assert not running


async def test_callers_that_stay_away_leave_nothing_behind() -> None:
    running: list[Recorder] = []
    sessions = sessions_of(running)
    async with sessions.run():
        await come(sessions, "ann")
        await anyio.sleep(IDLE_SECONDS / 2)
        await come(sessions, "bob")
        await anyio.sleep(IDLE_SECONDS / 2)
        await come(sessions, "eve")
        await anyio.lowlevel.checkpoint()
        assert len(running) == len(sessions.managers) == 2
        await come(sessions, "bob")
        assert sorted(one.served for one in running) == [1, 2]


async def test_of_too_many_callers_those_end_that_came_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_sessions, "MAX_CALLERS", 3)
    running: list[Recorder] = []
    sessions = sessions_of(running)
    async with sessions.run(), anyio.create_task_group() as group:
        scope = {"waits": True}
        group.start_soon(lambda: come(sessions, "waiting", **scope))
        await anyio.wait_all_tasks_blocked()
        (waiting,) = running
        for number in range(50):
            await come(sessions, str(number))
            await anyio.wait_all_tasks_blocked()
            assert len(running) <= 3
        assert waiting in running, "whoever has a request under way is not sent off"
        waiting.free.set()
