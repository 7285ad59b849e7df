"""The RunAPI client: tolerant of the uncertain, strict about money, and silent about the key."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr

from luma_mcp.core import errors
from luma_mcp.core.models import Status
from luma_mcp.runapi.client import Accepted, RunAPI, Stored
from luma_mcp.runapi.connection import open_http_clients
from luma_mcp.runapi.upload_targets import UploadTarget
from tests.support.questions import UUID, ask, create, read, unsubmitted_task
from tests.support.rig import API_URL, KEY, SOURCE, Answer
from tests.support.runapi_keys import NEW_KEY, OLD_KEY

pytestmark = pytest.mark.anyio
OFFER = {"model": "luma-modify-video", "currency": "USD", "unit_price_cents": 50}


async def test_a_submission_says_what_the_contract_asks_for_and_nothing_else() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": UUID, "status": "processing"})

    assert await create(answer) == Accepted(UUID, Status.PROCESSING, replayed=False)
    await create(answer, unsubmitted_task(watermark=True, callback_url="https://example.com/hook"))
    plain, full = seen
    assert (plain.method, str(plain.url)) == ("POST", f"{API_URL}/api/v1/luma/modify_video")
    assert plain.headers["authorization"] == f"Bearer {KEY}"
    assert plain.headers["idempotency-key"] == "key-1"
    body = {"model": "luma-modify-video", "prompt": "fog", "source_video_url": SOURCE}
    assert httpx.Response(200, content=plain.content).json() == body
    more = {"watermark": True, "callback_url": "https://example.com/hook"}
    assert httpx.Response(200, content=full.content).json() == body | more


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


@pytest.mark.parametrize("text", ["", "{", "<html>", "[]", '{"status": "processing"}'])
async def test_a_success_without_an_id_or_a_word_leaves_the_charge_unknown(text: str) -> None:
    with pytest.raises(errors.BadAnswer) as raised:
        await create(httpx.Response(200, text=text))
    assert raised.value.charged == "unknown"
    assert raised.value.transient


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


async def test_a_clip_that_is_too_large_is_not_sent_again() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    target = UploadTarget("s", "https://storage.example/put", {})
    with pytest.raises(errors.InvalidRequest, match="too large"):
        await ask(httpx.Response(413), lambda runapi: runapi.put_upload(target, 0, nothing()))


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
        await ask(httpx.Response(200), lambda runapi: runapi.read_task(UUID), key=None)


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
    async with open_http_clients(httpx.MockTransport(lambda _: httpx.Response(200))) as connection:
        assert KEY not in repr(vars(RunAPI(connection, API_URL, SecretStr(KEY))))


async def test_cookies_are_not_kept() -> None:
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json={"status": "processing"}, headers={"Set-Cookie": "session=1; Path=/"})

    async def twice(runapi: RunAPI) -> None:
        await runapi.read_task(UUID)
        await runapi.read_task(UUID)

    await ask(answer, twice)
    assert not any("cookie" in headers for headers in seen)


async def test_an_error_in_a_success_about_the_account_is_told_too() -> None:
    with pytest.raises(errors.InvalidApiKey, match="bad key"):
        await ask(httpx.Response(200, json={"code": 401, "error": "bad key"}), lambda runapi: runapi.balance())
    with pytest.raises(errors.BadAnswer, match="come back"):
        await ask(httpx.Response(200, json={"error": "come back"}), lambda runapi: runapi.prepare_upload("c", 1, "x"))


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
        await create(answer, unsubmitted_task(watermark=True))
    assert raised.value.charged == "no"
    assert "repeat the call without watermark" in raised.value.hint
    assert "watermark" in raised.value.message.lower()
    with pytest.raises(errors.InvalidRequest) as plain:
        await create(answer)
    assert "without watermark" not in plain.value.hint


async def test_a_price_without_a_tag_is_asked_for_anew() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"price_schedules": [OFFER]})

    async with open_http_clients(httpx.MockTransport(answer)) as connection:
        runapi = RunAPI(connection, API_URL, None)
        assert [(await runapi.price()).usd, (await runapi.price()).usd] == [0.5, 0.5]
    assert not any("if-none-match" in request.headers for request in asked)


@pytest.mark.parametrize("etag", ["\x7f", "ä"])
async def test_a_tag_that_cannot_be_sent_back_is_not(etag: str) -> None:
    answer = httpx.Response(200, json={"price_schedules": [OFFER]}, headers=[(b"etag", etag.encode())])
    async with open_http_clients(httpx.MockTransport(lambda _: answer)) as connection:
        runapi = RunAPI(connection, API_URL, None)
        assert [(await runapi.price()).usd, (await runapi.price()).usd] == [0.5, 0.5]


async def test_an_unasked_304_is_no_price() -> None:
    async with open_http_clients(httpx.MockTransport(lambda _: httpx.Response(304))) as connection:
        with pytest.raises(errors.BadAnswer):
            await RunAPI(connection, API_URL, None).price()


async def test_an_address_that_does_not_answer_is_told() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with open_http_clients(httpx.MockTransport(refuse)) as connection:
        with pytest.raises(errors.NetworkFailure):
            await RunAPI(connection, API_URL, None).price()


@asynccontextmanager
async def client_with(
    answer: Answer, held: str | None, *later: str | None
) -> AsyncGenerator[tuple[RunAPI, Iterator[Any]]]:
    """Open a client with a key, and what it is given when it looks for one again, one after another."""
    left = iter([SecretStr(found) if found else None for found in later])
    async with open_http_clients(httpx.MockTransport(answer)) as connection:
        key = SecretStr(held) if held else None
        yield RunAPI(connection, API_URL, key, reload_key=lambda: next(left)), left


def takes_only(right: str, seen: list[str]) -> Answer:
    """Make a RunAPI that knows one key, and notes the keys that it was asked with."""

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"].removeprefix("Bearer "))
        return httpx.Response(200 if seen[-1] == right else 401, json={"id": UUID, "status": "pending"})

    return answer


async def test_a_key_that_comes_later_is_found_by_the_next_question() -> None:
    seen: list[str] = []
    async with client_with(takes_only(NEW_KEY, seen), None, None, NEW_KEY) as (runapi, left):
        with pytest.raises(errors.MissingApiKey):
            runapi.check_ready()
        assert runapi.account == (API_URL, "")
        assert (await runapi.read_task(UUID)).status is Status.PENDING
        assert runapi.key_id
        assert not list(left)
    assert seen == [NEW_KEY]


async def test_a_question_with_a_refused_key_is_asked_once_more_with_another() -> None:
    seen: list[str] = []
    async with client_with(takes_only(NEW_KEY, seen), OLD_KEY, NEW_KEY) as (runapi, _):
        before = runapi.key_id
        assert (await runapi.read_task(UUID)).status is Status.PENDING
        assert (await runapi.read_task(UUID)).status is Status.PENDING
        assert runapi.key_id != before
        assert runapi.has_replaced(before)
    assert seen == [OLD_KEY, NEW_KEY, NEW_KEY]


@pytest.mark.parametrize("later", [OLD_KEY, None])
async def test_without_another_key_a_refusal_stands(later: str | None) -> None:
    seen: list[str] = []
    async with client_with(takes_only(NEW_KEY, seen), OLD_KEY, later, later) as (runapi, _):
        with pytest.raises(errors.InvalidApiKey):
            await runapi.read_task(UUID)
        with pytest.raises(errors.InvalidApiKey) as raised:
            await runapi.create_task(unsubmitted_task())
        assert not raised.value.transient
        assert not runapi.has_replaced(runapi.key_id)
    assert seen == [OLD_KEY, OLD_KEY]


async def test_two_keys_that_are_refused_are_not_tried_in_turn_for_ever() -> None:
    seen: list[str] = []
    async with client_with(takes_only("right", seen), OLD_KEY, NEW_KEY, NEW_KEY, NEW_KEY) as (runapi, _):
        for _ in range(2):
            with pytest.raises(errors.InvalidApiKey):
                await runapi.read_task(UUID)
    assert seen == [OLD_KEY, NEW_KEY, NEW_KEY]


@pytest.mark.parametrize("code", [400, 402, 403, 404, 429, 500])
async def test_nothing_but_a_401_has_the_key_looked_for(code: int) -> None:
    async with client_with(lambda _: httpx.Response(code, json={"error": "access denied"}), OLD_KEY) as (runapi, _):
        with pytest.raises(errors.LumaError):
            await runapi.read_task(UUID)


async def test_a_submission_is_not_repeated_before_it_is_written_down_which_key_it_has() -> None:
    seen: list[str] = []
    async with client_with(takes_only(NEW_KEY, seen), OLD_KEY, NEW_KEY) as (runapi, _):
        with pytest.raises(errors.KeyReplaced) as raised:
            await runapi.create_task(unsubmitted_task())
        assert (raised.value.charged, raised.value.transient, seen) == ("no", True, [OLD_KEY])
        assert (await runapi.create_task(unsubmitted_task())).task_id == UUID


async def test_who_was_asked_with_the_old_key_may_not_repeat_it_after_another_has_come() -> None:
    asked, replaced = anyio.Event(), anyio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        key = request.headers["authorization"]
        if "slow" in request.url.path:
            asked.set()
            await replaced.wait()
            return httpx.Response(500, json={"error": f"sent {key}"})
        return httpx.Response(200 if NEW_KEY in key else 401, json={"status": "pending"})

    async with open_http_clients(httpx.MockTransport(answer)) as connection:
        runapi = RunAPI(connection, API_URL, SecretStr(OLD_KEY), reload_key=lambda: SecretStr(NEW_KEY))

        async def slow() -> None:
            with pytest.raises(errors.ServiceUnavailable) as raised:
                await runapi.read_task("slow")
            assert OLD_KEY not in raised.value.message
            assert "sent" in raised.value.message

        async with anyio.create_task_group() as both:
            both.start_soon(slow)
            await asked.wait()
            await runapi.read_task(UUID)
            replaced.set()
