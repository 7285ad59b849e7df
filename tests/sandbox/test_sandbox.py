"""The sandbox is honest: RunAPI's own published client works against it, and it keeps to the contract."""

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
import uvicorn
from runapi.core import RequestOptions
from runapi.core import errors as official
from runapi.luma import LumaClient
from starlette.types import Receive, Scope, Send

from luma_mcp.sandbox.application import STORAGE_URL, Sandbox
from luma_mcp.sandbox.faults import Fault, Kind
from luma_mcp.sandbox.http import Shape, bundled_clip
from luma_mcp.sandbox.serve import HOST
from luma_mcp.sandbox.state import Generation
from tests.support.rig import API_URL, EPOCH, SOURCE

ASK: dict[str, Any] = {"model": "luma-modify-video", "prompt": "fog", "source_video_url": SOURCE}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = EPOCH

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Stage:
    """An ASGI application in front of whichever sandbox a test plays with."""

    def __init__(self, url: str, storage_url: str) -> None:
        self.url = url
        self.storage_url = storage_url
        self.sandbox: Sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.sandbox(scope, receive, send)


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    """Serve on a real socket, in a thread of its own."""
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    stage = Stage(f"http://{HOST}:{port}", f"http://localhost:{port}")
    server = uvicorn.Server(uvicorn.Config(stage, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield stage
    server.should_exit = True
    thread.join()


@pytest.fixture
def served(stage: Stage, home: Path, clock: Clock) -> Generator[tuple[Sandbox, str]]:
    shape = Shape(poll_retry_after=0.01)
    stage.sandbox = Sandbox(home / "s", clock, api_url=stage.url, storage_url=stage.storage_url, seconds=0, shape=shape)
    yield stage.sandbox, stage.url
    stage.sandbox.state.close()


@contextmanager
def official_client(url: str, **options: Any) -> Generator[LumaClient]:
    """Open RunAPI's own client."""
    client = LumaClient(api_key="sandbox", base_url=url, **{"max_retries": 0, **options})
    yield client
    vars(client)["_http"].close()


@pytest.fixture
def luma(served: tuple[Sandbox, str]) -> Generator[LumaClient]:
    with official_client(served[1]) as client:
        yield client


def keyed(key: str) -> Any:
    return RequestOptions(headers={"Idempotency-Key": key})


def test_the_official_client_creates_reads_and_runs(luma: LumaClient) -> None:
    made = luma.modify_video.create(**ASK)
    assert made.status == "processing"
    assert made.response_header("X-RunAPI-Task-Id") == made.id
    assert made.response_header("x-request-id")
    done = luma.modify_video.get(made.id)
    assert done.status == "completed"
    assert done.usage.cost == 0.5
    assert done.sources[0].url == SOURCE
    run = luma.modify_video.run(**ASK)
    assert httpx.get(run.videos[0].url).content == bundled_clip().read_bytes()


def test_a_task_goes_from_pending_to_processing_to_completed_on_the_clock(
    luma: LumaClient, served: tuple[Sandbox, str], clock: Clock
) -> None:
    made = served[0].state.accept(None, ASK, 60, "")[0]
    seen: list[str] = []
    for seconds in (0, 14, 16, 59, 60):
        clock.seconds = EPOCH + seconds
        seen.append(luma.modify_video.get(made.id).status)
    assert seen == ["pending", "pending", "processing", "processing", "completed"]


def test_the_same_key_and_request_give_the_same_task_and_another_request_a_conflict(luma: LumaClient) -> None:
    first = luma.modify_video.create(options=keyed("k1"), **ASK)
    again = luma.modify_video.create(options=keyed("k1"), **ASK)
    assert (again.id, again["task_replayed"]) == (first.id, True)
    with pytest.raises(official.ConflictError) as raised:
        luma.modify_video.create(options=keyed("k1"), **{**ASK, "prompt": "snow"})
    assert raised.value.code == "request_conflict"
    assert raised.value.runapi_task_id == first.id


def test_the_official_client_retries_under_a_key_and_is_charged_once(
    luma: LumaClient, served: tuple[Sandbox, str]
) -> None:
    sandbox, url = served
    sandbox.faults.order(Fault("drop_after"), Fault("503"))
    with official_client(url, max_retries=2, retry_base_delay=0.01) as patient:
        made = patient.modify_video.create(options=keyed("k2"), **ASK)
    assert made["task_replayed"]
    assert sandbox.state.charges() == 50


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("400", official.ValidationError),
        ("401", official.AuthenticationError),
        ("402", official.InsufficientCreditsError),
        ("404", official.NotFoundError),
        ("409", official.ConflictError),
        ("422", official.ValidationError),
        ("429", official.RateLimitError),
        ("500", official.ServerError),
        ("502", official.ServerError),
        ("503", official.ServiceUnavailableError),
        ("504", official.ServerError),
        ("html", official.ServerError),
        ("empty", official.ServerError),
        ("drop_before", official.NetworkError),
        ("drop_after", official.NetworkError),
    ],
)
def test_each_fault_is_the_error_that_the_official_client_knows(
    luma: LumaClient, served: tuple[Sandbox, str], kind: Kind, error: type[Exception]
) -> None:
    served[0].faults.order(Fault(kind, seconds=7))
    with pytest.raises(error) as raised:
        luma.modify_video.create(**ASK)
    if kind == "429":
        assert vars(raised.value)["retry_after"] == 7
    assert served[0].state.generations() == [] or kind == "drop_after"
    assert luma.modify_video.create(**ASK).id


