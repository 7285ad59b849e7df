"""A download that breaks off goes on where it stopped if the server allows, and is never of two files."""

import gzip
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.core.storage_errors import DownloadFailed, DownloadRefused, LinkRefused, OutputNotWritable
from luma_mcp.media import fetching
from luma_mcp.media.fetching import MOST_BREAKS, Arriving
from luma_mcp.media.transfers import Transfer
from luma_mcp.runapi.connection import open_connection
from luma_mcp.runapi.ssrf import PublicNetwork
from luma_mcp.sandbox.http import bundled_clip
from tests.support.dripping import PIECES, SECONDS, Dripping
from tests.support.films import FTYP, film, film_header_first
from tests.support.rig import API_URL, Answer, disk_with

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
URL = "https://tempfile.example/v.mp4"
VIDEO = film_header_first(bytes(range(256)) * 8000)
OTHER = film_header_first(bytes(range(256))[::-1] * 8000)
WHOLE = film(b"v" * 20)
STEP = 600_000


class Storage:
    """Serves a file, and breaks the connection after each `step` bytes of an answer; remembers what was asked."""

    def __init__(
        self,
        content: bytes,
        *,
        step: int = STEP,
        etag: str = '"one"',
        ranges: bool = True,
        said: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._content = content
        self._step = step
        self._etag = etag
        self._ranges = ranges
        self._said = said
        self.asked: list[str] = []
        self.conditions: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("range", "")
        self.asked.append(asked)
        self.conditions.append(request.headers.get("if-range", ""))
        content = self._content
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self._ranges else 0
        headers = {"ETag": self._etag, "Content-Length": str(len(content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        raw = [(name.encode(), value.encode()) for name, value in {**headers, **self._said}.items()]
        return httpx.Response(206 if start else 200, headers=raw, content=cut(content[start:], self._step))


async def cut(content: bytes, step: int) -> AsyncIterator[bytes]:
    """Send at most so much of something, and break the connection if that was not all."""
    yield content[:step]
    if len(content) > step:
        raise httpx.ReadError("connection reset")


async def received(home: Path, answer: Answer) -> bytes:
    """Fetch a video from a web that answers as told."""
    part, network = home / "part", PublicNetwork(trusted=API_URL, allow_private=False)
    async with open_connection(httpx.MockTransport(answer)) as connection:
        assert await Arriving(connection.storage, network, URL, part, Transfer()).have_turn(anyio.CancelScope())
    return part.read_bytes()


async def test_a_broken_download_goes_on_where_it_stopped(home: Path) -> None:
    storage = Storage(VIDEO)
    assert await received(home, storage) == VIDEO
    assert storage.asked == ["", *(f"bytes={start}-" for start in range(STEP, len(VIDEO), STEP))]
    assert set(storage.conditions[1:]) == {'"one"'}


async def test_not_a_byte_is_fetched_twice_however_few_came(home: Path) -> None:
    storage = Storage(WHOLE, step=7)
    assert await received(home, storage) == WHOLE
    assert storage.asked == ["", *(f"bytes={start}-" for start in range(7, len(WHOLE), 7))]


async def test_without_a_tag_the_length_must_be_the_same(home: Path) -> None:
    storage = Storage(VIDEO, etag="")
    assert await received(home, storage) == VIDEO
    assert storage.asked[1]
    assert not any(storage.conditions)


def no_such_range(_: httpx.Request) -> httpx.Response:
    return httpx.Response(416)


@pytest.mark.parametrize(
    "second",
    [
        Storage(OTHER, etag='"two"'),
        Storage(OTHER, etag=""),
        Storage(OTHER + b"x", etag=""),
        Storage(OTHER, said={"Content-Range": "bytes 5-9/100"}),
        Storage(OTHER, said={"Content-Range": f"bytes {STEP}-{len(VIDEO)}/{len(VIDEO) + 1}"}),
        Storage(OTHER, said={"Content-Range": "bytes */100"}),
        Storage(OTHER, said={"Content-Range": "nonsense"}),
        no_such_range,
    ],
    ids=[
        "another tag",
        "no tag any more",
        "another length",
        "another place",
        "another total",
        "no place",
        "nonsense",
        "no such range",
    ],
)
async def test_the_rest_of_another_file_is_not_added(home: Path, second: Answer) -> None:
    first, whole = Storage(VIDEO), Storage(OTHER, step=len(OTHER) + 1)
    answers: list[Answer] = [first, second, whole]
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("range", ""))
        return answers.pop(0)(request)

    assert await received(home, answer) == OTHER
    assert [bool(wanted) for wanted in asked] == [False, True, False]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": 'W/"1"'}, {"ETag": 'W/"2"'}),
        ({"ETag": "", "Last-Modified": "Mon, 21 Sep 2026 10:00:00 GMT"}, {"ETag": "", "Last-Modified": "later"}),
    ],
    ids=["weak tag", "time"],
)
async def test_a_weak_mark_that_changed_is_another_file(
    home: Path, before: dict[str, str], after: dict[str, str]
) -> None:
    whole = Storage(OTHER, step=len(OTHER) + 1, said=after)
    answers: list[Answer] = [Storage(VIDEO, said=before), Storage(OTHER, said=after), whole]
    assert await received(home, lambda request: answers.pop(0)(request)) == OTHER


async def test_a_time_is_the_condition_where_there_is_no_strong_tag(home: Path) -> None:
    said = {"ETag": "", "Last-Modified": "Mon, 21 Sep 2026 10:00:00 GMT"}
    storage = Storage(VIDEO, said=said)
    assert await received(home, storage) == VIDEO
    assert set(storage.conditions[1:]) == {said["Last-Modified"]}
    timeless = Storage(OTHER, said={"ETag": ""})
    answers: list[Answer] = [Storage(VIDEO, said=said), timeless, Storage(OTHER, step=1 << 30)]
    (home / "part").unlink()
    assert await received(home, lambda request: answers.pop(0)(request)) == OTHER


async def test_a_server_that_once_gave_no_part_is_not_asked_for_one_again(home: Path) -> None:
    asked: list[str] = []
    answers: list[Answer] = [Storage(VIDEO), no_such_range, Storage(VIDEO), Storage(VIDEO, step=1 << 30)]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("range", ""))
        return answers.pop(0)(request)

    assert await received(home, answer) == VIDEO
    assert [bool(wanted) for wanted in asked] == [False, True, False, False]


