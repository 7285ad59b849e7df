"""Answers that are no success become the error that fits, in one line of words, with the wait that is asked for."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest

from luma_mcp.core import errors
from luma_mcp.core.errors import InvalidApiKey, InvalidRequest, LumaError
from luma_mcp.runapi.error_map import error_from_response, retry_after_seconds
from tests.support.questions import create, read

pytestmark = pytest.mark.anyio
FIELDS = {"prompt": ["is required", "is short"]}


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
    assert type(error_from_response(httpx.Response(403, json=body))) is kind


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
