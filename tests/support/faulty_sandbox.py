"""A sandbox served by this process, of whose answers a share goes wrong."""

import random
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import uvicorn
from starlette.types import ASGIApp

from luma_mcp.sandbox.faults import Fault, Faults, Kind

KINDS: dict[str, tuple[Kind, ...]] = {
    "create": ("drop_before", "drop_after", "500", "503", "429", "html", "malformed", "slow"),
    "read": ("drop_before", "500", "503", "429", "html", "malformed", "slow"),
    "output": ("drop_before", "503", "slow"),
}


class RandomFaults(Faults):
    """A share of all requests goes wrong."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share
        self._chance = random.Random(2026)  # noqa: S311 - the same faults in every run

    def take(self, route: str, *, generation: bool = False) -> Fault | None:
        if generation or route not in KINDS or self._chance.random() >= self._share:
            return None
        return Fault(self._chance.choice(KINDS[route]), route, seconds=2)


@asynccontextmanager
async def sandbox_served(sandbox: ASGIApp, listener: socket.socket) -> AsyncGenerator[None]:
    """Serve the sandbox in this process."""
    server = uvicorn.Server(uvicorn.Config(sandbox, log_config=None, lifespan="off"))
    async with anyio.create_task_group() as group:
        group.start_soon(partial(server.serve, sockets=[listener]))
        yield
        server.should_exit = True
