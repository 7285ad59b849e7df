"""The RunAPI client: tolerant of the uncertain, strict about money, and silent about the key."""

import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr

from luma_mcp.core import errors
from luma_mcp.core.errors import InvalidApiKey, InvalidRequest, LumaError
from luma_mcp.core.models import Reading, Status, Task, VideoRequest
from luma_mcp.core.text import safe_text
from luma_mcp.runapi.client import Accepted, RunAPI, Stored
from luma_mcp.runapi.connection import open_connection
from luma_mcp.runapi.error_map import refusal, retry_after_seconds
from luma_mcp.runapi.responses import lifetime_in, reading
from luma_mcp.runapi.upload_targets import UploadTarget
from tests.support.rig import API_URL, EPOCH, KEY, SOURCE, Answer, handler_for

pytestmark = pytest.mark.anyio
FIELDS = {"prompt": ["is required", "is short"]}
UUID = "550e8400-e29b-41d4-a716-446655440000"


def task(*, watermark: bool = False, callback_url: str = "") -> Task:
    """Make a task that is about to be submitted."""
    wanted = VideoRequest(prompt="fog", source=SOURCE, watermark=watermark, callback_url=callback_url)
    return Task(key="key-1", caller="local", request=wanted, created_at=EPOCH, updated_at=EPOCH, source_url=SOURCE)


async def ask(answer: Answer | httpx.Response, question: Callable[[RunAPI], Any], key: str | None = KEY) -> Any:
    """Put a question to a RunAPI that answers as told."""
    async with open_connection(httpx.MockTransport(handler_for(answer))) as connection:
        return await question(RunAPI(connection, API_URL, SecretStr(key) if key else None))


async def create(answer: Answer | httpx.Response, submitted: Task | None = None) -> Any:
    return await ask(answer, lambda runapi: runapi.create(submitted or task()))


async def read(answer: Answer | httpx.Response) -> Any:
    return await ask(answer, lambda runapi: runapi.read(UUID))


async def test_a_submission_says_what_the_contract_asks_for_and_nothing_else() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": UUID, "status": "processing"})

    assert await create(answer) == Accepted(UUID, Status.PROCESSING, replayed=False)
    await create(answer, task(watermark=True, callback_url="https://example.com/hook"))
    plain, full = seen
    assert (plain.method, str(plain.url)) == ("POST", f"{API_URL}/api/v1/luma/modify_video")
    assert plain.headers["authorization"] == f"Bearer {KEY}"
    assert plain.headers["idempotency-key"] == "key-1"
    body = {"model": "luma-modify-video", "prompt": "fog", "source_video_url": SOURCE}
    assert httpx.Response(200, content=plain.content).json() == body
    more = {"watermark": True, "callback_url": "https://example.com/hook"}
    assert httpx.Response(200, content=full.content).json() == body | more


@pytest.mark.parametrize("code", [200, 201, 202])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"id": UUID}, {}),
        ({"task_id": UUID}, {}),
        ({"data": {"id": UUID}}, {}),
        ({"data": {"task_id": UUID}}, {}),
        ({"id": UUID, "task_id": "other"}, {}),
        ({"id": "", "task_id": UUID}, {}),
        ({}, {"X-RunAPI-Task-Id": UUID}),
        ({"id": 17}, {"X-RunAPI-Task-Id": UUID}),
        ({"id": "two words"}, {"X-RunAPI-Task-Id": UUID}),
        ({"taskId": UUID}, {}),
        ({"result": {"task": {"id": UUID}}}, {}),
        ({"data": [{"id": UUID}]}, {}),
        ({"code": 200, "msg": "success", "data": {"taskId": UUID}}, {}),
        ({"id": UUID, "status": "processing", "error": None, "success": True}, {}),
        ({"error": "the callback was not taken"}, {"X-RunAPI-Task-Id": UUID}),
        ({"id": True}, {"X-RunAPI-Task-Id": UUID}),
        ({"id": "<script>"}, {"X-RunAPI-Task-Id": UUID}),
    ],
)
async def test_the_task_id_is_found_wherever_it_is(code: int, body: Any, headers: dict[str, str]) -> None:
    accepted = await create(httpx.Response(code, json=body, headers=headers))
    assert accepted.task_id == UUID


@pytest.mark.parametrize("code", [400, 402, 409, 429, 500, 503])
async def test_an_error_that_names_a_task_means_that_the_task_exists(code: int) -> None:
    answer = httpx.Response(code, json={"error": "text"}, headers={"X-RunAPI-Task-Id": UUID})
    assert (await create(answer)).task_id == UUID


