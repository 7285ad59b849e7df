"""A RunAPI that runs in this process, for newcomers without a key and for tests; held to the contract by its own."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from luma_mcp.core.models import SANDBOX_ORIGIN, Clock
from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.transport import InProcess, in_process

STORAGE_URL = "https://storage.sandbox.invalid"

__all__ = ["STORAGE_URL", "Sandbox", "embedded", "in_process"]


@asynccontextmanager
async def embedded(folder: Path, now: Clock) -> AsyncGenerator[InProcess]:
    """Give a transport behind which a sandbox, with its state in `folder`, answers for every host."""
    sandbox = Sandbox(folder, now, api_url=SANDBOX_ORIGIN, storage_url=STORAGE_URL, watch=False)
    try:
        async with in_process(sandbox) as transport:
            yield transport
    finally:
        sandbox.state.close()
