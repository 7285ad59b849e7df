"""Two real servers on one PostgreSQL, and clients whose requests reach now the one, now the other."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.http_server import PAIRS, TOKENS, bearer
from tests.support.postgres import PostgresServer
from tests.support.raw_http import ACCEPT, initialize, modern_headers, rpc
from tests.support.replicas import Fleet, Replica, fleet_of, message_in, replicas_of
from tests.support.rig import ERAS, MODERN_META, SOURCE, structured
from tests.support.sandbox_process import count_charges, sandbox_process
from tests.support.stores import use_database

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sockets,
    pytest.mark.skipif(sys.platform == "win32", reason="replicas are ended by signals"),
]
GENERATION_SECONDS = 1.0
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}
TOKEN = TOKENS["ann"]
CALLERS = 6
WISHES = 8  # of each caller, one after the other
BOUND_SECONDS = 120.0
AGAIN = {"503", "ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}  # what clients and balancers repeat


@pytest.fixture(scope="module")
def runapi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give where the tests' RunAPI remembers its tasks."""
    return tmp_path_factory.mktemp("runapi") / "served" / "sandbox"


@pytest.fixture(scope="module")
def url(runapi: Path) -> Generator[str]:
    with sandbox_process(runapi.parents[1], seconds=GENERATION_SECONDS) as url:
        yield url


@pytest.fixture
async def fleet(home: Path, url: str, postgres: PostgresServer) -> AsyncGenerator[Fleet]:
    use_database(home, postgres.new_database())
    with anyio.fail_after(BOUND_SECONDS), replicas_of(home, url, 2, LUMA_MCP_AUTH_TOKENS=PAIRS) as replicas:
        async with fleet_of(replicas) as fleet:
            yield fleet


class RoundRobin(httpx2.AsyncBaseTransport):
    """A load balancer without stickiness: each request reaches the next replica."""

    def __init__(self, replicas: list[Replica]) -> None:
        self._ports = cycle([replica.port for replica in replicas])
        self._network = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(port=next(self._ports))
        return await self._network.handle_async_request(request)

    async def aclose(self) -> None:
        await self._network.aclose()


@asynccontextmanager
async def balanced_client(replicas: list[Replica]) -> AsyncGenerator[Client]:
    transport = RoundRobin(replicas)
    async with (
        httpx2.AsyncClient(transport=transport, headers=bearer("ann"), timeout=60) as http,
        Client(streamable_http_client("http://127.0.0.1/mcp", http_client=http), mode=ERAS[1]) as client,
    ):
        yield client


async def test_a_client_does_a_whole_job_whichever_replica_each_request_reaches(fleet: Fleet) -> None:
    async with balanced_client(fleet.replicas) as client:
        begun = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        for _ in range(2):
            wait = {"task_id": begun["task_id"], "wait_seconds": 60}
            assert structured(await client.call_tool("get_task", wait))["status"] == "completed"
            listed = structured(await client.call_tool("list_tasks", {}))["tasks"]
            assert [task["task_id"] for task in listed] == [begun["task_id"]]
            again = structured(await client.call_tool("modify_video", ASK))
            assert (again["task_id"], again["joined"]) == (begun["task_id"], True)


async def test_a_call_on_one_replica_ends_with_a_task_that_another_follows(fleet: Fleet) -> None:
    ours, theirs = fleet.replicas
    begun = await structured_of(fleet, ours, "modify_video", **ASK, wait_seconds=0)
    async with anyio.create_task_group() as group:
        for replica in (ours, theirs):
            group.start_soon(see_end, fleet, replica, begun["task_id"])


async def see_end(fleet: Fleet, replica: Replica, task_id: str) -> None:
    task = await structured_of(fleet, replica, "get_task", task_id=task_id, wait_seconds=60)
    assert task["status"] == "completed"
    assert task["elapsed_seconds"] < BOUND_SECONDS / 4


async def test_a_stream_of_one_replica_tells_of_a_task_of_another(fleet: Fleet) -> None:
    ours, theirs = fleet.replicas
    async with listening(fleet, theirs) as told:
        assert "notifications/subscriptions/acknowledged" in await anext(told)
        await structured_of(fleet, ours, "modify_video", **ASK)
        while "luma://tasks" not in (line := await anext(told)):
            pass
        assert "notifications/resources/updated" in line


@asynccontextmanager
async def listening(fleet: Fleet, replica: Replica) -> AsyncGenerator[AsyncIterator[str]]:
    """Give what a replica tells a client of 2026-07-28 that listens to the list of tasks."""
    wanted = {"resourceSubscriptions": ["luma://tasks"]}
    message = rpc("subscriptions/listen", {"notifications": wanted, "_meta": MODERN_META})
    headers = ACCEPT | bearer("ann") | modern_headers("subscriptions/listen")
    http = await fleet.client_of(TOKEN)
    async with http.stream("POST", f"{replica.url}/mcp", json=message, headers=headers) as answer:
        yield (line async for line in answer.aiter_lines() if line.startswith("data: "))