async def test_an_id_in_the_body_of_an_error_is_not_a_tasks() -> None:
    with pytest.raises(errors.InvalidRequest):
        await create(httpx.Response(400, json={"id": "err_17", "error": "text"}))


async def test_an_answer_that_is_too_large_or_never_ends_is_given_up() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await anyio.sleep(5)

    with pytest.raises(errors.BadAnswer, match="too large"):
        await read(httpx.Response(200, content=b" " * (1 << 23)))
    with pytest.raises(errors.NetworkFailure, match="60 seconds") as raised:
        await create(httpx.Response(200, content=drip()))
    assert raised.value.charged == "unknown"


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.PENDING),
        ("queued", Status.PENDING),
        ("processing", Status.PROCESSING),
        ("Completed", Status.COMPLETED),
        ("success", Status.COMPLETED),
        ("FAILED", Status.FAILED),
        ("generate_failed", Status.FAILED),
        ("cancelled", Status.FAILED),
        ("dreaming", Status.PROCESSING),
        ("in queue", Status.PENDING),
        ("In-Progress", Status.PROCESSING),
        (" COMPLETED ", Status.COMPLETED),
        ("Success", Status.COMPLETED),
        ("done", Status.COMPLETED),
        ("ok", Status.COMPLETED),
        ("ready", Status.COMPLETED),
        ("partially_completed", Status.COMPLETED),
        ("ganz fertig", Status.COMPLETED),
        (None, Status.COMPLETED),
        (200, Status.COMPLETED),
        ("rejected", Status.FAILED),
        ("expired", Status.FAILED),
        ("Moderated", Status.FAILED),
        ("NSFW", Status.FAILED),
        ("timed out", Status.FAILED),
    ],
)
async def test_status_words_are_understood_and_an_unknown_one_with_a_result_is_an_end(
    word: Any, status: Status
) -> None:
    answer = {"id": UUID, "status": word, "videos": [{"url": "https://x.example/v.mp4"}]}
    assert (await read(httpx.Response(200, json=answer))).status is status


@pytest.mark.parametrize("word", ["dreaming", "exploring", "processing", None, "in progress"])
@pytest.mark.parametrize("more", [{}, {"videos": []}, {"video_url": SOURCE}, {"sources": [{"url": SOURCE}]}])
async def test_a_task_without_a_result_runs_whatever_its_word(word: Any, more: dict[str, Any]) -> None:
    answer = httpx.Response(200, json={"id": UUID, "status": word, **more})
    assert await read(answer) == Reading(status=Status.PROCESSING)


@pytest.mark.parametrize(
    ("more", "charged"),
    [
        ({"status": "failed"}, "no"),
        ({"status": "failed", "usage": {"cost": 0.5}}, "yes"),
        ({"status": "expired"}, "unknown"),
        ({"status": "moderated", "usage": {"cost": 0}}, "no"),
        ({"status": "nsfw", "usage": {"cost": "0.50"}}, "yes"),
    ],
)
async def test_a_task_that_ended_badly_is_free_only_as_far_as_that_is_certain(
    more: dict[str, Any], charged: str
) -> None:
    found = await read(httpx.Response(200, json={"id": UUID, **more}))
    assert (found.status, found.charged) == (Status.FAILED, charged)
    told = task().accepted(UUID, Status.PENDING, EPOCH).read(found, EPOCH).error
    assert told
    assert (told.code, told.charged, "Nothing was charged" in told.hint) == (
        "generation_failed",
        charged,
        charged == "no",
    )


