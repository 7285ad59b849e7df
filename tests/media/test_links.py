"""A link to a result that is refused is asked for anew, never called a good one, and never paid for."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.core.models import Status
from luma_mcp.sandbox.requests import bundled_clip
from luma_mcp.sandbox.transport import open_asgi_transport
from tests.support.rig import SOURCE, Rig, VirtualClock, open_rig, sandbox_for, structured

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
ASK = {"prompt": "fog", "source_video_url": SOURCE}
VIDEO = bundled_clip().read_bytes()
HOUR = 3600.0


@dataclass
class Storage(httpx.AsyncBaseTransport):
    """RunAPI, whose results lie at a storage of its own: which answers `status`, and signs a link at each question."""

    inner: httpx.AsyncBaseTransport
    status: Callable[[str], int]
    signs: bool = True
    content: bytes = VIDEO
    reads: int = 0
    asked: list[str] = field(default_factory=list[str])
    ranges: list[str] = field(default_factory=list[str])
    keys: list[bool] = field(default_factory=list[bool])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "results.example":
            self.asked.append(str(request.url))
            self.ranges.append(request.headers.get("range", ""))
            self.keys.append("authorization" in request.headers)
            status = self.status(request.url.query.decode())
            return httpx.Response(status, content=self.content if status == 200 else b"")
        response = await self.inner.handle_async_request(request)
        if request.method != "GET" or "/modify_video/" not in request.url.path:
            return response
        body = httpx.Response(200, content=await response.aread()).json()
        if body.get("videos"):
            self.reads += 1
            name = request.url.path.rsplit("/", 1)[1]
            body["videos"] = [{"url": f"https://results.example/{name}.mp4?signed={self.reads if self.signs else 1}"}]
        return httpx.Response(200, json=body)


@asynccontextmanager
async def stored(
    home: Path, status: Callable[[str], int], *, signs: bool = True, **changes: Any
) -> AsyncGenerator[tuple[Rig, Storage]]:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_asgi_transport(sandbox) as web:
        storage = Storage(web, status, signs)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=storage, **changes) as rig:
            yield rig, storage


def refused(_: str) -> int:
    return 403


def only(link: int) -> Callable[[str], int]:
    return lambda query: 200 if query == f"signed={link}" else 403


def says_that_it_works(told: dict[str, Any]) -> bool:
    return "works until" in str(told) or "Give the user the link" in str(told)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_result_is_saved_from_the_link_that_runapi_names_now(home: Path, status: int) -> None:
    async with stored(home, lambda query: 200 if query == "signed=2" else status) as (rig, storage):
        task = await rig.settle(await rig.submit())
        assert (task.status, task.error, Path(task.video_path).read_bytes()) == (Status.COMPLETED, None, VIDEO)
        assert task.video_urls[0].endswith("signed=2")
        assert len(storage.asked) == 2
        assert (await rig.parts.ledger.get(task.key)).video_urls == task.video_urls


async def test_a_link_that_stays_refused_is_told_as_that_and_tried_slowly_with_a_fresh_read(home: Path) -> None:
    good = [False]
    async with stored(home, lambda _: 200 if good[0] else 403) as (rig, storage), rig.client() as client:
        told = structured(await client.call_tool("modify_video", ASK))
        assert (told["error"]["code"], told["error"]["charged"]) == ("download_failed", "yes")
        assert "403" in told["error"]["message"]
        assert told["video_urls"]
        assert not says_that_it_works(told)
        reads, asked = storage.reads, len(storage.asked)
        await anyio.sleep(6 * HOUR)
        assert 30 < storage.reads - reads < 60
        assert len(storage.asked) - asked <= 2 * (storage.reads - reads)
        good[0] = True
        await anyio.sleep(HOUR)
        told = structured(await client.call_tool("get_task", {"task_id": told["task_id"]}))
        assert Path(told["video_path"]).read_bytes() == VIDEO
        assert "error" not in told


async def test_a_link_is_tried_before_it_is_paid_for(home: Path) -> None:
    async with stored(home, only(1), save="never") as (rig, storage):
        first = await rig.settle(await rig.submit())
        assert storage.asked == []
        second = await rig.settle(await rig.submit("snow", source=f"luma://tasks/{first.task_id}"))
        assert (second.status, second.source_url) == (Status.COMPLETED, first.video_urls[0])
        assert (storage.ranges, storage.keys) == (["bytes=0-15"], [False])


async def test_a_link_that_is_refused_is_replaced_before_it_is_paid_for(home: Path) -> None:
    async with stored(home, only(2), save="never") as (rig, _), rig.client() as client:
        first = await rig.settle(await rig.submit())
        second = await rig.settle(await rig.submit("snow", source=f"luma://tasks/{first.task_id}"))
        assert second.status is Status.COMPLETED
        assert second.source_url.endswith("signed=2")
        told = structured(await client.call_tool("get_task", {"task_id": first.task_id}))
        assert told["video_urls"] == [second.source_url]


async def test_where_every_link_is_refused_the_saved_file_is_uploaded(home: Path) -> None:
    good = [True]
    async with stored(home, lambda _: 200 if good[0] else 403) as (rig, _):
        first = await rig.settle(await rig.submit())
        good[0] = False
        second = await rig.submit("snow", source=f"luma://tasks/{first.task_id}", wait=0)
        await anyio.sleep(HOUR)
        second = await rig.parts.ledger.get(second.key)
        assert (second.status, rig.task_count()) == (Status.COMPLETED, 2)
        assert "storage.sandbox" in second.source_url
        assert (await rig.parts.ledger.get(first.key)).error is None


@pytest.mark.parametrize("signs", [True, False])
@pytest.mark.parametrize("content", [b"", b"<html>please sign in</html>"])
async def test_what_cannot_be_had_anywhere_is_not_paid_for(home: Path, signs: bool, content: bytes) -> None:
    status = 200 if content else 403
    async with stored(home, lambda _: status, signs=signs, save="never") as (rig, storage), rig.client() as client:
        storage.content = content
        first = await rig.settle(await rig.submit())
        second = await rig.settle(await rig.submit("snow", source=f"luma://tasks/{first.task_id}"))
        assert (second.status, rig.creates()) == (Status.FAILED, 1)
        assert second.error
        assert (second.error.code, second.error.charged) == ("source_not_found", "no")
        if status == 403:
            assert not says_that_it_works(structured(await client.call_tool("get_task", {"task_id": first.task_id})))
        storage.content, storage.status = VIDEO, lambda _: 200
        third = await rig.settle(await rig.submit("snow", source=f"luma://tasks/{first.task_id}"))
        assert (third.status, rig.creates()) == (Status.COMPLETED, 2)
        assert "error" not in structured(await client.call_tool("get_task", {"task_id": first.task_id}))


async def test_trouble_with_a_link_is_waited_out_before_anything_is_paid(home: Path) -> None:
    answers = iter([503, 503, 200])
    async with stored(home, lambda _: next(answers), signs=False, save="never") as (rig, _):
        first = await rig.settle(await rig.submit())
        second = await rig.settle(await rig.submit("snow", source=f"luma://tasks/{first.task_id}"))
        assert (second.status, rig.task_count()) == (Status.COMPLETED, 2)
    async with stored(home, lambda _: 503, save="never") as (rig, _):
        second = await rig.settle(await rig.submit("rain", source=f"luma://tasks/{first.task_id}"))
        assert (second.status, rig.creates()) == (Status.FAILED, 0)


async def test_a_repeated_call_joins_without_a_look_at_the_link(home: Path) -> None:
    async with stored(home, only(1), save="never") as (rig, storage):
        first = await rig.settle(await rig.submit())
        source = f"luma://tasks/{first.task_id}"
        second = await rig.submit("snow", source=source, wait=0)
        await anyio.sleep(5)
        asked = len(storage.asked)
        assert (await rig.submit("snow", source=source, wait=0)).key == second.key
        assert len(storage.asked) == asked
