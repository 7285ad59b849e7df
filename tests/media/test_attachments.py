"""Attached videos: fetched from the public internet alone, bounded in size and time, and gone with their call."""

import os
import shutil
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from luma_mcp.core.errors import DataNotWritable, OutputNotWritable, SourceNotAllowed, SourceNotFound
from luma_mcp.media import attachments
from luma_mcp.media.attachments import AGAIN_HINT, FETCH_SECONDS, FILE_NAME, Attachments
from luma_mcp.runapi.connection import HttpClients, open_http_clients
from tests.support.attached_files import CLIP, LINK, AttachedFiles, EndlessBody, LargeBody, body
from tests.support.rig import API_URL, disk_with

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]


@pytest.fixture
def files() -> AttachedFiles:
    return AttachedFiles()


@pytest.fixture
async def fetching(home: Path, files: AttachedFiles) -> AsyncGenerator[Attachments]:
    clients = HttpClients(httpx.MockTransport(files))
    yield Attachments(clients, home / "attached", trusted=API_URL)
    await clients.aclose()


def left_in(home: Path) -> list[Path]:
    return [*(home / "attached").iterdir()] if (home / "attached").exists() else []


async def test_a_video_is_there_for_as_long_as_it_is_needed_for_this_user_alone(
    fetching: Attachments, home: Path
) -> None:
    async with fetching.fetched(LINK) as path:
        assert (path.read_bytes(), path.name) == (CLIP, FILE_NAME)
        assert os.name == "nt" or path.parent.stat().st_mode & 0o077 == 0
    assert left_in(home) == []


@pytest.mark.parametrize(
    "link",
    [
        "http://files.example/clip.mp4",
        "file:///etc/passwd",
        "ftp://files.example/clip.mp4",
        "https://127.0.0.1/clip.mp4",
        "https://localhost:8000/clip.mp4",
        "https://[::1]/clip.mp4",
        "https://2130706433/clip.mp4",
        "https://10.0.0.1/clip.mp4",
        "https://169.254.169.254/latest/meta-data",
        "https://storage.internal/clip.mp4",
        "https://user:password@files.example/clip.mp4",
        "https://files.example:0/clip.mp4",
    ],
)
async def test_only_public_https_addresses_are_asked(
    fetching: Attachments, files: AttachedFiles, home: Path, link: str
) -> None:
    with pytest.raises(SourceNotAllowed) as refused:
        async with fetching.fetched(link):
            pass
    assert (refused.value.hint, files.asked, left_in(home)) == (AGAIN_HINT, [], [])


@pytest.mark.parametrize("target", ["https://127.0.0.1/", "http://files.example/", "https://192.168.1.1/clip.mp4"])
async def test_a_redirect_to_where_nothing_is_fetched_is_not_followed(
    fetching: Attachments, files: AttachedFiles, home: Path, target: str
) -> None:
    files.answer = lambda _: httpx.Response(302, headers={"Location": target})
    with pytest.raises(SourceNotAllowed):
        async with fetching.fetched(LINK):
            pass
    assert (files.asked, left_in(home)) == ([LINK], [])