@pytest.mark.parametrize(
    ("more", "reading"),
    [
        (
            {
                "videos": [{"url": "https://a.example/1.mp4"}, {"url": ""}, "https://a.example/2.mp4"],
                "usage": {"cost": 0.5},
            },
            Reading(
                status=Status.COMPLETED, video_urls=("https://a.example/1.mp4", "https://a.example/2.mp4"), cost_usd=0.5
            ),
        ),
        (
            {"output": {"url": "https://a.example/1.mp4"}, "billing": {"settlement": {"charged_amount_cents": 50}}},
            Reading(status=Status.COMPLETED, video_urls=("https://a.example/1.mp4",), cost_usd=0.5),
        ),
        (
            {"video_url": "https://a.example/1.mp4", "usage": {"cost": 10**400}},
            Reading(status=Status.COMPLETED, video_urls=("https://a.example/1.mp4",)),
        ),
        (
            {"video_url": "https://a.example/1.mp4", "billing": {"settlement": None}, "usage": {"cost": True}},
            Reading(status=Status.COMPLETED, video_urls=("https://a.example/1.mp4",)),
        ),
    ],
)
async def test_a_completed_task_gives_its_videos_and_its_cost(more: dict[str, Any], reading: Reading) -> None:
    assert await read(httpx.Response(200, json={"id": UUID, "status": "completed", **more})) == reading


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text='{"id": "550e84'),
        httpx.Response(200, text="<html><title>Sign in</title></html>"),
        httpx.Response(200, text=""),
        httpx.Response(200, json=["completed"]),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(200, text='{"status": "completed", "videos": [{"url": "https://a.example/\\ud800.mp4"}]}'),
        httpx.Response(200, json={"status": "completed"}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "javascript:alert(1)"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "https://me:secret@a.example/v.mp4"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": f"https://a.example/{'v' * 4096}"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "https:///v.mp4"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "https://a.example:0/v.mp4"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "https://a.example/\nv.mp4"}]}),
        httpx.Response(200, json={"success": False, "message": "try later"}),
        httpx.Response(200, json={"error": "try later"}),
        httpx.Response(200, json={"status": "error", "message": "try later"}),
        httpx.Response(200, json={"message": "Welcome"}),
    ],
)
async def test_an_answer_that_cannot_be_understood_is_a_bad_answer(answer: httpx.Response) -> None:
    with pytest.raises(errors.BadAnswer):
        await read(answer)


@pytest.mark.parametrize("text", ["", "{", "<html>", "[]", '{"status": "processing"}'])
async def test_a_success_without_an_id_or_a_word_leaves_the_charge_unknown(text: str) -> None:
    with pytest.raises(errors.BadAnswer) as raised:
        await create(httpx.Response(200, text=text))
    assert raised.value.charged == "unknown"
    assert raised.value.transient


