"""Questions to a RunAPI that answers as a test says."""

from collections.abc import Callable
from typing import Any

import httpx
from pydantic import SecretStr

from luma_mcp.core.models import Task, VideoRequest
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.connection import open_http_clients
from tests.support.rig import API_URL, EPOCH, KEY, SOURCE, Answer, handler_for

UUID = "550e8400-e29b-41d4-a716-446655440000"


def unsubmitted_task(*, watermark: bool = False, callback_url: str = "") -> Task:
    wanted = VideoRequest(prompt="fog", source=SOURCE, watermark=watermark, callback_url=callback_url)
    return Task(key="key-1", caller="local", request=wanted, created_at=EPOCH, updated_at=EPOCH, source_url=SOURCE)


async def ask(answer: Answer | httpx.Response, question: Callable[[RunAPI], Any], key: str | None = KEY) -> Any:
    async with open_http_clients(httpx.MockTransport(handler_for(answer))) as connection:
        return await question(RunAPI(connection, API_URL, SecretStr(key) if key else None))


async def create(answer: Answer | httpx.Response, submitted: Task | None = None) -> Any:
    return await ask(answer, lambda runapi: runapi.create_task(submitted or unsubmitted_task()))


async def read(answer: Answer | httpx.Response) -> Any:
    return await ask(answer, lambda runapi: runapi.read_task(UUID))
