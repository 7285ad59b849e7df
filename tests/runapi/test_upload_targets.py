"""Uploads go without the key to the address that RunAPI names, and on to where that leads; the headers are checked."""

from collections.abc import AsyncIterator

import httpx
import pytest

from luma_mcp.core import errors
from luma_mcp.runapi.connection import open_http_clients
from luma_mcp.runapi.ssrf import MAX_REDIRECTS, UploadGuard
from luma_mcp.runapi.upload_targets import UploadTarget, put_file
from tests.support.questions import ask
from tests.support.rig import API_URL

pytestmark = pytest.mark.anyio


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


class Storage:
    """Sends the first uploads on to another address, and keeps what it was sent."""

    def __init__(self, *moves: httpx.Response) -> None:
        self._moves = list(moves)
        self.seen: list[tuple[str, bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((str(request.url), request.content))
        return self._moves.pop(0) if self._moves else httpx.Response(204)


async def content() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b"c"


class Again:
    """Content that can be gone through more than once."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return content()


def move(status: int, location: str) -> httpx.Response:
    return httpx.Response(status, headers={"Location": location})


async def put(storage: Storage) -> httpx.Response:
    target, guard = UploadTarget("s", "https://a.example/put", {}), UploadGuard(trusted=API_URL, allow_private=False)
    async with open_http_clients(httpx.MockTransport(storage)) as connection:
        return await put_file(connection.storage, guard, target, 3, Again())


async def test_the_whole_file_is_sent_to_each_address_that_it_is_sent_on_to() -> None:
    storage = Storage(move(307, "/elsewhere"), move(308, "https://b.example/put"))
    assert (await put(storage)).status_code == 204
    addresses = ["https://a.example/put", "https://a.example/elsewhere", "https://b.example/put"]
    assert storage.seen == [(address, b"abc") for address in addresses]


@pytest.mark.parametrize("status", [301, 302, 303, 304])
async def test_a_redirect_that_may_change_the_method_is_not_followed(status: int) -> None:
    storage = Storage(move(status, "https://b.example/put"))
    assert (await put(storage)).status_code == status
    assert len(storage.seen) == 1


async def test_a_file_is_sent_on_so_often_and_no_more() -> None:
    storage = Storage(*[move(307, "https://a.example/put") for _ in range(100)])
    with pytest.raises(errors.UploadRefused, match="circles"):
        await put(storage)
    assert len(storage.seen) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "location", ["http://b.example/put", "https://10.0.0.1/put", "https://me:x@b.example/put", "https://[::1"]
)
async def test_a_file_is_not_sent_on_to_where_it_would_not_have_been_sent_at_first(location: str) -> None:
    storage = Storage(move(307, location))
    with pytest.raises(errors.UploadAddressRefused):
        await put(storage)
    assert len(storage.seen) == 1