@pytest.mark.parametrize(
    ("code", "error", "charged"),
    [
        (400, errors.InvalidRequest, "no"),
        (401, errors.InvalidApiKey, "no"),
        (402, errors.InsufficientCredits, "no"),
        (451, errors.InvalidRequest, "no"),
        (404, errors.WrongAddress, "no"),
        (409, errors.Conflict, "unknown"),
        (413, errors.InvalidRequest, "no"),
        (418, errors.BadAnswer, "unknown"),
        (422, errors.InvalidRequest, "no"),
        (429, errors.RateLimited, "no"),
        (408, errors.ServiceUnavailable, "unknown"),
        (500, errors.ServiceUnavailable, "unknown"),
        (502, errors.ServiceUnavailable, "unknown"),
        (503, errors.ServiceUnavailable, "unknown"),
        (504, errors.ServiceUnavailable, "unknown"),
    ],
)
async def test_each_status_is_one_of_our_errors_that_says_whether_it_cost_money(
    code: int, error: type[errors.LumaError], charged: str
) -> None:
    with pytest.raises(error) as raised:
        await create(httpx.Response(code, json={"error": "text"}))
    assert (raised.value.charged, bool(raised.value.hint)) == (charged, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"json": {"error": "plain text"}}, "plain text"),
        ({"json": {"error": "Validation failed", "errors": FIELDS}}, "prompt is required, is short"),
        ({"json": {"error": {"code": "request_conflict", "message": "structured"}}}, "structured"),
        ({"json": {"error": "with code", "code": "cli_listen_required"}}, "with code"),
        ({"json": {"message": "only a message"}}, "only a message"),
        ({"json": {"detail": "a detail"}}, "a detail"),
        ({"json": {"errorMessage": "camel"}}, "camel"),
        ({"json": {"msg": "short"}}, "short"),
        ({"json": {"errors": ["first of a list", {"message": "second"}]}}, "first of a list; second"),
        ({"json": {"detail": [{"loc": ["body", "prompt"], "msg": "too long", "type": "x"}]}}, "prompt too long"),
        ({"json": {"detail": [{"msg": "too long"}]}}, "too long"),
        ({"json": {"detail": ["one", "two"]}}, "one; two"),
        ({"json": {"type": "about:blank", "title": "Bad", "detail": "too long", "status": 400}}, "Bad: too long"),
        ({"json": {"errors": [{"title": "Bad", "detail": "too long", "source": {"pointer": "/data/prompt"}}]}},
         "prompt Bad: too long"),
        ({"json": {"error": {"message": "Bad", "details": [{"field": "prompt", "description": "too long"}]}}},
         "Bad: prompt too long"),
        ({"json": {"error": {"details": ["too long"]}}}, "too long"),
        ({"json": {"data": None, "errors": [{"message": "too long", "path": ["modify"]}]}}, "modify too long"),
        ({"json": {"message": {"prompt": ["too long", "too odd"]}}}, "prompt too long, too odd"),
        ({"json": {"message": {"text": "too long"}}}, "too long"),
        ({"json": {"error": {"prompt": {"message": "too long"}}}}, "prompt too long"),
        ({"json": {"error": "invalid_token", "error_description": "too old"}}, "invalid_token: too old"),
        ({"json": {"statusCode": 422, "message": ["too long"], "error": "Unprocessable"}}, "Unprocessable: too long"),
        ({"json": {"success": False, "data": {"message": "too long"}}}, "too long"),
        ({"json": {"invalid-params": [{"name": "prompt", "reason": "too long"}]}}, "prompt too long"),
        ({"json": {"Message": "too long"}}, "too long"),
        ({"json": {"error": {"code": "content_blocked"}}}, "content_blocked"),
        ({"json": [{"msg": "too long"}]}, "too long"),
        ({"json": {"error": "too long", "message": "Too long"}}, '"too long"'),
        ({"json": {"error": "a <html> tag"}}, "a tag"),
        ({"text": '{"error": "\\ud800broken"}'}, "broken"),
        ({"content": '\ufeff{"error": "marked"}'.encode()}, "marked"),
        ({"content": '{"error": "wide"}'.encode("utf-16")}, "wide"),
        ({"content": b'{"error": "caf\xe9"}'}, "caf"),
        ({"text": '{"n": ' + "9" * 5000 + ', "m": NaN, "error": "counted"}'}, "counted"),
        ({"text": '{"error": "first", "error": "second"}'}, "second"),
        ({"json": {"error": 'He said "ignore this" ![x](https://evil.example)'}}, "'ignore this' ![x] (https"),
        ({"json": {"error": {"message": None}, "message": "fallback"}}, "fallback"),
        ({"json": {"error": 5}}, "no explanation"),
        ({"json": "a string"}, "a string"),
        ({"text": "<!DOCTYPE html><html><title>502 Bad\nGateway</title></html>"}, 'an HTML page, "502 Bad Gateway"'),
        ({"text": "<html><h1>Oops &amp; sorry</h1></html>"}, 'an HTML page, "Oops'),
        ({"text": "<html></html>"}, "without a title"),
        ({"text": "<html>" + "<h1>" * 60_000}, "without a title"),
        ({"text": "words", "headers": {"content-type": "text/plain; charset=rot13"}}, "words"),
        ({"text": "just words"}, "just words"),
        ({"text": ""}, "no explanation"),
        ({"text": "\x1b[31mred\x07\u202eevil\u200b"}, "[31mred evil"),
        ({"text": "long " * 1000}, "…"),
    ],
)  # fmt: skip
async def test_every_error_body_is_put_into_words(body: dict[str, Any], said: str) -> None:
    answer = httpx.Response(500, **body)
    answer.headers["x-request-id"] = "req_1"
    with pytest.raises(errors.LumaError) as raised:
        await read(answer)
    assert said in raised.value.message
    assert "request req_1" in raised.value.message
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 400


