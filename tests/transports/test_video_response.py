"""A file over HTTP: whole, or the range that a player asks for."""

from pathlib import Path

import anyio
import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from luma_mcp.transports.video_response import PIECE_BYTES, VideoResponse, parse_range

pytestmark = pytest.mark.anyio
CONTENT = bytes(range(256)) * 4
SIZE = len(CONTENT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(CONTENT)
    return tmp_path / "clip.mp4"


async def ask(path: Path, method: str = "GET", headers: dict[str, str] | None = None) -> httpx.Response:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await VideoResponse(path.open("rb"), "video/mp4", {"X-More": "1"})(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        return await http.request(method, "/", headers=headers)


async def test_without_a_range_the_whole_file_comes(path: Path) -> None:
    answer = await ask(path)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-more"] == "1"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, SIZE),
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=1000-", 1000, SIZE),
        ("bytes=1000-99999999", 1000, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-300", SIZE - 300, SIZE),
        ("bytes=-99999999", 0, SIZE),
        ("Bytes=5-6", 5, 7),
        (" bytes=5-6 ", 5, 7),
    ],
)
async def test_one_range_comes_alone(path: Path, asked: str, start: int, end: int) -> None:
    answer = await ask(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", f"bytes={'9' * 18}-"])
async def test_a_range_behind_the_end_is_refused_with_the_size(path: Path, asked: str) -> None:
    answer = await ask(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=--5", "bytes=1.5-2", "lines=1-2"),
        *("bytes=0-1,5-6", "bytes=0-0," * 4000, f"bytes={'9' * 19}-", "bytes=0x0-0x9", "bytes=\u0663-"),
    ],
)  # fmt: skip
async def test_what_is_not_one_range_gets_the_whole_file(path: Path, asked: str) -> None:
    assert parse_range(asked, SIZE) is None
    if asked.isascii():
        answer = await ask(path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, CONTENT)


async def test_a_range_of_another_version_of_the_file_gets_the_whole_one(path: Path) -> None:
    tag = (await ask(path)).headers["etag"]
    asked = {"Range": "bytes=0-1"}
    assert (await ask(path, headers=asked | {"If-Range": tag})).status_code == 206
    path.write_bytes(CONTENT * 2)
    changed = await ask(path, headers=asked | {"If-Range": tag})
    assert (changed.status_code, changed.content) == (200, CONTENT * 2)


async def test_only_the_head_comes_of_a_head(path: Path) -> None:
    whole = await ask(path, "HEAD")
    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"", str(SIZE))
    part = await ask(path, "HEAD", {"Range": "bytes=-10"})
    assert (part.status_code, part.content, part.headers["content-length"]) == (206, b"", "10")


async def test_an_empty_file_has_no_ranges(path: Path) -> None:
    path.write_bytes(b"")
    assert (await ask(path)).status_code == 200
    assert (await ask(path, headers={"Range": "bytes=0-"})).status_code == 416


async def test_a_large_file_comes_in_pieces_and_no_more_when_the_client_has_left(path: Path) -> None:
    path.write_bytes(b"x" * PIECE_BYTES * 3)
    sent: list[Message] = []
    file = path.open("rb")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "headers": []}
    await VideoResponse(file, "video/mp4", {})(scope, receive, send)
    assert len(sent) < 4
    assert file.closed


async def test_an_answer_with_a_file_that_is_cut_meanwhile_is_not_completed(path: Path) -> None:
    file, sent = path.open("rb"), list[Message]()
    response = VideoResponse(file, "video/mp4", {})
    path.write_bytes(b"")

    async def receive() -> Message:
        await anyio.sleep_forever()
        return {}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "headers": []}
    await response(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert file.closed
