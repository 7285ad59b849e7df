"""A task outlives the server that began it: real processes are killed, and another gives the client its result."""

import json
import subprocess
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from luma_mcp.server.tasks import EXTENSION_ID
from tests.support.http_server import connected
from tests.support.persons import CAN_ASK, YES, answered, modern_call
from tests.support.rig import SOURCE, structured
from tests.support.sandbox_process import SERVER, count_charges, sandbox_process, server_environment
from tests.support.task_client import MODERN, TASKS_META, TaskFollower, TaskHandle
from tests.system.crashing import Crashing, server

pytestmark = pytest.mark.anyio
GENERATION_SECONDS = 6.0  # RunAPI is asked at least twice
PATIENCE_SECONDS = 120.0
TOKEN = "token-of-ann-0123456789"  # noqa: S105 - of this test alone
POINTS = ("", "poll.asking", "poll.answered", "download.receiving", "download.published")  # "": right after the handle


@dataclass(frozen=True)
class RunAPI:
    """The sandbox that all servers talk to, and where it keeps what it was asked."""

    url: str
    folder: Path

    def charges(self, prompt: str) -> int:
        """Count the tasks that were made of a prompt."""
        return count_charges(self.folder, prompt)


@pytest.fixture(scope="module")
def runapi(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunAPI]:
    folder = tmp_path_factory.mktemp("runapi")
    with sandbox_process(folder, seconds=GENERATION_SECONDS) as url:
        yield RunAPI(url, folder / "served" / "sandbox")


def ask(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "source_video_url": SOURCE}


def request(wire: Crashing, method: str, **params: Any) -> dict[str, Any]:
    """Ask as a client that knows tasks, line by line."""
    answer: dict[str, Any] = wire.receive(wire.send(method, {**params, "_meta": TASKS_META}))[-1]["result"]
    return answer


def heard_until_over(wire: Crashing, task_id: str) -> dict[str, Any]:
    """Listen for a task until it is over, and give what was said of it."""
    wire.send("subscriptions/listen", {"notifications": {"taskIds": [task_id]}, "_meta": TASKS_META})
    while line := wire.stdout.readline():
        message = json.loads(line)
        if message.get("method") == "notifications/tasks" and message["params"]["status"] != "working":
            told: dict[str, Any] = message["params"]
            return told
    raise EOFError("the server ended")


def killed_and_heard_of_elsewhere(home: Path, url: str, point: str) -> dict[str, Any]:
    """Begin a task with a server that dies, and give what another one says of its end."""
    environment = server_environment(home, url)
    with server(environment, home / "log", point, shakes_hands=False) as first:
        task = request(first, "tools/call", name="modify_video", arguments=ask(home.name))
        assert (task["resultType"], task["status"]) == ("task", "working")
        if point:
            assert first.killed, f"{point} was never reached"
        else:
            first.kill()
    with server(environment, home / "log", shakes_hands=False) as second:
        heard = heard_until_over(second, task["taskId"])
        asked = request(second, "tasks/get", taskId=task["taskId"])
        assert asked["result"] == heard["result"]
        return heard


def test_a_task_begun_over_stdio_by_a_server_that_is_killed_is_finished_by_another(home: Path, runapi: RunAPI) -> None:
    homes = {point: home / (point.replace(".", "-") or "at-once") for point in POINTS}
    for own in homes.values():
        own.mkdir()
    with ThreadPoolExecutor(len(POINTS)) as pool:
        rounds = {
            point: pool.submit(killed_and_heard_of_elsewhere, own, runapi.url, point) for point, own in homes.items()
        }
    for point, round_ in rounds.items():
        done = round_.result()["result"]["structuredContent"]
        assert (done["status"], Path(done["video_path"]).is_file()) == ("completed", True), point
        assert runapi.charges(homes[point].name) == 1, point


def test_a_person_is_asked_before_the_task_and_any_server_goes_on_with_either(home: Path, runapi: RunAPI) -> None:
    environment, prompt = server_environment(home, runapi.url, LUMA_MCP_CONFIRM="ask"), "asked first"
    can: dict[str, Any] = {**CAN_ASK, "extensions": {EXTENSION_ID: {}}}

    def called(wire: Crashing, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = wire.receive(wire.send("tools/call", modern_call(ask(prompt), can, **more)))[-1]
        result: dict[str, Any] = answer["result"]
        return result

    with server(environment, home / "log", shakes_hands=False) as first:
        question = called(first)
        assert (question["resultType"], runapi.charges(prompt)) == ("input_required", 0)
        first.kill()
    yes = answered(question, YES)
    with server(environment, home / "log", shakes_hands=False) as second:
        task = called(second, **yes)
        assert (task["resultType"], task["status"]) == ("task", "working")
        second.kill()
    with server(environment, home / "log", shakes_hands=False) as third:
        assert called(third, **yes)["taskId"] == task["taskId"], "played again, a yes finds its task"
        done = heard_until_over(third, task["taskId"])["result"]["structuredContent"]
        again = called(third, **yes)["structuredContent"]
    assert (done["status"], again["task_id"], again["joined"]) == ("completed", done["task_id"], True)
    assert runapi.charges(prompt) == 1


@contextmanager
def http_server(environment: dict[str, str]) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Serve over HTTP on a free port, and give the process and its address."""
    command = [*SERVER, "--transport", "http", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stderr
        try:
            line = next(line for line in process.stderr if "http://" in line)
            yield process, f"http://{line.split('http://')[1].split('/')[0].split()[0]}/mcp"
        finally:
            process.kill()


@pytest.mark.sockets
async def test_a_task_begun_over_http_by_a_server_that_is_killed_is_finished_by_another(
    home: Path, runapi: RunAPI
) -> None:
    settings = {"LUMA_MCP_AUTH_TOKENS": f"ann:{TOKEN}", "LUMA_MCP_SAVE": "auto", "LUMA_MCP_LOG_LEVEL": "INFO"}
    environment, shown = server_environment(home, runapi.url, **settings), {"Authorization": f"Bearer {TOKEN}"}
    tasks = TaskFollower()
    with (
        anyio.fail_after(PATIENCE_SECONDS),
        http_server(environment) as (first, url),
        http_server(environment) as (_, other),
    ):
        async with connected(url, MODERN, headers=shown, extensions=[TaskFollower()]) as client:
            task = await client.session.call_tool("modify_video", ask("over http"), allow_claimed=True)
            assert isinstance(task, TaskHandle)
            first.kill()
        async with connected(other, MODERN, headers=shown, extensions=[tasks]) as client:
            done = structured(await tasks.follow(client.session, task.task_id))
            joined = structured(await client.call_tool("modify_video", ask("over http")))
    assert (done["status"], Path(done["video_path"]).is_file()) == ("completed", True)
    assert (joined["task_id"], joined["joined"]) == (done["task_id"], True)
    assert tasks.handles == [], "a join of what is there is no task"
    assert runapi.charges("over http") == 1


@pytest.mark.sockets
async def test_the_published_client_follows_a_task_over_stdio(home: Path, runapi: RunAPI) -> None:
    tasks = TaskFollower()
    command, environment = SERVER, server_environment(home, runapi.url)
    parameters = StdioServerParameters(command=command[0], args=command[1:], env=environment)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(stdio_client(parameters), mode=MODERN, extensions=[tasks]) as client:
            done = structured(await client.call_tool("modify_video", ask("by the published client")))
    assert (done["status"], len(tasks.handles)) == ("completed", 1)
    assert tasks.told[-1].status == "completed"