@pytest.mark.parametrize(
    ("kind", "charged"),
    [
        (httpx.ConnectError, "no"),
        (httpx.ConnectTimeout, "no"),
        (httpx.PoolTimeout, "no"),
        (httpx.ProxyError, "no"),
        (httpx.ReadTimeout, "unknown"),
        (httpx.ReadError, "unknown"),
        (httpx.WriteError, "unknown"),
        (httpx.RemoteProtocolError, "unknown"),
    ],
)
async def test_a_broken_connection_is_free_only_if_nothing_was_sent(kind: type[httpx.HTTPError], charged: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise kind("certificate verify failed")

    with pytest.raises(errors.NetworkFailure) as raised:
        await create(answer)
    assert raised.value.charged == charged
    assert "runapi.ai" in raised.value.message
    assert "certificate verify failed" in raised.value.message


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_the_key_does_not_follow_a_redirect(code: int) -> None:
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(code, headers={"Location": "https://elsewhere.example/api"})

    for question in (create, read):
        with pytest.raises(errors.WrongAddress) as raised:
            await question(answer)
        assert not raised.value.transient
    assert set(hosts) == {"runapi.ai"}


async def test_the_upload_goes_elsewhere_without_the_key() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path.endswith("/prepare"):
            headers = {"Content-Type": "video/mp4", "Content-MD5": "x"}
            target = {"signed_id": "s", "upload_url": "https://storage.example/put", "headers": headers}
            return httpx.Response(200, json=target)
        return httpx.Response(200, json={"url": "https://file.example/clip.mp4"})

    async def upload(runapi: RunAPI) -> Stored:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"abc"

        target = await runapi.prepare_upload("clip.mp4", 3, "x")
        await runapi.put_upload(target, 3, pieces())
        return await runapi.confirm_upload(target)

    assert await ask(answer, upload) == Stored("https://file.example/clip.mp4", 3600)
    put = seen[1]
    assert (put.method, put.url.host, put.headers["content-length"]) == ("PUT", "storage.example", "3")
    assert put.headers["content-md5"] == "x"
    assert "authorization" not in put.headers
    assert KEY not in str(put.headers)


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("http://127.0.0.1/put", {}),
        ("http://169.254.169.254/put", {}),
        ("http://[::1]/put", {}),
        ("https://192.0.0.192/put", {}),
        ("http://storage.example/put", {}),
        ("https://me:secret@storage.example/put", {}),
        ("file:///etc/passwd", {}),
        ("/put", {}),
        ("https://storage.example:port/", {}),
        ("https://storage.example/put", {"X-Näme": "x"}),
        ("https://storage.example/put", {"Content-Type": "video/mp4\r\nAuthorization: x"}),
        ("https://storage.example/put", {"Content-Type": "video/\x00mp4"}),
    ],
)
async def test_a_clip_is_not_sent_to_an_address_that_makes_no_sense(address: str, headers: dict[str, str]) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200)

    target = UploadTarget("s", address, headers)
    with pytest.raises(errors.BadAnswer):
        await ask(answer, lambda runapi: runapi.put_upload(target, 0, nothing()))
    assert asked == []


async def test_the_length_that_is_sent_is_ours_whatever_headers_were_given() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"

    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(204)

    foreign = {
        "Authorization": "Bearer x",
        "Host": "else",
        "Cookie": "a=b",
        "Transfer-Encoding": "chunked",
        "X-One": "1",
    }
    given = {"content-length": "5", "Content-Type": "video/mp4", "x-ms-blob-type": "BlockBlob", **foreign}
    target = UploadTarget("s", "https://storage.example/put", given)
    await ask(answer, lambda runapi: runapi.put_upload(target, 3, pieces()))
    sent = asked[0].headers
    assert sent.get_list("content-length") == ["3"]
    assert (sent["content-type"], sent["x-ms-blob-type"], sent["host"]) == ("video/mp4", "BlockBlob", "storage.example")
    assert not {"authorization", "cookie", "transfer-encoding", "x-one"} & sent.keys()


async def test_a_clip_that_is_too_large_is_not_sent_again() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    target = UploadTarget("s", "https://storage.example/put", {})
    with pytest.raises(errors.InvalidRequest, match="too large"):
        await ask(httpx.Response(413), lambda runapi: runapi.put_upload(target, 0, nothing()))


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"created_at": "2026-01-01T10:30:00Z", "expires_at": "2026-01-01T11:30:00Z"}, 3600),
        ({"created_at": "2026-01-01T10:30:00Z", "expires_at": "2026-01-08T10:30:00.000Z"}, 7 * 86_400),
        ({"created_at": "2026-01-01T10:30:00Z", "expires_at": "2036-01-08T10:30:00Z"}, 7 * 86_400),
        ({"created_at": "2026-01-01T10:30:00Z", "expires_at": "2025-01-08T10:30:00Z"}, 0),
        ({"created_at": "2026-01-01T10:30:00", "expires_at": "2026-01-01T11:30:00Z"}, 3600),
        ({"expires_at": "2026-01-01T11:00:00Z"}, 3600),
        ({"created_at": 5, "expires_at": "soon"}, 3600),
        ({}, 3600),
    ],
)
def test_an_uploaded_clip_is_kept_as_long_as_runapi_says(answer: dict[str, Any], seconds: float) -> None:
    assert lifetime_in(answer) == seconds


@pytest.mark.parametrize("answer", [{}, {"signed_id": "s"}, {"signed_id": "s", "upload_url": 5}])
async def test_an_upload_without_a_target_is_a_bad_answer(answer: dict[str, Any]) -> None:
    with pytest.raises(errors.BadAnswer):
        await ask(httpx.Response(200, json=answer), lambda runapi: runapi.prepare_upload("clip.mp4", 3, "x"))