async def test_a_question_of_one_replica_can_be_answered_to_another(
    home: Path, url: str, postgres: PostgresServer
) -> None:
    use_database(home, postgres.new_database())
    with replicas_of(home, url, 2, LUMA_MCP_AUTH_TOKENS=PAIRS, LUMA_MCP_CONFIRM="ask") as replicas:
        async with fleet_of(replicas) as fleet:
            asked = await ask_person(fleet, replicas[0], {})
            assert asked["resultType"] == "input_required"
            said = {"charge": {"action": "accept", "content": {"pay": True}}}
            answer = await ask_person(
                fleet, replicas[1], {"inputResponses": said, "requestState": asked["requestState"]}
            )
    assert answer["structuredContent"]["status"] == "completed"


async def ask_person(fleet: Fleet, replica: Replica, said: dict[str, Any]) -> dict[str, Any]:
    """Call `modify_video` as a client that can show a form, with what the person has said to it."""
    can_ask: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
    call = rpc("tools/call", {"name": "modify_video", "arguments": ASK, "_meta": MODERN_META | can_ask, **said})
    headers = ACCEPT | bearer("ann") | modern_headers("tools/call", "modify_video")
    http = await fleet.client_of(TOKEN)
    answer = message_in(await http.post(f"{replica.url}/mcp", json=call, headers=headers))
    result: dict[str, Any] = answer["result"]
    return result


async def test_what_a_killed_replica_followed_is_finished_by_another_and_charged_once(
    fleet: Fleet, runapi: Path
) -> None:
    dead, alive = fleet.replicas
    begun = await structured_of(fleet, dead, "modify_video", **ASK | {"prompt": "killed"}, wait_seconds=0)
    dead.kill()
    assert await fleet.call_one(dead.url, TOKEN, "list_tasks") is None
    ended = await structured_of(fleet, alive, "get_task", task_id=begun["task_id"], wait_seconds=60)
    assert ended["status"] == "completed"
    again = await structured_of(fleet, alive, "modify_video", **ASK | {"prompt": "killed"})
    assert again["task_id"] == begun["task_id"]
    assert count_charges(runapi, "killed") == 1


async def test_a_rolling_restart_fails_no_call_that_a_client_would_not_repeat(fleet: Fleet, runapi: Path) -> None:
    ended = list[str]()

    async def wish(caller: int) -> None:
        for number in range(WISHES):
            prompt = f"rolling {caller} {number}"
            while not (await fleet.call(TOKEN, "modify_video", **ASK | {"prompt": prompt})).get("done"):
                pass
            ended.append(prompt)

    async with anyio.create_task_group() as group:
        for caller in range(CALLERS):
            group.start_soon(wish, caller)
        for replica in fleet.replicas:
            await anyio.sleep(GENERATION_SECONDS)  # so that tasks run and calls wait
            assert await replica.end() == 0
            replica.start()
            await replica.answers()
    assert fleet.seen.keys() - AGAIN == {"200"}
    assert {count_charges(runapi, prompt) for prompt in ended} == {1}
    assert len(ended) == CALLERS * WISHES


async def test_a_session_of_the_handshake_era_ends_with_its_replica_and_its_client_begins_another(
    fleet: Fleet,
) -> None:
    dead, alive = fleet.replicas
    task = await structured_of(fleet, alive, "modify_video", **ASK)
    call = rpc("tools/call", {"name": "get_task", "arguments": {"task_id": task["task_id"]}})
    async with plain(dead) as http:
        session = await initialize(http, "/mcp", ACCEPT)
        assert message_in(await http.post("/mcp", json=call, headers=ACCEPT | session))["result"]
    dead.kill()
    async with plain(alive) as http:
        assert (await http.post("/mcp", json=call, headers=ACCEPT | session)).status_code == 404
        session = await initialize(http, "/mcp", ACCEPT)
        found = message_in(await http.post("/mcp", json=call, headers=ACCEPT | session))
    assert found["result"]["structuredContent"]["status"] == "completed"


def plain(replica: Replica) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=replica.url, headers=bearer("ann"), timeout=60, trust_env=False)


async def structured_of(fleet: Fleet, replica: Replica, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool of one replica, and give its structured result."""
    answer = await fleet.call_one(replica.url, TOKEN, tool, **arguments)
    assert answer
    result: dict[str, Any] = answer["result"]["structuredContent"]
    return result
