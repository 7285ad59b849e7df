"""The beginning of a video is fetched as downloads are: from public addresses, bounded, and not by what it claims."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest

from luma_mcp.core.errors import DownloadFailed, DownloadRefused, LinkRefused, VideoUnusable
from luma_mcp.media import parts
from luma_mcp.media.parts import fetch_part
from luma_mcp.runapi.connection import open_http_clients
from luma_mcp.runapi.ssrf import DownloadGuard
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import API_URL, Answer, handler_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
URL = "https://results.example/clip.mp4"
VIDEO = bundled_clip().read_bytes()


async def fetched(home: Path, answer: Answer | httpx.Response, url: str = URL) -> float:
    guard = DownloadGuard(trusted=API_URL, allow_private=False)
    async with open_http_clients(httpx.MockTransport(handler_for(answer))) as clients:
        return await fetch_part(clients, guard, url, home / "part")


class Endless(httpx.AsyncByteStream):
    """A video that never ends, or of which nothing more comes."""

    def __init__(self, *, stalls: bool = False) -> None:
        self.stalls = stalls

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield VIDEO
        while True:
            if self.stalls:
                await anyio.sleep_forever()
            yield b"\0" * 65536


async def test_a_short_video_comes_whole(home: Path) -> None:
    ranges: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        ranges.append(request.headers["range"])
        assert "authorization" not in request.headers
        return httpx.Response(200, content=VIDEO)

    assert await fetched(home, answer) == 1.0
    assert (home / "part").read_bytes() == VIDEO
    assert ranges == [f"bytes=0-{parts.MAX_PART_BYTES - 1}"]


@pytest.mark.parametrize("said", [f"bytes 0-999/{len(VIDEO)}", "bytes 0-999/*", "nonsense"])
async def test_of_a_part_the_share_is_told_where_it_is_known(home: Path, said: str) -> None:
    share = await fetched(home, httpx.Response(206, content=VIDEO[:1000], headers={"content-range": said}))
    assert share == (pytest.approx(1000 / len(VIDEO)) if said.endswith(str(len(VIDEO))) else 1.0)


@pytest.mark.sockets
async def test_no_more_than_the_bound_is_written_whatever_comes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_PART_BYTES", 100_000)
    assert await fetched(home, httpx.Response(200, stream=Endless())) == 1.0
    assert (home / "part").stat().st_size == 100_000


async def test_what_does_not_arrive_in_time_is_given_up(home: Path) -> None:
    begun = anyio.current_time()
    with pytest.raises(DownloadFailed, match="did not arrive in 10 seconds"):
        await fetched(home, httpx.Response(200, stream=Endless(stalls=True)))
    assert anyio.current_time() - begun == pytest.approx(parts.PART_SECONDS)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, content=b"<html>please sign in</html>"), VideoUnusable),
        (httpx.Response(403), LinkRefused),
        (httpx.Response(302, headers={"location": "http://127.0.0.1/secret.mp4"}), DownloadRefused),
        (httpx.Response(302, headers={"location": "file:///etc/passwd"}), DownloadFailed),
    ],
)
async def test_what_is_no_video_or_leads_elsewhere_is_refused(
    home: Path, answer: httpx.Response, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await fetched(home, answer)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/clip.mp4", "http://169.254.169.254/", "ftp://example.com/", "https://"]
)
async def test_private_addresses_are_not_asked(home: Path, url: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing is asked")

    with pytest.raises(DownloadFailed):
        await fetched(home, answer, url)
    assert not (home / "part").exists()


async def test_a_network_that_breaks_is_told(home: Path) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    with pytest.raises(DownloadFailed, match="no route"):
        await fetched(home, answer)