async def test_an_upload_that_is_refused_or_not_confirmed_is_an_error() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    target = UploadTarget("s", "https://storage.example/put", {})
    broken = UploadTarget("s", "https://storage.example:port/", {})
    with pytest.raises(errors.ServiceUnavailable):
        await ask(httpx.Response(403), lambda runapi: runapi.put_upload(target, 0, nothing()))
    with pytest.raises(errors.BadAnswer):
        await ask(httpx.Response(200), lambda runapi: runapi.put_upload(broken, 0, nothing()))
    with pytest.raises(errors.BadAnswer):
        await ask(httpx.Response(200, json={}), lambda runapi: runapi.confirm_upload(target))
    with pytest.raises(errors.ServiceUnavailable):
        await ask(httpx.Response(500), lambda runapi: runapi.confirm_upload(target))


async def test_without_a_key_nothing_is_asked() -> None:
    with pytest.raises(errors.MissingApiKey):
        await ask(httpx.Response(200), lambda runapi: runapi.read(UUID), key=None)


async def test_the_key_appears_in_no_message_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(errors.InvalidApiKey) as raised:
        await create(httpx.Response(401, json={"error": f"bad token {KEY}"}))
    assert "bad token [key]" in raised.value.message
    with pytest.raises(errors.ServiceUnavailable) as raised_too:
        await create(httpx.Response(500, headers={"x-request-id": f"Bearer {KEY}"}))
    assert KEY not in raised_too.value.message
    failed = await read(httpx.Response(200, json={"status": "failed", "error": f"echo {KEY}"}))
    assert failed.error == "echo [key]"
    with pytest.raises(errors.BadAnswer):
        await read(httpx.Response(200, json={"status": "completed", "video_url": f"https://a.example/{KEY}"}))

    def break_off(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError(f"illegal status line: {KEY}")

    with pytest.raises(errors.NetworkFailure) as broken:
        await create(break_off)
    assert KEY not in broken.value.message
    assert KEY not in caplog.text
    async with open_connection(httpx.MockTransport(lambda _: httpx.Response(200))) as connection:
        assert KEY not in repr(vars(RunAPI(connection, API_URL, SecretStr(KEY))))


async def test_cookies_are_not_kept() -> None:
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json={"status": "processing"}, headers={"Set-Cookie": "session=1; Path=/"})

    async def twice(runapi: RunAPI) -> None:
        await runapi.read(UUID)
        await runapi.read(UUID)

    await ask(answer, twice)
    assert not any("cookie" in headers for headers in seen)


@pytest.mark.parametrize(
    ("body", "code", "charged"),
    [
        ({"error": "no such model"}, "bad_answer", "unknown"),
        ({"error": {"message": "no such model"}, "id": "err_17"}, "bad_answer", "unknown"),
        ({"success": False, "message": "no such model", "id": 17}, "bad_answer", "unknown"),
        ({"ok": False, "reason": "no such model"}, "bad_answer", "unknown"),
        ({"status": "error", "message": "no such model"}, "bad_answer", "unknown"),
        ({"message": "no such model"}, "bad_answer", "unknown"),
        ({"code": 402, "message": "no such model"}, "insufficient_credits", "no"),
        ({"code": "402", "msg": "no such model", "data": None}, "insufficient_credits", "no"),
        ({"status": 422, "title": "no such model"}, "invalid_request", "no"),
        ({"error": {"code": 401, "message": "no such model"}}, "invalid_api_key", "no"),
        ({"code": 429, "message": "no such model"}, "rate_limited", "no"),
        ({"code": 500, "message": "no such model"}, "service_unavailable", "unknown"),
        ({"code": 409, "message": "no such model"}, "conflict", "unknown"),
    ],
)
async def test_a_success_that_holds_an_error_is_told_as_what_it_says(
    body: dict[str, Any], code: str, charged: str
) -> None:
    with pytest.raises(errors.LumaError) as raised:
        await create(httpx.Response(200, json=body))
    assert (raised.value.code, raised.value.charged) == (code, charged)
    assert '"no such model"' in raised.value.message
    assert "took" not in raised.value.message


async def test_an_error_in_a_success_about_the_account_is_told_too() -> None:
    with pytest.raises(errors.InvalidApiKey, match="bad key"):
        await ask(httpx.Response(200, json={"code": 401, "error": "bad key"}), lambda runapi: runapi.balance())
    with pytest.raises(errors.BadAnswer, match="come back"):
        await ask(httpx.Response(200, json={"error": "come back"}), lambda runapi: runapi.prepare_upload("c", 1, "x"))