@pytest.mark.parametrize("encoding", ["aws-chunked", "identity", ""])
async def test_an_encoding_that_packs_nothing_is_let_through(home: Path, encoding: str) -> None:
    assert await received(home, Storage(VIDEO, said={"Content-Encoding": encoding})) == VIDEO


@pytest.mark.parametrize("target", ["https://xn--0/v.mp4", "https://storage.example:99999/v.mp4"])
async def test_a_redirect_to_what_is_no_address_is_an_error_like_others(home: Path, target: str) -> None:
    with pytest.raises((DownloadFailed, httpx.RemoteProtocolError)):
        await received(home, lambda _: httpx.Response(302, headers={"Location": target}))


@pytest.mark.sockets  # on the virtual clock, what httpx leaves unread is complained about
async def test_a_server_that_sends_more_than_it_announced_is_not_believed(home: Path) -> None:
    answers: list[Answer] = [
        Storage(VIDEO),
        Storage(VIDEO + b"x" * 99, said={"Content-Range": f"bytes {STEP}-{len(VIDEO) - 1}/{len(VIDEO)}"}, step=1 << 30),
        Storage(VIDEO, step=1 << 30),
    ]
    assert await received(home, lambda request: answers.pop(0)(request)) == VIDEO


async def test_a_shorter_file_leaves_nothing_of_the_longer_one(home: Path) -> None:
    answers: list[Answer] = [Storage(VIDEO), Storage(WHOLE, etag='"two"', ranges=False)]
    assert await received(home, lambda request: answers.pop(0)(request)) == WHOLE


async def test_a_weak_mark_is_no_condition_for_a_part(home: Path) -> None:
    storage = Storage(VIDEO, etag='W/"one"')
    assert await received(home, storage) == VIDEO
    assert not any(storage.conditions)


