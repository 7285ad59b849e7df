"""The port that waits for RunAPI's page: it takes the page's one answer, and nothing else ends or disturbs it."""

import anyio
import httpx
import pytest

from luma_mcp.core.addresses import LOOPBACK
from luma_mcp.runapi.login import LoginFailed
from luma_mcp.runapi.login_page import OpenLogin, open_login
from tests.support.key_page import page_query
from tests.support.rig import API_URL

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


def port_of(login: OpenLogin) -> int:
    return int(page_query(login.url)["redirect_port"])


async def ask(login: OpenLogin, method: str = "GET", path: str = "/callback", **more: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.request(method, f"http://{LOOPBACK}:{port_of(login)}{path}", params=more)


async def say(login: OpenLogin, words: bytes) -> bytes:
    """Send bytes to the port, and give all that comes back."""
    async with await anyio.connect_tcp(LOOPBACK, port_of(login)) as stream:
        await stream.send(words)
        with anyio.fail_after(5):
            try:
                return await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return b""


async def test_the_first_right_answer_counts_and_its_page_may_read_ours() -> None:
    async with open_login(API_URL) as login:
        state = page_query(login.url)["state"]
        answer = await ask(login, code="the code", state=state)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, API_URL)
        assert answer.headers["cache-control"] == "no-store"
        assert (await ask(login, code="another", state=state)).status_code == 200
        assert await login.code() == "the code"


async def test_a_refusal_ends_the_wait_too() -> None:
    async with open_login(API_URL) as login:
        assert (await ask(login, error="access_denied", state=page_query(login.url)["state"])).status_code == 200
        with pytest.raises(LoginFailed, match="access_denied"):
            await login.code()


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("OPTIONS", "/callback", {}, 204),
        ("POST", "/callback", {}, 405),
        ("GET", "/", {}, 404),
        ("GET", "/callback", {}, 400),
        ("GET", "/callback", {"code": "theirs", "state": "guessed"}, 400),
    ],
)
async def test_what_is_not_the_pages_answer_ends_nothing(
    method: str, path: str, query: dict[str, str], status: int
) -> None:
    async with open_login(API_URL) as login:
        assert (await ask(login, method, path, **query)).status_code == status
        await ask(login, code="right", state=page_query(login.url)["state"])
        assert await login.code() == "right"


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"\0\0\0\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /callback HTTP/1.1\r\n\r\n",
        b"GET /callback HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /" + b"x" * 200_000,
    ],
)
async def test_junk_on_the_port_disturbs_nothing(words: bytes) -> None:
    async with open_login(API_URL) as login:
        if words:
            assert not (await say(login, words)).startswith(b"HTTP/1.1 200")
        else:
            await (await anyio.connect_tcp(LOOPBACK, port_of(login))).aclose()
        await ask(login, code="right", state=page_query(login.url)["state"])
        assert await login.code() == "right"


async def test_the_port_is_closed_afterwards() -> None:
    async with open_login(API_URL) as login:
        pass
    with pytest.raises(httpx.ConnectError):
        await ask(login)


async def test_no_representation_shows_what_only_this_process_knows() -> None:
    async with open_login(API_URL) as login:
        assert login._attempt.verifier not in repr(login) + login.url