@pytest.mark.parametrize("id_", [123456, 9007199254740993, 10**20])
@pytest.mark.parametrize("shape", ["id", "task_id", "data", "number in the way"])
async def test_a_number_is_an_id_too(id_: int, shape: str) -> None:
    body = {
        "id": {"id": id_},
        "task_id": {"task_id": id_, "status": "pending"},
        "data": {"data": {"id": id_}},
        "number in the way": {"id": None, "data": {"taskId": id_}},
    }[shape]
    assert (await create(httpx.Response(200, json=body))).task_id == str(id_)


@pytest.mark.parametrize("id_", ["true", "false", "1.5", "1e3", "0", "-5", "NaN", "9" * 5000, "[]", "{}", '"\\ud800"'])
async def test_what_is_no_id_is_not_taken_for_one(id_: str) -> None:
    with pytest.raises(errors.BadAnswer) as raised:
        await create(httpx.Response(200, text=f'{{"id": {id_}}}'))
    assert raised.value.charged == "unknown"


async def test_an_id_survives_what_is_odd_beside_it() -> None:
    for beside in ('"note": "caf\xe9"', '"n": ' + "9" * 5000, '"x": NaN', '"y": 1e400', '"z": "\\ud800"'):
        content = f'{{{beside}, "id": "{UUID}"}}'.encode("latin-1")
        assert (await create(httpx.Response(200, content=content))).task_id == UUID


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_api_key"),
        ({"json": {"error": "Forbidden"}}, "invalid_api_key"),
        ({"json": {"error": "forbidden", "code": "invalid_api_key"}}, "invalid_api_key"),
        ({"json": {"error": "This API key may not use video models"}}, "invalid_api_key"),
        ({"json": {"message": "You do not have permission"}}, "invalid_api_key"),
        ({"text": "<html><title>403 Forbidden</title></html>"}, "invalid_api_key"),
        ({"json": {"error": "The prompt was blocked by moderation"}}, "invalid_request"),
        ({"json": {"error": "Forbidden", "code": "content_policy_violation"}}, "invalid_request"),
        ({"json": {"detail": [{"msg": "not allowed: prompt mentions a person"}]}}, "invalid_request"),
        ({"json": {"error": "Not available in your country"}}, "invalid_request"),
        ({"text": "blocked"}, "invalid_request"),
    ],
)
async def test_a_403_is_about_the_key_only_if_it_says_so_or_nothing(body: dict[str, Any], code: str) -> None:
    for question in (create, read):
        with pytest.raises(errors.LumaError) as raised:
            await question(httpx.Response(403, **body))
        assert (raised.value.code, raised.value.charged) == (code, "no")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(400, json={"error": "Validation failed", "errors": {"watermark": ["must be a string"]}}),
        httpx.Response(422, json={"detail": [{"loc": ["body", "watermark"], "msg": "str type expected"}]}),
        httpx.Response(200, json={"code": 400, "message": "Watermark must be a string"}),
    ],
)
async def test_a_refusal_of_the_watermark_says_so(answer: httpx.Response) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        await create(answer, task(watermark=True))
    assert raised.value.charged == "no"
    assert "repeat the call without watermark" in raised.value.hint
    assert "watermark" in raised.value.message.lower()
    with pytest.raises(errors.InvalidRequest) as plain:
        await create(answer)
    assert "without watermark" not in plain.value.hint


@pytest.mark.parametrize(
    ("body", "status", "urls"),
    [
        ({"status": "success", "data": {"id": UUID, "status": "processing"}}, "processing", 0),
        ({"status": "success", "data": {"status": "failed"}}, "failed", 0),
        ({"data": {"id": UUID, "status": "completed", "videos": [{"url": "https://a.example/1"}]}}, "completed", 1),
        ({"result": {"task": {"status": "done", "output": ["https://a.example/1"]}}}, "completed", 1),
        ({"id": UUID, "status": "completed", "result": {"video_url": "https://a.example/1"}}, "completed", 1),
        ({"id": UUID, "status": "completed", "result": [{"url": "https://a.example/1"}]}, "completed", 1),
        ({"id": UUID, "status": "finished", "videos": "https://a.example/1"}, "completed", 1),
        ({"id": UUID, "status": "failed", "result": {"status": "ok"}}, "failed", 0),
        ({"task": {"id": 5, "status": "pending"}}, "pending", 0),
    ],
)
async def test_a_task_is_found_in_what_it_is_wrapped_in(body: dict[str, Any], status: str, urls: int) -> None:
    found = await read(httpx.Response(200, json=body))
    assert (found.status, len(found.video_urls)) == (status, urls)


