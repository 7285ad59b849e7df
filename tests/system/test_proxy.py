"""nginx as the release configures it, before two real servers on one PostgreSQL."""

import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from tests.support.http_server import PAIRS, TOKENS, WAYS, bearer
from tests.support.nginx import Proxy, nginx_before
from tests.support.postgres import PostgresServer
from tests.support.raw_http import ACCEPT, initialize, rpc
from tests.support.replicas import Replica, message_in, post_call, replicas_of
from tests.support.rig import SOURCE, structured
from tests.support.sandbox_process import count_charges, sandbox_process
from tests.support.stores import use_database

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sockets,
    pytest.mark.skipif(sys.platform == "win32", reason="replicas are ended by signals"),
]
GENERATION_SECONDS = 1.0
ASK: dict[str, Any] = {"source_video_url": SOURCE}
BOUND_SECONDS = 120.0
CALLS = 8


@dataclass
class Site:
    """What clients call, and what is behind it."""

    proxy: Proxy
    replicas: list[Replica]
    runapi: Path

    def plain(self, caller: str = "ann") -> httpx.AsyncClient:
        headers = bearer(caller)
        return httpx.AsyncClient(
            base_url=self.proxy.url, headers=headers, verify=self.proxy.trusted, timeout=BOUND_SECONDS, trust_env=False
        )

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool once; nginx alone may repeat it."""
        async with self.plain() as http:
            answer = message_in(await post_call(http, self.proxy.url, TOKENS["ann"], tool, **arguments))
        result: dict[str, Any] = answer["result"]["structuredContent"]
        return result

    async def wish(self, prompt: str, ended: list[str]) -> None:
        """Ask for a video until it is there."""
        while not (await self.call("modify_video", prompt=prompt, **ASK)).get("done"):
            pass
        ended.append(prompt)


@pytest.fixture(scope="module")
def runapi(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("runapi")
    with sandbox_process(folder, seconds=GENERATION_SECONDS) as url:
        yield url, folder / "served" / "sandbox"


@pytest.fixture
async def site(home: Path, runapi: tuple[str, Path], postgres: PostgresServer) -> AsyncGenerator[Site]:
    use_database(home, postgres.new_database())
    settings = {"LUMA_MCP_AUTH_TOKENS": PAIRS, "LUMA_MCP_TRANSPORT": "http"}
    with anyio.fail_after(BOUND_SECONDS), replicas_of(home, runapi[0], 2, **settings) as replicas:
        try:
            with nginx_before(replicas, home) as proxy:
                for replica in replicas:
                    replica.start()
                for replica in replicas:
                    await replica.answers()
                yield Site(proxy, replicas, runapi[1])
        except LookupError as error:
            pytest.skip(str(error))


async def test_a_client_does_a_whole_job_through_the_proxy_by_each_transport_in_each_era(site: Site) -> None:
    for path, era in WAYS:
        async with client_of(site, path, era) as client:
            ask = {"prompt": path + era, **ASK, "wait_seconds": 0}
            begun = structured(await client.call_tool("modify_video", ask))
            wait = {"task_id": begun["task_id"], "wait_seconds": 60}
            assert structured(await client.call_tool("get_task", wait))["status"] == "completed"


@asynccontextmanager
async def client_of(site: Site, path: str, era: str) -> AsyncGenerator[Client]:
    """Connect a published client that trusts the proxy's certificate."""

    def trusting(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, verify=site.proxy.trusted)

    address, headers = site.proxy.url + path, bearer("ann")
    if path == "/sse":
        async with Client(sse_client(address, headers=headers, httpx_client_factory=trusting), mode=era) as client:
            yield client
        return
    async with (
        trusting(headers, httpx2.Timeout(60)) as http,
        Client(streamable_http_client(address, http_client=http), mode=era) as client,
    ):
        yield client


async def test_calls_that_a_killed_replica_did_not_answer_are_answered_by_another(site: Site) -> None:
    ended = list[str]()
    async with anyio.create_task_group() as group:
        for number in range(CALLS):
            group.start_soon(site.wish, f"killed {number}", ended)
        await anyio.sleep(GENERATION_SECONDS / 2)  # so that calls wait
        site.replicas[0].kill()
    assert len(ended) == CALLS
    assert {count_charges(site.runapi, prompt) for prompt in ended} == {1}


async def test_a_rolling_restart_behind_the_proxy_fails_no_call(site: Site) -> None:
    ended = list[str]()
    async with anyio.create_task_group() as group:
        for number in range(CALLS):
            group.start_soon(site.wish, f"rolling {number}", ended)
        for replica in site.replicas:
            await anyio.sleep(GENERATION_SECONDS / 2)
            assert await replica.end() == 0
            replica.start()
            await replica.answers()
            group.start_soon(site.wish, f"after {replica.port}", ended)
    assert len(ended) == CALLS + len(site.replicas)
    assert {count_charges(site.runapi, prompt) for prompt in ended} == {1}


async def test_a_session_of_the_handshake_era_sticks_and_its_client_begins_another_when_its_replica_dies(
    site: Site,
) -> None:
    listing = rpc("tools/call", {"name": "list_tasks", "arguments": {}})
    async with site.plain("ann") as ann, site.plain("bob") as bob:
        sessions = [(http, ACCEPT | await initialize(http, "/mcp", ACCEPT)) for http in (ann, bob)]
        for http, headers in sessions * CALLS:
            assert (await http.post("/mcp", json=listing, headers=headers)).status_code == 200
        for replica in site.replicas:
            replica.kill()
        site.replicas[1].start()
        await site.replicas[1].answers()
        for http, headers in sessions:
            assert (await http.post("/mcp", json=listing, headers=headers)).status_code == 404
            anew = ACCEPT | await initialize(http, "/mcp", ACCEPT)
            assert (await http.post("/mcp", json=listing, headers=anew)).status_code == 200