@pytest.mark.sockets
async def test_a_public_name_that_leads_into_this_network_is_sent_nothing_and_its_address_is_not_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **named: real("127.0.0.1", *more, **named))
    got: list[bytes] = []

    async def note(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                got.append(await stream.receive())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no database is near
    async with open_http_clients(None) as clients, listener, anyio.create_task_group() as serving:
        serving.start_soon(listener.serve, note)
        with pytest.raises(SourceNotAllowed, match=r"address inside\.example is private") as refused:
            async with Attachments(clients, home / "attached", trusted=API_URL).fetched(
                f"https://inside.example:{port}/"
            ):
                pass
        serving.cancel_scope.cancel()
    assert "127.0.0.1" not in refused.value.message
    assert (got, left_in(home)) == ([], [])


async def test_redirects_end(fetching: Attachments, files: AttachedFiles) -> None:
    files.answer = lambda _: httpx.Response(302, headers={"Location": LINK})
    with pytest.raises(SourceNotFound):
        async with fetching.fetched(LINK):
            pass
    assert len(files.asked) < 10


@pytest.mark.sockets  # on the virtual clock, what httpx leaves unread is complained about
@pytest.mark.parametrize(
    ("response", "words"),
    [
        (body(b"<html>" * 100), "no MP4 or MOV"),
        (body(b"\x89PNG\r\n\x1a\n" + b"\0" * 500), "no MP4 or MOV"),
        (httpx.Response(200, headers={"Content-Length": "900000000"}), "larger than 500.0 MB"),
        (body(b"expired", 403), "answers 403"),
        (body(CLIP, 206), "answers 206"),
        (httpx.Response(200, headers={"Content-Encoding": "zstd"}), "could not be fetched"),
    ],
)
async def test_what_is_no_video_of_bearable_size_is_refused(
    fetching: Attachments, files: AttachedFiles, home: Path, response: httpx.Response, words: str
) -> None:
    files.answer = lambda _: response
    with pytest.raises(SourceNotFound, match=words) as refused:
        async with fetching.fetched(LINK):
            pass
    assert (refused.value.charged, left_in(home)) == ("no", [])


@pytest.mark.sockets  # for the same reason
async def test_a_body_that_does_not_say_how_long_it_is_ends_at_the_bound(
    fetching: Attachments, files: AttachedFiles, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "RULE", attachments.RULE._replace(most=5_000_000))
    files.answer = lambda _: httpx.Response(200, stream=LargeBody(20))
    with pytest.raises(SourceNotFound, match=r"larger than 5\.0 MB"):
        async with fetching.fetched(LINK):
            pass
    assert left_in(home) == []


async def test_a_link_that_stalls_is_given_up_in_time(fetching: Attachments, files: AttachedFiles, home: Path) -> None:
    files.answer = lambda _: httpx.Response(200, stream=EndlessBody())
    begun = anyio.current_time()
    with pytest.raises(SourceNotFound, match="within 20 seconds"):
        async with fetching.fetched(LINK):
            pass
    assert anyio.current_time() - begun == pytest.approx(FETCH_SECONDS)
    assert left_in(home) == []


async def test_the_link_which_is_a_secret_is_in_no_message(fetching: Attachments, files: AttachedFiles) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no way to {request.url}")

    files.answer = fail
    with pytest.raises(SourceNotFound) as failed:
        async with fetching.fetched(LINK):
            pass
    assert "secret" not in str(failed.value) + failed.value.hint
    assert failed.value.__cause__ is None


async def test_a_cancelled_call_leaves_nothing(fetching: Attachments, files: AttachedFiles, home: Path) -> None:
    files.answer = lambda _: httpx.Response(200, stream=EndlessBody())
    with anyio.move_on_after(5):
        async with fetching.fetched(LINK):
            pass
    assert left_in(home) == []


async def test_what_a_killed_server_left_is_removed_by_the_next_one(fetching: Attachments, home: Path) -> None:
    for name, age in (("old", 3600), ("new", 5)):
        (home / "attached" / name).mkdir(parents=True)
        (home / "attached" / name / FILE_NAME).write_bytes(CLIP)
        os.utime(home / "attached" / name, (time.time() - age,) * 2)
    async with fetching.fetched(LINK):
        pass
    assert [path.name for path in left_in(home)] == ["new"]


async def test_a_folder_that_cannot_be_made_is_told(fetching: Attachments, home: Path) -> None:
    (home / "attached").write_text("a file")
    with pytest.raises(DataNotWritable) as refused:
        async with fetching.fetched(LINK):
            pass
    assert "LUMA_MCP_DATA_DIR" in refused.value.hint


async def test_a_full_disk_is_told_as_that_of_the_data_folder(
    fetching: Attachments, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_with(1000))
    with pytest.raises(OutputNotWritable, match="disk of the data folder") as refused:
        async with fetching.fetched(LINK):
            pass
    assert "LUMA_MCP_DATA_DIR" in refused.value.hint
    assert left_in(home) == []
