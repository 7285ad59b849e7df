"""Clients of a sandbox: RunAPI's own published one, and plain HTTP within this process."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
from runapi.core import RequestOptions
from runapi.luma import LumaClient

from luma_mcp.sandbox.application import Sandbox
from tests.support.rig import API_URL, SOURCE

KEYED = {"Authorization": "Bearer sandbox"}
ASK: dict[str, Any] = {"model": "luma-modify-video", "prompt": "fog", "source_video_url": SOURCE}


@contextmanager
def official_client(url: str, **options: Any) -> Generator[LumaClient]:
    """Open RunAPI's own client."""
    client = LumaClient(api_key="sandbox", base_url=url, **{"max_retries": 0, **options})
    yield client
    vars(client)["_http"].close()


def keyed(key: str) -> Any:
    return RequestOptions(headers={"Idempotency-Key": key})


class Inline(httpx.BaseTransport):
    """Lets a synchronous client talk to an ASGI application in this process."""

    def __init__(self, app: Sandbox) -> None:
        self._transport = httpx.ASGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:

        async def exchange() -> httpx.Response:
            request.stream = httpx.ByteStream(request.read())
            response = await self._transport.handle_async_request(request)
            return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

        return anyio.run(exchange)


def inline_client(app: Sandbox) -> httpx.Client:
    """Open a client on a sandbox in this process."""
    return httpx.Client(transport=Inline(app), base_url=API_URL, headers=KEYED)
