"""Private addresses are not fetched from: by name, after a redirect, and on the very connection, over real sockets."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream
from pydantic import SecretStr

from luma_mcp.core.errors import DownloadRefused, UploadAddressRefused
from luma_mcp.media.downloads import ResumableDownload
from luma_mcp.media.transfers import Transfer
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.connection import open_http_clients
from luma_mcp.runapi.ssrf import CONNECTED, DownloadGuard, UploadGuard
from luma_mcp.runapi.upload_targets import UploadTarget
from luma_mcp.runapi.upload_targets import put_file as send
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import API_URL

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0", "[::1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "[::ffff:169.254.169.254]",
    "2852039166", "[fd00:ec2::254]", "localhost", "10.0.0.1", "nas.local", "[fe80::1]", "100.100.100.200",
    "[fec0::1]", "[64:ff9b:1::7f00:1]", "[::ffff:0:7f00:1]",
]  # fmt: skip


@dataclass
class Heard:
    """A server on loopback: its port, the requests it got, and the bytes of those it did not understand."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list[bytes])


@asynccontextmanager
async def listening(*answers: bytes) -> AsyncGenerator[Heard]:
    """Answer each request with the next of some answers."""
    heard, left = Heard(), list(answers)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            heard.connections += 1
            try:
                heard.requests.append(await stream.receive(65536))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return
            await stream.send(left.pop(0))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    heard.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no database is near
    async with listener, anyio.create_task_group() as serving:
        serving.start_soon(listener.serve, serve)
        yield heard
        serving.cancel_scope.cancel()


def video() -> bytes:
    content = bundled_clip().read_bytes()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