async def test_an_unpacked_file_is_asked_for(home: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        return httpx.Response(200, content=VIDEO)

    await received(home, answer)
    assert asked == ["identity"]


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip, identity, gzip", "br", "x-gzip", "deflate"])
async def test_a_packed_video_is_not_unpacked(home: Path, encoding: str) -> None:
    with pytest.raises(DownloadFailed, match="packed"):
        await received(home, lambda _: httpx.Response(200, headers={"Content-Encoding": encoding}, stream=Page()))


async def test_a_video_that_comes_packed_once_is_unpacked(home: Path) -> None:
    packed = gzip.compress(VIDEO)
    sizes = iter([len(packed) // 2, len(packed)])

    def answer(_: httpx.Request) -> httpx.Response:
        content = cut(packed[: next(sizes)], STEP)
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=content)

    assert await received(home, answer) == VIDEO


@pytest.mark.sockets  # on the virtual clock, what httpx leaves unread is complained about
async def test_what_is_packed_twice_or_grows_beyond_bounds_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed(content: bytes) -> httpx.Response:
        sent = cut(gzip.compress(content), 1 << 30)
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=sent)

    with pytest.raises(DownloadFailed, match="no video"):
        await received(home, lambda _: packed(gzip.compress(VIDEO)))
    (home / "part").unlink()
    monkeypatch.setattr(fetching, "LARGEST_BYTES", 1_000_000)
    with pytest.raises(DownloadRefused, match="larger than"):
        await received(home, lambda _: packed(FTYP + bytes(50_000_000)))
    assert (home / "part").stat().st_size <= 1_000_000


async def test_the_rest_of_a_video_is_not_taken_packed(home: Path) -> None:
    answers: list[Answer] = [
        Storage(VIDEO),
        Storage(VIDEO, said={"Content-Encoding": "gzip"}),
        Storage(VIDEO, step=1 << 30),
    ]
    assert await received(home, lambda request: answers.pop(0)(request)) == VIDEO


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
async def test_a_link_that_is_refused_is_told_from_trouble(home: Path, status: int) -> None:
    with pytest.raises(LinkRefused, match=str(status)) as raised:
        await received(home, lambda _: httpx.Response(status))
    assert "works until" not in raised.value.hint


async def test_a_video_of_unknown_length_must_not_end_in_the_middle(home: Path) -> None:
    whole = bundled_clip().read_bytes()
    sizes = iter([3000, len(whole)])

    async def unannounced(size: int) -> AsyncIterator[bytes]:
        yield whole[:size]

    assert await received(home, lambda _: httpx.Response(200, content=unannounced(next(sizes)))) == whole


@pytest.mark.sockets  # for the same reason
async def test_the_room_on_the_disk_is_watched_where_no_length_is_announced(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LOOK_BYTES", 1000)
    monkeypatch.setattr(shutil, "disk_usage", disk_with(1000))

    async def unannounced() -> AsyncIterator[bytes]:
        yield VIDEO

    with pytest.raises(OutputNotWritable, match="nearly full"):
        await received(home, lambda _: httpx.Response(200, content=unannounced()))


@pytest.mark.parametrize("tag", ['"ä"', '"\x7f"'])
async def test_a_tag_that_cannot_be_sent_back_is_not(home: Path, tag: str) -> None:
    answers: list[Answer] = [Storage(VIDEO, etag=tag), Storage(VIDEO, step=1 << 30, etag=tag)]
    assert await received(home, lambda request: answers.pop(0)(request)) == VIDEO


async def test_a_server_that_knows_no_ranges_sends_the_file_again(home: Path) -> None:
    steps = iter([STEP, len(VIDEO) + 1])

    def answer(request: httpx.Request) -> httpx.Response:
        return Storage(VIDEO, step=next(steps), ranges=False)(request)

    assert await received(home, answer) == VIDEO


async def test_what_cannot_be_had_in_parts_is_not_asked_for_in_parts(home: Path) -> None:
    storage = Storage(VIDEO, said={"Accept-Ranges": "none"})
    with pytest.raises(httpx.ReadError):
        await received(home, storage)
    assert not any(storage.asked)


async def test_a_download_that_comes_no_further_is_given_up_soon(home: Path) -> None:
    storage = Storage(VIDEO, step=0)
    with pytest.raises(httpx.ReadError):
        await received(home, storage)
    assert len(storage.asked) == 1 + MOST_BREAKS
    assert 2 < anyio.current_time() < 15


async def test_a_part_that_is_there_is_worth_more_patience(home: Path) -> None:
    storage, trouble = Storage(VIDEO), iter([False, *[True] * 7, False])

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503) if next(trouble, False) else storage(request)

    assert await received(home, answer) == VIDEO
    assert anyio.current_time() > 60


async def test_trouble_that_passes_does_not_break_a_download_off(home: Path) -> None:
    storage, answers = Storage(VIDEO), iter([200, 503, 200, 502, 429])

    def answer(request: httpx.Request) -> httpx.Response:
        code = next(answers, 200)
        return storage(request) if code == 200 else httpx.Response(code)

    assert await received(home, answer) == VIDEO


async def in_turns(home: Path, storage: Answer, *seconds: float, between: Callable[[], object] = lambda: None) -> None:
    """Fetch a video in turns of so many seconds, between which something is done, and then to its end."""
    network = PublicNetwork(trusted=API_URL, allow_private=False)
    async with open_connection(httpx.MockTransport(storage)) as connection:
        arriving = Arriving(connection.storage, network, URL, home / "part", Transfer())
        for turn in seconds:
            assert not await arriving.have_turn(anyio.CancelScope(deadline=anyio.current_time() + turn))
            between()
        assert await arriving.have_turn(anyio.CancelScope())


async def test_what_a_turn_brought_is_kept_for_the_next(home: Path) -> None:
    storage = Dripping(VIDEO, ["/v.mp4"])
    await in_turns(home, storage, 60, 120)
    assert (home / "part").read_bytes() == VIDEO
    piece = len(VIDEO) // PIECES
    assert [asked for _, asked in storage.asked] == ["", *(f"bytes={count * piece}-" for count in (11, 11 + 22))]
    assert set(storage.conditions[1:]) == {'"one"'}
    assert storage.open == 0


async def test_what_cannot_be_had_in_parts_begins_anew_in_each_turn(home: Path) -> None:
    storage = Dripping(VIDEO, ["/v.mp4"], without=1)
    await in_turns(home, storage, 60, 120)
    assert (home / "part").read_bytes() == VIDEO
    assert anyio.current_time() > 60 + 120 + PIECES * SECONDS


async def test_all_that_came_before_the_end_of_a_turn_is_not_asked_for_again(home: Path) -> None:
    storage = Dripping(VIDEO, ["/v.mp4"])
    pieces = -(-len(VIDEO) // (len(VIDEO) // PIECES))
    await in_turns(home, storage, (pieces + 0.5) * SECONDS)
    assert (home / "part").read_bytes() == VIDEO
    assert len(storage.asked) == 1


async def test_what_was_written_when_a_turn_ended_and_not_counted_is_written_again(home: Path) -> None:
    def grow() -> None:
        with (home / "part").open("ab") as part:
            part.write(b"x" * len(VIDEO))

    await in_turns(home, Dripping(VIDEO, ["/v.mp4"]), 60, between=grow)
    assert (home / "part").read_bytes() == VIDEO


async def test_a_part_that_somebody_tidied_up_begins_anew(home: Path) -> None:
    await in_turns(home, Dripping(VIDEO, ["/v.mp4"]), 60, between=(home / "part").unlink)
    assert (home / "part").read_bytes() == VIDEO


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no way to open a link itself")
async def test_a_link_in_place_of_a_part_is_not_written_through(home: Path) -> None:
    precious = home / "precious"
    precious.write_bytes(b"precious")

    def swap() -> None:
        (home / "part").unlink()
        (home / "part").symlink_to(precious)

    with pytest.raises(OSError, match="part"):
        await in_turns(home, Dripping(VIDEO, ["/v.mp4"]), 60, between=swap)
    assert precious.read_bytes() == b"precious"


class Page(httpx.AsyncByteStream):
    """A page without an end, which counts its pieces."""

    def __init__(self) -> None:
        self.sent = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self.sent += 1
        return b"<html>" * 10_000


@pytest.mark.sockets  # on the virtual clock, what httpx leaves unread is complained about
async def test_what_is_no_video_is_not_read_to_its_end(home: Path) -> None:
    page = Page()
    with pytest.raises(DownloadFailed, match="no video"):
        await received(home, lambda _: httpx.Response(200, stream=page))
    assert page.sent < 20


@pytest.mark.sockets  # for the same reason
@pytest.mark.parametrize("announced", [True, False])
async def test_what_is_too_large_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    monkeypatch.setattr(fetching, "LARGEST_BYTES", len(VIDEO) - 1)

    async def unannounced() -> AsyncIterator[bytes]:
        yield VIDEO

    content: Callable[[], Any] = lambda: VIDEO if announced else unannounced()  # noqa: E731 - made anew for each answer
    with pytest.raises(DownloadRefused, match="larger than"):
        await received(home, lambda _: httpx.Response(200, content=content()))


async def test_a_disk_without_room_is_found_before_the_bytes_come(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_with(len(VIDEO)))
    storage = Storage(VIDEO, step=len(VIDEO) + 1)
    with pytest.raises(OutputNotWritable, match=r"nearly full: 2\.0 MB are free"):
        await received(home, storage)
    assert (home / "part").stat().st_size == 0
