"""The sandbox makes, bills, refuses and calls back as RunAPI does, and calls nobody outside this machine."""

import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
import uvicorn
from runapi.core import errors as official
from runapi.luma import LumaClient
from starlette.types import Receive, Scope, Send

from luma_mcp.core.models import SANDBOX_SECONDS_HEADER
from luma_mcp.sandbox.application import STORAGE_URL, Sandbox
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import ContractVariant
from luma_mcp.sandbox.serve import HOST
from luma_mcp.sandbox.tasks import is_callback_url
from tests.support.http_server import SandboxClock
from tests.support.rig import API_URL, SOURCE, sandbox_for
from tests.support.sandbox_clients import ASK, inline_client, keyed, official_client


def test_the_same_key_and_request_give_the_same_task_and_another_request_a_conflict(luma: LumaClient) -> None:
    first = luma.modify_video.create(options=keyed("k1"), **ASK)
    again = luma.modify_video.create(options=keyed("k1"), **ASK)
    assert (again.id, again["task_replayed"]) == (first.id, True)
    with pytest.raises(official.ConflictError) as raised:
        luma.modify_video.create(options=keyed("k1"), **{**ASK, "prompt": "snow"})
    assert raised.value.code == "request_conflict"
    assert raised.value.runapi_task_id == first.id


def test_each_answer_about_a_task_tells_how_long_it_takes_unless_it_is_to_be_as_runapis(
    home: Path, clock: SandboxClock
) -> None:
    for variant, told in ((ContractVariant(), "2.5"), (ContractVariant(tells_seconds=False), None)):
        sandbox = sandbox_for(home / str(told), clock=clock, seconds=2.5, shape=variant)
        with inline_client(sandbox) as http:
            made = http.post("/api/v1/luma/modify_video", json=ASK)
            read = http.get(f"/api/v1/luma/modify_video/{made.json()['id']}")
        assert [answer.headers.get(SANDBOX_SECONDS_HEADER) for answer in (made, read)] == [told, told]
        sandbox.state.close()


def test_the_official_client_retries_under_a_key_and_is_charged_once(
    luma: LumaClient, served: tuple[Sandbox, str]
) -> None:
    sandbox, url = served
    sandbox.faults.inject(Fault("drop_after"), Fault("503"))
    with official_client(url, max_retries=2, retry_base_delay=0.01) as patient:
        made = patient.modify_video.create(options=keyed("k2"), **ASK)
    assert made["task_replayed"]
    assert sandbox.state.charged_cents() == 50


@pytest.mark.parametrize("missing", ["prompt", "source_video_url", "model"])
def test_a_request_without_a_required_field_is_refused_by_name(luma: LumaClient, missing: str) -> None:
    blank: dict[str, Any] = ASK | {missing: " "}
    with pytest.raises(official.ValidationError) as raised:
        luma.modify_video.create(**blank)
    assert raised.value.status == 400
    assert missing in raised.value.details["errors"]


def test_an_account_without_money_gets_402_but_its_replays_are_answered(
    served: tuple[Sandbox, str], home: Path
) -> None:
    poor = Sandbox(home / "poor", SandboxClock(), api_url=API_URL, storage_url=STORAGE_URL, credit_cents=50)
    with (
        closing(poor.state),
        inline_client(poor) as client,
    ):
        path, key = "/api/v1/luma/modify_video", {"Idempotency-Key": "once"}
        codes = [client.post(path, json=ASK, headers=key).status_code for _ in range(2)]
        assert [*codes, client.post(path, json=ASK).status_code] == [200, 200, 402]


def test_where_the_contract_is_uncertain_the_other_answers_can_be_had(home: Path, clock: SandboxClock) -> None:
    shape = ContractVariant(
        create_code=202, id_field="task_id", first_status="queued", validation_code=422, with_sources=False,
        with_billing=True, boolean_watermark=False,
    )  # fmt: skip
    odd = Sandbox(home / "odd", clock, api_url=API_URL, storage_url=STORAGE_URL, seconds=0, shape=shape)
    with (
        closing(odd.state),
        inline_client(odd) as client,
    ):
        path = "/api/v1/luma/modify_video"
        made = client.post(path, json=ASK)
        assert (made.status_code, made.json()["status"]) == (202, "queued")
        done = client.get(f"{path}/{made.json()['task_id']}").json()
        assert done["billing"]["settlement"]["charged_amount_cents"] == 50
        assert "usage" not in done
        assert "sources" not in done
        refused = client.post(path, json={**ASK, "watermark": True})
        assert (refused.status_code, refused.json()["errors"]) == (422, {"watermark": ["must be a string"]})