def test_a_slow_answer_outlasts_the_official_clients_patience(served: tuple[Sandbox, str]) -> None:
    served[0].faults.order(Fault("slow", seconds=0.2))
    with official_client(served[1], timeout=0.05) as hasty, pytest.raises(official.TimeoutError):
        hasty.modify_video.create(**ASK)


def test_a_malformed_answer_is_no_task(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    served[0].faults.order(Fault("malformed"))
    with pytest.raises((official.Error, AttributeError, TypeError)):
        _ = luma.modify_video.create(**ASK).id


def test_a_failed_generation_is_told_and_free(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    served[0].faults.order(Fault("fail", text="no motion in the clip"))
    with pytest.raises(official.TaskFailedError, match="no motion"):
        luma.modify_video.run(**ASK)
    assert luma.account.balance().spent_cents_total == 0


@pytest.mark.parametrize("missing", ["prompt", "source_video_url", "model"])
def test_a_request_without_a_required_field_is_refused_by_name(luma: LumaClient, missing: str) -> None:
    blank: dict[str, Any] = ASK | {missing: " "}
    with pytest.raises(official.ValidationError) as raised:
        luma.modify_video.create(**blank)
    assert raised.value.status == 400
    assert missing in raised.value.details["errors"]


@pytest.mark.parametrize("authorization", ["Bearer invalid", "Bearer", "Basic a2V5"])
def test_a_bad_key_is_refused(served: tuple[Sandbox, str], authorization: str) -> None:
    answer = httpx.get(f"{served[1]}/api/v1/me", headers={"Authorization": authorization})
    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorized"})
    assert answer.headers["x-request-id"]


def test_unknown_and_malformed_ids_and_routes_that_do_not_exist_are_refused(
    luma: LumaClient, served: tuple[Sandbox, str]
) -> None:
    with pytest.raises(official.NotFoundError):
        luma.modify_video.get("00000000-0000-4000-8000-000000000000")
    with pytest.raises(official.ValidationError) as raised:
        luma.modify_video.get("tsk_abc123")
    assert raised.value.code == "invalid_resource_id"
    path = f"{served[1]}/api/v1/luma/modify_video"
    assert (httpx.get(path).status_code, httpx.delete(f"{path}/x").status_code) == (404, 404)


def test_the_client_request_id_comes_back(served: tuple[Sandbox, str]) -> None:
    answer = httpx.get(f"{served[1]}/api/v1/price_schedules", headers={"X-Client-Request-Id": "mine"})
    assert answer.headers["X-Client-Request-Id"] == "mine"


def test_money_is_debited_for_completed_tasks_only(luma: LumaClient, served: tuple[Sandbox, str], clock: Clock) -> None:
    before = luma.account.balance().balance_cents
    served[0].state.accept(None, ASK, 60, "")
    assert luma.account.balance().balance_cents == before
    clock.seconds += 60
    after = luma.account.balance()
    assert (after.balance_cents, after.spent_cents_today, after.spent_cents_total) == (before - 50, 50, 50)


def test_an_account_without_money_gets_402_but_its_replays_are_answered(
    served: tuple[Sandbox, str], home: Path
) -> None:
    poor = Sandbox(home / "poor", Clock(), api_url=API_URL, storage_url=STORAGE_URL, credit_cents=50)
    with (
        closing(poor.state),
        inline_client(poor) as client,
    ):
        path, key = "/api/v1/luma/modify_video", {"Idempotency-Key": "once"}
        codes = [client.post(path, json=ASK, headers=key).status_code for _ in range(2)]
        assert [*codes, client.post(path, json=ASK).status_code] == [200, 200, 402]


def test_prices_are_public_cached_and_quoted(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    schedules = luma.pricing.list_schedules(service="luma", action="modify_video")
    assert schedules is not None
    assert schedules.price_schedules[0].unit_price_cents == 50
    first = httpx.get(f"{served[1]}/api/v1/price_schedules?service=luma")
    again = httpx.get(
        f"{served[1]}/api/v1/price_schedules?service=luma", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (first.status_code, again.status_code) == (200, 304)
    empty = luma.pricing.list_schedules(service="suno")
    assert empty is not None
    assert empty.price_schedules == []
    quote = luma.pricing.create_quote("luma", "modify_video").price_quote
    assert (quote.reservation_amount_cents, quote.currency) == (50, "USD")
    with pytest.raises(official.ValidationError):
        luma.pricing.list_schedules(service="luma-ai")
    with pytest.raises(official.NotFoundError):
        luma.pricing.create_quote("luma", "upscale")


def test_the_owner_of_the_key_is_told(luma: LumaClient) -> None:
    assert luma.account.info().email == "sandbox@example.com"


def test_a_file_uploaded_by_the_official_client_is_the_source_and_comes_back(luma: LumaClient, home: Path) -> None:
    clip = home / "clip.mp4"
    clip.write_bytes(bundled_clip().read_bytes() + b"tail")
    stored = luma.files.create(file=clip)
    assert (stored.size_bytes, stored.mime_type) == (clip.stat().st_size, "video/mp4")
    assert httpx.get(stored.url).content == clip.read_bytes()
    run = luma.modify_video.run(**{**ASK, "source_video_url": stored.url})
    assert httpx.get(run.videos[0].url).content == clip.read_bytes()


def test_files_come_as_base64_or_url_too_and_nothing_else(luma: LumaClient) -> None:
    stored = luma.files.create(source=base64.b64encode(b"clip").decode())
    assert httpx.get(stored.url).content == b"clip"
    assert httpx.get(luma.files.create(source=SOURCE).url).content == bundled_clip().read_bytes()
    for source in ({"type": "ftp"}, {"type": "base64", "data": "***"}):
        with pytest.raises(official.ValidationError):
            luma.files.create(source=source)


def test_an_upload_is_taken_once_complete_and_without_a_key(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    content = b"0123456789"
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    auth = {"Authorization": "Bearer k"}

    def prepared() -> dict[str, Any]:
        body = {"filename": "a.mp4", "byte_size": len(content), "checksum": digest}
        answer: dict[str, Any] = httpx.post(f"{served[1]}/api/v1/files/prepare", json=body, headers=auth).json()
        return answer

    def put(target: dict[str, Any], data: bytes, **more: str) -> int:
        return httpx.put(target["upload_url"], content=data, headers={**target["headers"], **more}).status_code

    def confirm(target: dict[str, Any]) -> int:
        body = {"signed_id": target["signed_id"]}
        return httpx.post(f"{served[1]}/api/v1/files/confirm", json=body, headers=auth).status_code

    target = prepared()
    assert not target["upload_url"].startswith(served[1])
    assert confirm(target) == 404
    assert [put(target, content, Authorization="Bearer k"), put(target, content[:-1]), put(target, b"9" * 10)] == [
        400
    ] * 3
    assert [put(target, content), put(target, content), confirm(target)] == [204, 403, 200]


def test_an_upload_dies_after_an_hour_and_a_task_on_it_fails(luma: LumaClient, clock: Clock, home: Path) -> None:
    (home / "clip.mp4").write_bytes(b"clip")
    stored = luma.files.create(file=home / "clip.mp4")
    clock.seconds += 3600
    assert httpx.get(stored.url).status_code == 404
    with pytest.raises(official.TaskFailedError):
        luma.modify_video.run(**{**ASK, "source_video_url": stored.url})


def test_the_sandbox_remembers_across_processes(home: Path, clock: Clock) -> None:
    def accept() -> tuple[Generation, bool]:
        state = Sandbox(home / "kept", clock, api_url=API_URL, storage_url=STORAGE_URL).state
        with closing(state):
            return state.accept("k", ASK, 8, "")

    made, _ = accept()
    assert accept() == (made, True)


def test_faults_can_be_ordered_over_http(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    url = f"{served[1]}/sandbox/faults"
    assert httpx.post(url, json={"kind": "402", "times": 2}).status_code == 204
    assert httpx.post(url, json={"sort": "402"}).status_code == 400
    for _ in range(2):
        with pytest.raises(official.InsufficientCreditsError):
            luma.modify_video.create(**ASK)
    assert luma.modify_video.create(**ASK).id


def test_where_the_contract_is_uncertain_the_other_answers_can_be_had(home: Path, clock: Clock) -> None:
    shape = Shape(
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
    home: Path, clock: Clock
) -> None:
    sandbox, hook = Sandbox(home / "s", clock, api_url=API_URL, storage_url=STORAGE_URL), Hook()
    listener = socket.create_server((HOST, 0))
    address = f"http://{HOST}:{listener.getsockname()[1]}/callbacks/hook"
    server = uvicorn.Server(uvicorn.Config(hook, lifespan="off", log_config=None))
    told: list[dict[str, Any]] = []
    asked = {"failure": address, "fog": address, "abroad": "https://example.com/hook", "nobody": ""}
    sandbox.faults.order(Fault("fail"))
    async with (
        anyio.create_task_group() as serving,
        httpx.AsyncClient(transport=httpx.ASGITransport(sandbox)) as http,
        anyio.create_task_group() as calling,
    ):
        serving.start_soon(server.serve, [listener])
        calling.start_soon(sandbox.call_back)
        await anyio.lowlevel.checkpoint()
        for prompt, callback in asked.items():
            body = ASK | {"prompt": prompt, "callback_url": callback}
            await http.post(f"{API_URL}/api/v1/luma/modify_video", json=body, headers={"Authorization": "Bearer k"})
        clock.seconds += 100
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
    return httpx.Client(transport=Inline(app), base_url=API_URL, headers={"Authorization": "Bearer k"})
