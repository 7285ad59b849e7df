"""The protocol of RunAPI's login page, as its published clients speak it."""

import base64
import hashlib
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from luma_mcp.core.errors import BadAnswer, NetworkFailure
from luma_mcp.runapi.connection import open_http_clients
from luma_mcp.runapi.login import LoginAttempt, LoginFailed, NewKey, exchange_code
from tests.support.rig import API_URL

pytestmark = pytest.mark.anyio
ATTEMPT = LoginAttempt(4711)


async def exchanged(answer: httpx.Response | Exception) -> NewKey:
    """Exchange a code at a RunAPI that answers like this."""

    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with open_http_clients(httpx.MockTransport(handle)) as clients:
        return await exchange_code(clients, API_URL, ATTEMPT, "code", "ann's laptop")


def test_the_page_is_told_the_challenge_and_never_the_verifier() -> None:
    address = ATTEMPT.page_url(API_URL, "ann's laptop")
    query = {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{API_URL}/cli/authorize?")
    expected = base64.urlsafe_b64encode(hashlib.sha256(ATTEMPT.verifier.encode()).digest()).rstrip(b"=").decode()
    assert (query["code_challenge"], query["code_challenge_method"]) == (expected, "S256")
    assert (query["redirect_port"], query["hostname"], query["state"]) == ("4711", "ann's laptop", ATTEMPT.state)
    assert ATTEMPT.verifier not in address


def test_each_attempt_has_secrets_of_its_own_that_no_log_shows() -> None:
    attempts = [LoginAttempt(1) for _ in range(50)]
    assert len({(each.state, each.verifier, each.display_code) for each in attempts}) == 50
    assert all(len(each.state) == len(each.verifier) == 43 for each in attempts)
    assert all(re.fullmatch(r"[A-HJ-NP-Z2-9]{4}-[A-HJ-NP-Z2-9]{4}", each.display_code) for each in attempts)
    assert ATTEMPT.state not in repr(ATTEMPT)
    assert ATTEMPT.verifier not in repr(ATTEMPT)


def test_only_the_answer_to_this_attempt_counts() -> None:
    assert ATTEMPT.code_in({"code": "c", "state": ATTEMPT.state}) == "c"
    for foreign in ({}, {"code": "c"}, {"code": "c", "state": "x"}, {"state": ATTEMPT.state}, {"code": "c" * 5000}):
        with pytest.raises(ValueError, match=r"state|code"):
            ATTEMPT.code_in(foreign)
    with pytest.raises(ValueError, match="state"):
        ATTEMPT.code_in({"error": "access_denied", "state": "x"})


def test_a_refusal_is_told_in_plain_words() -> None:
    with pytest.raises(LoginFailed, match=r"no key: You said no\.$"):
        ATTEMPT.code_in({"error": "access_denied", "error_description": "You <b>said</b>\n no", "state": ATTEMPT.state})


async def test_the_key_and_whose_it_is_come_from_the_exchange() -> None:
    new = await exchanged(httpx.Response(201, json={"key": "sk-new", "user": {"email": "ann@example.com"}}))
    assert (new.key.get_secret_value(), new.email) == ("sk-new", "ann@example.com")
    assert "sk-new" not in repr(new)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (httpx.Response(400, json={"error": "The code has expired"}), LoginFailed, "The code has expired"),
        (httpx.Response(200, json={"key": "sk-new"}), LoginFailed, "200"),
        (httpx.Response(500, text="<html>"), LoginFailed, "500"),
        (httpx.Response(201, json={"key": ""}), BadAnswer, "no key"),
        (httpx.Response(201, json={"key": "two words"}), BadAnswer, "no key"),
        (httpx.Response(201, text="no JSON"), BadAnswer, "no key"),
        (httpx.ConnectError("no route"), NetworkFailure, "could not be reached"),
    ],
)
async def test_an_exchange_that_gives_no_key_says_why(
    answer: httpx.Response | Exception, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await exchanged(answer)


async def test_an_answer_that_repeats_the_verifier_does_not_show_it() -> None:
    with pytest.raises(LoginFailed) as refused:
        await exchanged(httpx.Response(400, json={"error": f"bad verifier {ATTEMPT.verifier}"}))
    assert ATTEMPT.verifier not in str(refused.value)