class Hook:
    """Takes calls on a real socket, and answers all of them with a failure."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.another = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.taken.append(json.loads((await receive())["body"]))
        self.another.set()
        self.another = anyio.Event()
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body"})


@pytest.mark.anyio
@pytest.mark.sockets
async def test_the_end_of_a_task_is_called_once_on_this_machine_with_what_a_question_would_be_answered(
    home: Path, clock: SandboxClock
) -> None:
    sandbox, hook = Sandbox(home / "s", clock, api_url=API_URL, storage_url=STORAGE_URL), Hook()
    listener = socket.create_server((HOST, 0))
    address = f"http://{HOST}:{listener.getsockname()[1]}/callbacks/hook"
    server = uvicorn.Server(uvicorn.Config(hook, lifespan="off", log_config=None))
    told: list[dict[str, Any]] = []
    asked = {"failure": address, "fog": address, "abroad": "https://example.com/hook", "nobody": ""}
    sandbox.faults.inject(Fault("fail"))
    async with (
        anyio.create_task_group() as serving,
        httpx.AsyncClient(transport=httpx.ASGITransport(sandbox)) as http,
        anyio.create_task_group() as calling,
    ):
        serving.start_soon(server.serve, [listener])
        calling.start_soon(sandbox.send_callbacks)
        await anyio.lowlevel.checkpoint()
        for prompt, callback in asked.items():
            body = ASK | {"prompt": prompt, "callback_url": callback}
            await http.post(f"{API_URL}/api/v1/luma/modify_video", json=body, headers={"Authorization": "Bearer k"})
        clock.passed += 100
        with anyio.fail_after(20):
            while len(hook.taken) < 2:
                await hook.another.wait()
        told = [await read(http, task.id) for task in sandbox.state.generations()[:2]]
        calling.cancel_scope.cancel()
        server.should_exit = True
    assert sorted(hook.taken, key=str) == sorted(told, key=str)
    assert {task["status"] for task in told} == {"failed", "completed"}
    sandbox.state.close()


async def read(http: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    """Ask about a task."""
    url = f"{API_URL}/api/v1/luma/modify_video/{task_id}"
    answer: dict[str, Any] = (await http.get(url, headers={"Authorization": "Bearer k"})).json()
    return answer


@pytest.mark.parametrize(
    ("address", "called"),
    [
        ("http://127.0.0.1:8000/callbacks/abc_-1", True),
        ("http://localhost/callbacks/abc", True),
        ("https://127.9.9.9/callbacks/abc", True),
        ("http://127.0.0.1:8000/", False),
        ("http://127.0.0.1:8000/callbacks", False),
        ("http://127.0.0.1:8000/callbacks/", False),
        ("http://127.0.0.1:8000/callbacks/a/b", False),
        ("http://127.0.0.1:8000/callbacks/../admin", False),
        ("http://127.0.0.1:8000/callbacks/%2e%2e/admin", False),
        ("http://127.0.0.1:8000/callbacks/a%2Fb", False),
        ("http://127.0.0.1:8000/callbacks/a?x=1", False),
        ("http://127.0.0.1:8000/callbacks/a#x", False),
        ("http://127.0.0.1:8000/x/callbacks/a", False),
        ("http://me:secret@127.0.0.1/callbacks/a", False),
        ("http://127.0.0.1\\@evil.example/callbacks/a", False),
        ("http://localhost.evil.example/callbacks/a", False),
        ("http://192.168.1.1/callbacks/a", False),
        ("http://0.0.0.0/callbacks/a", False),
        ("http://evil.example/callbacks/a", False),
        ("ftp://127.0.0.1/callbacks/a", False),
        ("file:///callbacks/a", False),
        ("http://[::1/callbacks/a", False),
        ("", False),
    ],
)
def test_only_servers_of_this_machine_are_called_back(address: str, called: bool) -> None:
    assert is_callback_url(address) is called


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 307 Moved\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nendless"],
)
async def test_a_call_is_led_nowhere_and_reads_nothing(played: Sandbox, clock: SandboxClock, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hook, socket.create_server(("127.0.0.1", 0)) as other:
        hook.settimeout(60)
        other.settimeout(0)
        body = {"callback_url": f"http://127.0.0.1:{hook.getsockname()[1]}/callbacks/x", "source_video_url": SOURCE}
        async with anyio.create_task_group() as calling:
            calling.start_soon(played.send_callbacks)
            await anyio.lowlevel.checkpoint()
            played.state.create_or_replay(None, body, 0, "")
            connection, _ = await anyio.to_thread.run_sync(hook.accept)
            with connection:
                elsewhere = f"http://127.0.0.1:{other.getsockname()[1]}/callbacks/x"
                await anyio.to_thread.run_sync(connection.recv, 65536)
                connection.sendall(answer.replace(b"{other}", elsewhere.encode()))
                connection.settimeout(60)
                while await anyio.to_thread.run_sync(connection.recv, 65536):
                    pass  # the sandbox ends the connection by itself
            calling.cancel_scope.cancel()
        with pytest.raises(BlockingIOError):
            other.accept()
