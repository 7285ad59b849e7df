"""The application with a sandbox behind it, on the virtual clock, and ways to talk to it."""

import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import httpx
from mcp import Client
from mcp_types import CallToolResult, TextContent

from luma_mcp.app.app import App, Outcome, open_app
from luma_mcp.app.parts import Parts
from luma_mcp.app.progress import Progress
from luma_mcp.core.models import Clock, Task, VideoRequest
from luma_mcp.core.observer import Observer
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.text import is_object
from luma_mcp.sandbox.application import GENERATION_SECONDS, STORAGE_URL, Sandbox
from luma_mcp.sandbox.requests import ContractVariant
from luma_mcp.sandbox.transport import open_asgi_transport
from luma_mcp.server.server import build_server
from tests.support.stores import database_of

API_URL = "https://runapi.ai"
KEY = "runapi_live_0123456789"
SOURCE = "https://example.com/clip.mp4"
EPOCH = 1_790_000_000.0
Answer = Callable[[httpx.Request], httpx.Response]
ERAS = ("legacy", "2026-07-28")
MODERN_META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": ERAS[1],
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass
class VirtualClock:
    """The virtual time as POSIX seconds; it can jump, as when a machine sleeps or somebody sets its clock."""

    jumped: float = 0.0

    def __call__(self) -> float:
        return EPOCH + self.jumped + anyio.current_time()


def settings_for(home: Path, **changes: Any) -> Settings:
    own = {"api_key": KEY, "data_dir": home / "data", "output_dir": home / "out", "database_url": database_of(home)}
    return load_settings(**own | changes)


def sandbox_for(
    home: Path,
    *,
    clock: Clock | None = None,
    seconds: float = GENERATION_SECONDS,
    shape: ContractVariant | None = None,
    **more: Any,
) -> Sandbox:
    """Make a sandbox that plays RunAPI at its real address, with its state below a test's home."""
    folder, now = home / "runapi", clock or VirtualClock()
    return Sandbox(folder, now, api_url=API_URL, storage_url=STORAGE_URL, seconds=seconds, shape=shape, **more)


@dataclass
class ProgressRecorder:
    """Progress as it was reported."""

    reports: list[tuple[float, float | None, str]] = field(default_factory=list[tuple[float, float | None, str]])
    times: list[float] = field(default_factory=list[float])

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.reports.append((progress, total, message or ""))
        self.times.append(anyio.current_time())

    @property
    def values(self) -> list[float]:
        return [progress for progress, _, _ in self.reports]

    @property
    def states(self) -> list[str]:
        """The states reported, each once, in order."""
        found = [message.split(",")[0] for _, _, message in self.reports]
        return [state for state, before in zip(found, ["", *found], strict=False) if state != before]


@dataclass
class AppWithSandbox:
    """An open application and the sandbox behind it."""

    app: App
    sandbox: Sandbox

    @property
    def parts(self) -> Parts:
        """The parts of the app, which nothing but tests looks at from outside."""
        return self.app._parts

    def task_count(self) -> int:
        return len(self.sandbox.state.generations())


@dataclass
class Rig(AppWithSandbox):
    """An application whose verbs are called directly, on the virtual clock."""

    clock: VirtualClock

    async def submit(self, prompt: str = "fog", *, source: str = SOURCE, wait: int = 40, **more: Any) -> Task:
        """Call the verb as the tool does."""
        return (await self.ask(prompt, source=source, wait=wait, **more)).task

    async def ask(
        self, prompt: str = "fog", *, source: str = SOURCE, wait: int = 40, caller: str = "local", **more: Any
    ) -> Outcome:
        """Call the verb as the tool does."""
        request = VideoRequest(prompt=prompt, source=source, **more)
        return await self.app.modify_video(request, caller, wait_seconds=wait, progress=Progress(silent))

    async def settle(self, task: Task, seconds: float = 3600.0) -> Task:
        return await self.app.wait(task.key, seconds, Progress(silent))

    @asynccontextmanager
    async def client(self, era: str = ERAS[0], **more: Any) -> AsyncGenerator[Client]:
        async with Client(build_server(self.app), mode=era, **more) as client:
            yield client

    def creates(self) -> int:
        """Count the submissions that RunAPI saw."""
        return sum(
            seen.method == "POST" and seen.path.endswith("/modify_video") for seen in self.sandbox.recorded_requests
        )

    def polls(self) -> int:
        """Count the questions about tasks that RunAPI saw."""
        return sum(seen.method == "GET" and "/modify_video/" in seen.path for seen in self.sandbox.recorded_requests)


def waiting_calls(app: App) -> int:
    return app._parts.changed.waiting


def handler_for(answer: Answer | httpx.Response) -> Answer:
    """Make a handler for `httpx.MockTransport` of a function, or of the one answer that it always gives."""

    def always(_: httpx.Request) -> httpx.Response:
        assert isinstance(answer, httpx.Response)
        return answer

    return always if isinstance(answer, httpx.Response) else answer


class Usage(NamedTuple):
    """How full a disk is, in bytes."""

    total: int
    used: int
    free: int


def disk_with(free: int) -> Callable[[Path], Usage]:
    """Stand in for `shutil.disk_usage` with so many bytes free."""

    def usage(_: Path) -> Usage:
        return Usage(free, 0, free)

    return usage


async def run_inline(work: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
    """Stand in for `anyio.to_thread.run_sync` without a thread, for the virtual clock runs away from real ones."""
    await anyio.lowlevel.checkpoint()
    return work(*arguments)


def make_pipe(path: Path) -> None:
    """Put a named pipe at a path, which whoever opens it carelessly waits at for ever."""
    if sys.platform != "win32":
        os.mkfifo(path)


async def silent(progress: float, total: float, message: str) -> None:
    """Report progress to nobody."""


@asynccontextmanager
async def open_rig(
    home: Path,
    *,
    clock: VirtualClock | None = None,
    sandbox: Sandbox | None = None,
    network: httpx.AsyncBaseTransport | None = None,
    observer: Observer | None = None,
    **changes: Any,
) -> AsyncGenerator[Rig]:
    """Open the application on folders below `home`, with a sandbox or any other transport as its network."""
    now = clock or VirtualClock()
    played = sandbox or sandbox_for(home, clock=now)
    settings = settings_for(home, **changes)
    try:
        async with (
            open_asgi_transport(played) as web,
            open_app(settings, now=now, transport=network or web, observer=observer) as app,
        ):
            yield Rig(app, played, now)
    finally:
        played.state.close()


async def ask_raw(client: Client, era: str, method: str, **params: Any) -> dict[str, Any]:
    """Send what the published client would not."""
    envelope = {"_meta": MODERN_META} if era != ERAS[0] else {}
    return await client.session._dispatcher.send_raw_request(method, {**params, **envelope})


def result_text(result: CallToolResult) -> str:
    """Give the text of a result, which is all that its content holds."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


def structured(result: CallToolResult) -> dict[str, Any]:
    assert is_object(result.structured_content)
    return result.structured_content
