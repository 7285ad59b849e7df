"""Saving: complete or not at all, never over another file, from public addresses only, with a name people can read."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.connection import open_connection
from luma_mcp.downloads import NAME_BYTES, Downloads, file_name
from luma_mcp.errors import DownloadFailed, LumaError, OutputNotWritable
from luma_mcp.models import Status, Task, VideoRequest
from luma_mcp.renaming import rename_without_replacing
from tests.rig import API_URL, EPOCH, SOURCE, Answer, handler_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
VIDEO = b"\0\0\0\x18ftypmp42" + b"v" * 1_000_000
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
        downloads = Downloads(connection, home / "out", trusted=API_URL, allow_private=allow_private)
        return await downloads.save(task)


def files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "out").iterdir())


async def test_a_video_is_saved_whole_under_a_readable_name_and_without_credentials(home: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=VIDEO)

    path = await save(home, answer)
    assert path == home / "out" / NAME
    assert path.read_bytes() == VIDEO
    assert files(home) == [NAME]
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
    assert files(home) == [NAME]


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
        await save(home, httpx.Response(200, content=broken(VIDEO)))
    assert saved.read_text() == "precious"
    assert files(home) == []


async def test_a_video_that_never_ends_to_arrive_is_given_up(home: Path) -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await anyio.sleep(30)

    with pytest.raises(DownloadFailed, match="1800 seconds"):
        await save(home, httpx.Response(200, content=drip()))
    assert files(home) == []


async def broken(content: bytes) -> AsyncIterator[bytes]:
    """Send half of something, and stop."""
    yield content[: len(content) // 2]
    raise httpx.ReadError("connection reset")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404),
        httpx.Response(206, content=VIDEO),
        httpx.Response(200, content=b"<html>please sign in</html>"),
        httpx.Response(500),
        httpx.Response(302),
        httpx.Response(200, content=b""),
        httpx.Response(200, content=broken(VIDEO)),
        httpx.Response(200, content=VIDEO, headers={"Content-Length": str(len(VIDEO) + 1)}),
    ],
    ids=["404", "part", "page", "500", "no location", "empty", "broken", "short"],
)
async def test_an_incomplete_video_leaves_nothing_behind(home: Path, answer: httpx.Response) -> None:
    with pytest.raises(DownloadFailed) as raised:
        await save(home, answer)
    assert raised.value.charged == "yes"
    assert files(home) == []


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
        downloads = Downloads(connection, home / "out", trusted="http://127.0.0.1:8788", allow_private=False)
        own = replace(TASK, video_urls=("http://127.0.0.1:8788/outputs/v.mp4",))
        assert (await downloads.save(own)).is_file()


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

    monkeypatch.setattr("luma_mcp.downloads.publish", full)
    with pytest.raises(OutputNotWritable, match="No space left") as raised:
        await save(home, httpx.Response(200, content=VIDEO))
    assert raised.value.charged == "yes"
    assert files(home) == []


@given(st.text(), st.text(min_size=1))
def test_a_name_is_one_plain_component_whatever_the_prompt_and_the_id(prompt: str, task_id: str) -> None:
    task = replace(TASK, request=replace(TASK.request, prompt=prompt), task_id=task_id)
    name = file_name(task)
    assert Path(name).name == name
    assert name.startswith("2026-09-21")
    assert name.endswith(".mp4")
    assert len(name.encode()) < NAME_BYTES + 50
    assert not set(name) & set('<>:"/\\|?*\0\n')
    assert name.isprintable()


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("霧の秋の朝", "2026-09-21-霧の秋の朝-550e8400.mp4"),
        ("../../etc/passwd", "2026-09-21-etc-passwd-550e8400.mp4"),
        ("CON: aux", "2026-09-21-550e8400.mp4"),
        ("!!!", "2026-09-21-550e8400.mp4"),
        ("one two three four five six seven", "2026-09-21-one-two-three-four-five-six-550e8400.mp4"),
    ],
)
def test_names_are_made_of_the_words_of_the_prompt(prompt: str, name: str) -> None:
    assert file_name(replace(TASK, request=replace(TASK.request, prompt=prompt))) == name
