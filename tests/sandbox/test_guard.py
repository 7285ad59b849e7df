"""Only programs of this machine reach the sandbox, by its own names, and nobody's body is awaited for ever."""

from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from luma_mcp.sandbox import guard
from luma_mcp.sandbox.guard import LoopbackGuard, is_of_this_machine
from tests.support.raw_http import all_that_comes, answered
from tests.support.sandbox_process import sandbox_process


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("https://[::1]:1", True),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("file://localhost", False),
        ("http://localhost@evil.example", False),
        ("http://evil.example@localhost", False),
        ("http://localhost.evil.example", False),
        ("http://[::1", False),
    ],
)
def test_only_pages_of_this_machine_may_call(origin: str, fine: bool) -> None:
    assert is_of_this_machine(origin) is fine


@pytest.mark.anyio
async def test_a_body_that_does_not_come_is_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PIECE_SECONDS", 0.01)
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(await receive())

    async def never() -> Any:
        await anyio.sleep_forever()

    async def send(_: Any) -> None:
        pass

    await LoopbackGuard(app, 80)({"type": "http", "headers": [(b"host", b"localhost")]}, never, send)
    assert told == [{"type": "http.disconnect"}]


def test_the_sandbox_goes_by_its_own_names_only(home: Path) -> None:
    with sandbox_process(home, seconds=0.1) as url:
        port = int(url.rpartition(":")[2])
        for host, code in (
            *((f"{name}:{port}", 401) for name in guard.HOSTS),
            (f"LOCALHOST:{port}", 401),
            *((name, 421) for name in ("localhost", "localhost:1", "evil.example", f"evil.example:{port}", "")),
        ):
            assert httpx.get(f"{url}/api/v1/me", headers={"Host": host}, timeout=60).status_code == code, host
        for origin in ("https://evil.example", "null"):
            refused = httpx.post(f"{url}/sandbox/faults", headers={"Origin": origin}, json={"kind": "500"})
            assert refused.status_code == 403
        assert httpx.post(f"{url}/sandbox/faults", headers={"Origin": url}, json={"kind": "500"}).status_code == 204
        named = f"Host: localhost:{port}\r\n".encode()
        twice = (
            b"POST /sandbox/faults HTTP/1.1\r\n" + named + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert all_that_comes(port, twice + b"0\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert answered(("127.0.0.1", port), b"GET /api/v1/me HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")
