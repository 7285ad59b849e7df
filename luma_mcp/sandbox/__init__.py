"""A RunAPI that runs in this process, for newcomers without a key and for tests; held to the contract by its own."""

from pathlib import Path

import httpx

from luma_mcp.models import SANDBOX_ORIGIN, Clock
from luma_mcp.sandbox.application import Sandbox

STORAGE_URL = "https://storage.sandbox.invalid"

__all__ = ["STORAGE_URL", "Embedded", "Sandbox"]


class Embedded(httpx.ASGITransport):
    """A transport behind which a sandbox, with its state in `folder`, answers for every host."""

    def __init__(self, folder: Path, now: Clock) -> None:
        self._sandbox = Sandbox(folder, now, api_url=SANDBOX_ORIGIN, storage_url=STORAGE_URL)
        super().__init__(self._sandbox)

    async def aclose(self) -> None:
        """Close the sandbox's file."""
        self._sandbox.state.close()
