"""The one HTTP client on real sockets: the system's trust store, the proxy variables, and no work before its use."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener, TLSStream
from pydantic import SecretStr

from luma_mcp.core.errors import NetworkFailure, ProxyUnusable
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.connection import open_http_clients
from tests.support.rig import EPOCH, KEY, SOURCE, open_rig

pytestmark = pytest.mark.anyio
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{"status": "processing"}'


@pytest.fixture
def anyio_backend() -> str:
    """Sockets live in real time."""
    return "asyncio"


@asynccontextmanager
async def web(context: ssl.SSLContext | None, received: list[bytes]) -> AsyncGenerator[int]:
    """Listen on loopback, note what comes first, answer it, and give the port."""

    async def serve(stream: SocketStream | TLSStream) -> None:
        async with stream:
            received.append(await stream.receive())
            await stream.send(ANSWER)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra_attributes[SocketAttribute.local_port]()
    async with anyio.create_task_group() as group:
        group.start_soon((TLSListener(listener, context) if context else listener).serve, serve)
        yield port
        group.cancel_scope.cancel()
    await listener.aclose()


async def read_status(base_url: str) -> Status:
    async with open_http_clients(None) as connection:
        return (await RunAPI(connection, base_url, SecretStr(KEY)).read_task("id")).status


async def test_a_certificate_counts_if_the_system_trusts_its_issuer(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(home / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(home / "server.pem"))
    context.load_cert_chain(home / "server.pem")
    async with web(context, []) as port:
        with pytest.raises(NetworkFailure, match="certificate") as raised:
            await read_status(f"https://localhost:{port}")
        assert isinstance(raised.value.__cause__, httpx.ConnectError)
        monkeypatch.setenv("SSL_CERT_FILE", str(home / "ca.pem"))
        assert await read_status(f"https://localhost:{port}") is Status.PROCESSING


async def test_the_proxy_variables_are_honoured_and_the_key_is_not_shown_to_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[bytes] = []
    async with web(None, received) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(NetworkFailure):
            await read_status("https://runapi.example")
    assert received[0].startswith(b"CONNECT runapi.example:443 ")
    assert KEY.encode() not in received[0]


async def test_a_proxy_that_cannot_be_used_is_told_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    async with open_http_clients(None) as connection:
        with pytest.raises(ProxyUnusable, match="ALL_PROXY"):
            RunAPI(connection, "https://runapi.example", SecretStr(KEY)).check_ready()


async def test_no_proxy_without_a_proxy_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "fd00::/8,[,runapi.ai:x")
    async with web(None, []) as port:
        assert await read_status(f"http://127.0.0.1:{port}") is Status.PROCESSING


async def test_what_is_excepted_goes_past_the_proxy_by_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    async with web(None, []) as port:
        assert await read_status(f"http://127.0.0.1:{port}") is Status.PROCESSING


async def test_a_proxy_that_is_not_needed_may_be_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []
    async with web(None, received) as port:
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
        monkeypatch.setenv("HTTP_PROXY", f"user:p%40ss@127.0.0.1:{port}")
        assert await read_status("http://runapi.example") is Status.PROCESSING
    assert received[0].startswith(b"GET http://runapi.example/")
    assert b"proxy-authorization: basic dxnlcjpwqhnz" in received[0].lower()  # user:p@ss


async def test_a_submission_that_met_an_unusable_proxy_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    wanted = VideoRequest(prompt="fog", source=SOURCE)
    task = Task(key="k", caller="local", request=wanted, created_at=EPOCH, updated_at=EPOCH, source_url=SOURCE)
    async with open_http_clients(None) as connection:
        with pytest.raises(ProxyUnusable, match="HTTPS_PROXY") as raised:
            await RunAPI(connection, "https://runapi.example", SecretStr(KEY)).create_task(task)
    assert raised.value.charged == "no"


async def test_the_sandbox_looks_at_no_proxy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:9")
    async with open_rig(home) as rig:
        account = await rig.app.check_account("local")
    assert account.failure is None


async def test_an_address_where_nobody_listens_is_told_with_its_cause() -> None:
    async with web(None, []) as port:
        pass
    with pytest.raises(NetworkFailure, match=r"127\.0\.0\.1 could not be reached"):
        await read_status(f"http://127.0.0.1:{port}")


async def test_a_connection_that_is_not_used_makes_no_client() -> None:
    async with open_http_clients(None) as connection:
        assert {name: vars(connection)[name] for name in ("_for_runapi", "_for_storage")} == {
            "_for_runapi": None,
            "_for_storage": None,
        }
