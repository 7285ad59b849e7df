"""What whoever watches over a server over HTTP is told: alive is not ready, and ready is looked at."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import httpx
import pytest

from luma_mcp.runapi.client import REACH_SECONDS
from luma_mcp.transports.health import CACHE_SECONDS, MAX_SILENCE_SECONDS, Health
from tests.support.http_server import PAIRS, hosted
from tests.support.rig import API_URL, Rig, open_rig

pytestmark = pytest.mark.anyio
READY = {"ledger": "ok", "runapi": "ok"}


def asked(rig: Rig) -> list[str]:
    """List the paths that RunAPI was asked for."""
    return [seen.path for seen in rig.sandbox.recorded_requests]


async def test_a_server_is_ready_when_its_ledger_and_runapi_are_there(rig: Rig) -> None:
    assert await Health(rig.app).check() == READY
    assert asked(rig) == ["/api/v1/price_schedules"]
    assert "authorization" not in rig.sandbox.recorded_requests[0].headers


async def test_many_questions_make_one_look(rig: Rig) -> None:
    health = Health(rig.app)
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(health.check)
    assert len(asked(rig)) == 1


async def test_runapi_is_not_asked_when_it_was_heard_lately(rig: Rig) -> None:
    health = Health(rig.app)
    await rig.submit(wait=40)
    before = len(asked(rig))
    assert await health.check() == READY
    assert len(asked(rig)) == before
    await anyio.sleep(MAX_SILENCE_SECONDS + CACHE_SECONDS)
    assert await health.check() == READY
    assert len(asked(rig)) > before


def silent(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no route", request=request)


def failing(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503)


@pytest.mark.parametrize(("answer", "code"), [(silent, "network"), (failing, "service_unavailable")])
async def test_a_server_that_does_not_reach_runapi_is_not_ready(
    home: Path, inline_threads: None, answer: Callable[[httpx.Request], httpx.Response], code: str
) -> None:
    async with open_rig(home, network=httpx.MockTransport(answer)) as rig:
        assert await Health(rig.app).check() == READY | {"runapi": code}


async def test_a_runapi_that_does_not_answer_is_not_awaited_for_long(home: Path, inline_threads: None) -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async with open_rig(home, network=httpx.MockTransport(never)) as rig:
        assert await Health(rig.app).check() == READY | {"runapi": "network"}
        assert anyio.current_time() < 2 * REACH_SECONDS


async def test_a_server_without_a_key_is_not_ready(home: Path, inline_threads: None) -> None:
    async with open_rig(home, api_key=None, base_url=API_URL) as rig:
        assert await Health(rig.app).check() == READY | {"runapi": "missing_api_key"}


async def test_a_server_whose_ledger_cannot_be_written_is_not_ready_until_it_can(rig: Rig) -> None:
    health = Health(rig.app)
    await rig.submit(wait=0)
    with closing(sqlite3.connect(rig.app.settings.data_dir / "tasks.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await health.check())["ledger"] == "output_not_writable"
    await anyio.sleep(CACHE_SECONDS)
    assert await health.check() == READY


@pytest.mark.sockets
async def test_readiness_is_told_by_status_and_in_words(home: Path) -> None:
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        for path, told in (("/healthz", {"status": "alive"}), ("/readyz", {"status": "ready", **READY})):
            answer = await plain.get(path)
            assert (answer.status_code, answer.json()) == (200, told)
        server.app.begin_drain()
        answer = await plain.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "not ready", "server": "ending"})
        assert (await plain.get("/healthz")).status_code == 200