def redirect(target: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()


async def get(
    home: Path, url: str, *, trusted: str = "https://runapi.ai", allow_private: bool = False, **more: Any
) -> bytes:
    part = home / "part"
    async with open_http_clients(more.get("transport")) as connection:
        network = DownloadGuard(trusted=trusted, allow_private=allow_private)
        assert await ResumableDownload(connection.storage, network, url, part, Transfer()).receive_in_turn(
            anyio.CancelScope()
        )
    return part.read_bytes()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every public-looking name lead to this machine, as somebody's name server could."""
    real = socket.getaddrinfo

    def lead_here(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        named = host.decode() if isinstance(host, bytes) else str(host)
        return real("127.0.0.1" if named.endswith(".example") else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lead_here)


@pytest.mark.parametrize("host", PRIVATE)
async def test_no_way_to_write_a_private_address_is_connected_to(home: Path, host: str) -> None:
    async with listening() as heard:
        with pytest.raises(DownloadRefused, match="private"):
            await get(home, f"http://{host}:{heard.port}/v.mp4")
    assert heard.connections == 0


@pytest.mark.parametrize("host", PRIVATE)
async def test_no_redirect_leads_to_a_private_address(home: Path, host: str) -> None:
    async with listening() as inner, listening(redirect(f"http://{host}:{inner.port}/latest/meta-data")) as outer:
        with pytest.raises(DownloadRefused, match="private"):
            await get(home, f"http://127.0.0.1:{outer.port}/v.mp4", trusted=f"http://127.0.0.1:{outer.port}")
    assert (outer.connections, inner.connections) == (1, 0)


@pytest.mark.parametrize("redirected", [False, True])
async def test_a_public_name_that_leads_to_a_private_address_is_sent_nothing(
    home: Path, names: None, redirected: bool
) -> None:
    async with listening() as inner:
        url = f"http://rebinding.example:{inner.port}/secret"
        async with listening(redirect(url)) as outer:
            trusted = f"http://127.0.0.1:{outer.port}"
            with pytest.raises(DownloadRefused, match=r"rebinding\.example \(127\.0\.0\.1\) is private"):
                await get(home, f"{trusted}/v.mp4" if redirected else url, trusted=trusted)
    assert inner.requests == []
    assert not (home / "part").read_bytes()


async def test_private_storage_can_be_allowed(home: Path, names: None) -> None:
    async with listening(video()) as heard:
        fetched = await get(home, f"http://storage.example:{heard.port}/v.mp4", allow_private=True)
    assert fetched == bundled_clip().read_bytes()


async def test_neither_key_nor_cookie_nor_referrer_is_sent_anywhere(home: Path) -> None:
    answer = redirect("/real.mp4").replace(b"302 Found\r\n", b"302 Found\r\nSet-Cookie: id=1; Path=/\r\n")
    async with listening(answer, video()) as heard:
        trusted = f"http://127.0.0.1:{heard.port}"
        await get(home, f"{trusted}/v.mp4", trusted=trusted)
    assert len(heard.requests) == 2
    for request in heard.requests:
        assert not any(word in request.lower() for word in (b"cookie", b"authorization", b"referer", b"bearer"))


async def test_a_name_and_a_password_in_an_address_are_not_sent(home: Path) -> None:
    async with listening() as heard:
        with pytest.raises(DownloadRefused, match="password"):
            await get(home, f"http://me:secret@127.0.0.1:{heard.port}/v.mp4", trusted=f"http://127.0.0.1:{heard.port}")
    assert heard.connections == 0


@pytest.mark.parametrize("host", ["xn--a", "xn--zzzzzz--", "[::1"])
async def test_a_host_that_cannot_be_one_is_refused(home: Path, host: str) -> None:
    with pytest.raises((DownloadRefused, httpx.InvalidURL)):
        await get(home, f"http://{host}/v.mp4")


async def test_a_connection_that_is_broken_at_once_is_tried_again(home: Path) -> None:
    class Broken:
        async def aclose(self) -> None:
            pass

        def get_extra_info(self, _: str) -> None:
            return None

    watch = DownloadGuard(trusted=API_URL, allow_private=False).check_url(httpx.URL("https://storage.example/v.mp4"))
    with pytest.raises(httpx.ConnectError):
        await watch(CONNECTED, {"return_value": Broken()})


@pytest.mark.parametrize("port", [0, 65536, 99999])
async def test_a_port_that_cannot_be_one_is_refused(home: Path, port: int) -> None:
    with pytest.raises((DownloadRefused, httpx.InvalidURL)):
        await get(home, f"http://storage.example:{port}/v.mp4")


async def test_the_users_own_proxy_may_be_anywhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(video()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert await get(home, "http://storage.example/v.mp4") == bundled_clip().read_bytes()
        with pytest.raises(DownloadRefused, match="private"):
            await get(home / "..", "http://10.0.0.1/v.mp4")
    assert proxy.requests[0].startswith(b"GET http://storage.example/v.mp4 ")


async def test_a_connection_that_nobody_could_look_at_is_not_trusted(home: Path) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"", extensions={"network_stream": object()})

    with pytest.raises(DownloadRefused, match="could not be checked"):
        await get(home, "https://storage.example/v.mp4", transport=httpx.MockTransport(answer))


async def put(url: str, *, trusted: str = API_URL, allow_private: bool = False) -> None:

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"private"

    async with open_http_clients(None) as connection:
        runapi = RunAPI(connection, trusted, SecretStr("key-12345678"), allow_private=allow_private)
        await runapi.put_upload(UploadTarget("s", url, {"Content-Type": "video/mp4"}), 7, pieces())


TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize("host", [*PRIVATE, "rebinding.example"])
async def test_no_clip_is_sent_to_a_private_address(names: None, host: str) -> None:
    async with listening() as heard:
        with pytest.raises(UploadAddressRefused, match="private"):
            await put(f"https://{host}:{heard.port}/put")
        with pytest.raises(UploadAddressRefused, match="scheme"):
            await put(f"http://{host}:{heard.port}/put")
    assert heard.requests == []


async def test_clips_go_to_this_machine_where_runapi_is_played_here(names: None) -> None:
    async with listening(TAKEN) as heard:
        await put(f"http://127.0.0.1:{heard.port}/put", trusted="http://127.0.0.1:8788")
    assert heard.requests[0].startswith(b"PUT /put HTTP/1.1\r\n")
    assert b"key-12345678" not in heard.requests[0]


@pytest.mark.parametrize("target", ["https://rebinding.example:{port}/put", "https://10.0.0.1/put"])
async def test_no_redirect_leads_a_clip_to_a_private_address(names: None, target: str) -> None:
    async with listening() as inner:
        moved = redirect(target.format(port=inner.port)).replace(b"302 Found", b"307 Temporary Redirect")

        async with listening(moved) as outer:
            network = UploadGuard(trusted=f"http://127.0.0.1:{outer.port}", allow_private=False)
            network._allow_private = False  # only the first address is RunAPI's own
            async with open_http_clients(None) as connection:
                upload = UploadTarget("s", f"http://127.0.0.1:{outer.port}/put", {})
                with pytest.raises(UploadAddressRefused, match="private"):
                    await send(connection.storage, network, upload, 7, Pieces())
    assert (outer.connections, inner.requests) == (1, [])


class Pieces:
    """Seven bytes, as often as they are asked for."""

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        yield b"private"
