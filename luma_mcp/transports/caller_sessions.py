"""The sessions of the handshake era, each caller's apart: opening many takes no other caller's place."""

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

MAX_CALLERS = 10_000


@dataclass
class SessionsOfCaller:
    """The sessions of one caller."""

    manager: StreamableHTTPSessionManager
    under_way: int = 0  # requests
    used_at: float = math.inf
    ready: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        """Run the sessions until they are ended."""
        async with self.manager.run():
            self.ready.set()
            await self.ended.wait()


class CallerSessions:
    """The sessions of all callers: made when a caller comes, and ended when none of its sessions can be left.

    Of more than `MAX_CALLERS`, those end that were not used for longest.
    """

    def __init__(self, make: Callable[[], StreamableHTTPSessionManager], idle_seconds: float) -> None:
        self._make = make
        self._idle_seconds = idle_seconds
        self._of: dict[str, SessionsOfCaller] = {}  # in the order of use
        self._group: TaskGroup | None = None

    @property
    def managers(self) -> list[StreamableHTTPSessionManager]:
        """The SDK's managers, of all callers that have any."""
        return [sessions.manager for sessions in self._of.values()]

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Take requests while inside; end all sessions, with their streams, when left."""
        async with anyio.create_task_group() as self._group:
            try:
                yield
            finally:
                self._end_all()

    async def handle_request(self, caller: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of a caller."""
        sessions = self._sessions_of(caller)
        sessions.under_way += 1
        try:
            await sessions.ready.wait()
            await sessions.manager.handle_request(scope, receive, send)
        finally:
            sessions.under_way -= 1
            sessions.used_at = anyio.current_time()

    def _sessions_of(self, caller: str) -> SessionsOfCaller:
        sessions = self._of.pop(caller, None) or self._open()
        self._of[caller] = sessions
        return sessions

    def _open(self) -> SessionsOfCaller:
        if self._group is None:
            raise RuntimeError("No sessions are run.")
        self._end_unused()
        sessions = SessionsOfCaller(self._make())
        self._group.start_soon(sessions.run, name="sessions")
        return sessions

    def _end_unused(self) -> None:
        before = anyio.current_time() - self._idle_seconds
        for caller, sessions in [*self._of.items()]:
            too_many = len(self._of) >= MAX_CALLERS
            if not sessions.under_way and (too_many or sessions.used_at <= before):
                sessions.ended.set()
                del self._of[caller]

    def _end_all(self) -> None:
        for sessions in self._of.values():
            sessions.ended.set()
        self._of.clear()