@pytest.mark.parametrize(
    ("cost", "usd"),
    [
        ("0.5", 0.5), ('"0.5"', 0.5), ('" 0.50 "', 0.5), ('"half"', None), ("NaN", None), ("Infinity", None),
        ("1e400", None), ("-1", None), ('"-1"', None), ("true", None), ("null", None), ("[0.5]", None),
        ("9" * 5000, None), ('"1e3"', None), ("1e300", None),
    ],
)  # fmt: skip
async def test_a_cost_is_a_sum_of_money_or_unknown(cost: str, usd: float | None) -> None:
    text = f'{{"id": "{UUID}", "status": "completed", "video_url": "https://a.example/1", "usage": {{"cost": {cost}}}}}'
    assert (await read(httpx.Response(200, text=text))).cost_usd == usd


async def test_the_reason_of_a_failure_is_found_in_any_form_and_quoted() -> None:
    for more in (
        {"error": {"reason": "too dark"}},
        {"errors": ["too dark"]},
        {"message": "too dark"},
        {"failMsg": "too dark"},
    ):
        found = await read(httpx.Response(200, json={"id": UUID, "status": "failed", **more}))
        told = task().accepted(UUID, Status.PENDING, EPOCH).read(found, EPOCH).error
        assert told
        assert told.message == 'RunAPI says: "too dark"'


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("7, 9", 9),
        ("7, soon", None),
        ("-0.5", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("Wed Oct 21 07:28:00 2026", 30),
        ("Wednesday, 21-Oct-26 07:28:00 GMT", 30),
        ("Wed, 21 Oct 2036 07:28:00 GMT", 3600),
        ("0.5", 0.5),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 30),
        ("Wed, 21 Oct 2026 07:00:00 GMT", None),
        ("0", None),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("999999999", 3600),
        ("99999999999999", 3600),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_date(value: str, seconds: float | None) -> None:
    now = datetime(2026, 10, 21, 7, 27, 30, tzinfo=UTC)
    assert retry_after_seconds(httpx.Headers({"Retry-After": value}), lambda: now) == seconds
    assert retry_after_seconds(httpx.Headers()) is None


async def test_retry_after_as_a_date_is_by_the_clock_of_the_answer() -> None:
    headers = {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:27:00 GMT"}
    for year in (2001, 2040):
        assert retry_after_seconds(httpx.Headers(headers), partial(datetime, year, 1, 1, tzinfo=UTC)) == 60
    with pytest.raises(errors.RateLimited) as raised:
        await create(httpx.Response(429, headers=headers))
    assert raised.value.retry_after == 60
    now = datetime(2026, 10, 21, 7, 27, 30, tzinfo=UTC)
    assert retry_after_seconds(httpx.Headers(headers | {"Date": "whenever"}), lambda: now) == 30


async def test_a_refusal_for_pace_carries_the_wait() -> None:
    for code in (429, 503):
        with pytest.raises(errors.LumaError) as raised:
            await create(httpx.Response(code, headers={"Retry-After": "9"}))
        assert raised.value.retry_after == 9


def test_foreign_text_becomes_one_visible_line() -> None:
    assert safe_text("a\r\n\tb <b>c</b> \u200b&nbsp;d") == "a b c d"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": "content_policy_violation", "message": 'The token "xx" is not allowed'}}, InvalidRequest),
        ({"error": {"code": "moderation_blocked", "message": "Key frames of the clip show a minor"}}, InvalidRequest),
        ({"error": "Key frames are missing"}, InvalidRequest),
        ({"error": "Your API key was revoked"}, InvalidApiKey),
        ({"error": "invalid token"}, InvalidApiKey),
        ({"error": "This key has no access to luma"}, InvalidApiKey),
    ],
)
def test_a_403_is_about_the_key_only_if_it_speaks_of_one(body: dict[str, Any], kind: type[LumaError]) -> None:
    assert type(refusal(httpx.Response(403, json=body))) is kind


@pytest.mark.parametrize(
    "body",
    [
        {"status": "done", "video_urls": ["https://x.example/v.mp4"]},
        {"status": "done", "urls": ["https://x.example/v.mp4"]},
        {"status": "fulfilled", "url": "https://x.example/v.mp4"},
        {"data": {"state": "SUCCESS", "output": {"video": {"url": "https://x.example/v.mp4"}}}},
        {"data": {"state": "anything", "response": {"resultUrls": ["https://x.example/v.mp4"]}}},
    ],
)
def test_a_result_is_found_wherever_it_may_stand(body: dict[str, Any]) -> None:
    found = reading(body, None)
    assert (found.status, found.video_urls) == (Status.COMPLETED, ("https://x.example/v.mp4",))
