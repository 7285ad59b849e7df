"""The ways in over HTTP that must be shut, and those that must not."""

import json
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import httpx
import pytest
from pydantic import SecretStr
from starlette.authentication import SimpleUser

from luma_mcp.app.app import open_app
from luma_mcp.cli.logs import Redacting, configure_logging
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.server.context import caller_of
from luma_mcp.server.server import build_server
from luma_mcp.transports import middleware
from luma_mcp.transports import sockets as listening
from luma_mcp.transports.exchange import PROBED
from luma_mcp.transports.http import risks
from luma_mcp.transports.local_token import with_local_token
from luma_mcp.transports.middleware import Callers, is_known_host, is_known_origin, known_hosts
from luma_mcp.transports.routes import LARGEST_MESSAGE_BYTES, Web
from tests.support.hosted import PAIRS, PATHS, TOKENS, bearer, dialled, hosted
from tests.support.raw import ACCEPT, MODERN_META, modern_headers, rpc
from tests.support.rig import KEY, settings_for

pytestmark = pytest.mark.anyio
sockets = pytest.mark.sockets
KNOWN = frozenset({"localhost", "127.0.0.1", "[::1]", "mcp.example.com", "proxy.example.com:8443"})
SOON_SECONDS = 0.2


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("LOCALHOST:8000", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("mcp.example.com", True),
        ("mcp.example.com.:443", True),
        ("proxy.example.com:8443", True),
        ("proxy.example.com", False),
        ("proxy.example.com:443", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:localhost", False),
        ("localhost:8000@evil.example", False),
        ("mcp.example.com:443:443", False),
        ("127.0.0.1.evil.example:80", False),
        ("[::1", False),
        ("::1", False),
        ("", False),
    ],
)
def test_a_server_goes_by_its_names_only(host: str, known: bool) -> None:
    assert is_known_host(host, KNOWN) is known


@pytest.mark.parametrize(
    ("origin", "known"),
    [
        ("http://localhost:3000", True),
        ("https://mcp.example.com", True),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("file://localhost", False),
        ("http://localhost:3000/path", False),
        ("http://localhost@evil.example", False),
    ],
)
def test_only_own_web_pages_may_call(origin: str, known: bool) -> None:
    assert is_known_origin(origin, KNOWN) is known


def test_a_server_knows_the_names_it_was_given() -> None:
    loopback = {"localhost", "127.0.0.1", "[::1]"}
    assert known_hosts(load_settings(host="0.0.0.0")) == loopback
    settings = load_settings(host="192.168.1.5", allowed_hosts="MCP.example.com, a:1", public_url="https://b.example/x")
    assert known_hosts(settings) == loopback | {"192.168.1.5", "mcp.example.com", "a:1"}
    assert known_hosts(with_local_token(settings)) == loopback | {"192.168.1.5", "mcp.example.com", "a:1", "b.example"}
    behind_tokens = load_settings(auth_tokens=PAIRS, public_url="https://b.example/x")
    assert known_hosts(behind_tokens) == loopback | {"b.example"}
    assert known_hosts(load_settings(host="fd00::1")) == loopback | {"[fd00::1]"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "[::]"])
def test_a_bind_beyond_loopback_needs_tokens(host: str) -> None:
    assert refusal_of(load_settings(host=host, port=0)).startswith("LUMA_MCP_AUTH_TOKENS: must name who may connect")


def test_any_address_beyond_loopback_needs_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(*_: object) -> list[tuple[socket.AddressFamily, str]]:
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "192.168.1.5")]

    monkeypatch.setattr(listening, "addresses", elsewhere)
    assert refusal_of(load_settings(host="desk.example", port=0)).startswith("LUMA_MCP_AUTH_TOKENS: ")


def test_whoever_came_past_the_check_of_tokens_is_nobody() -> None:
    settings = load_settings(transport="http", auth_tokens=PAIRS)
    ctx: Any = SimpleNamespace(request=None, lifespan_context=SimpleNamespace(settings=settings))
    with pytest.raises(PermissionError):
        caller_of(ctx)
    ctx.request = SimpleNamespace(user=SimpleUser("ann"))
    with pytest.raises(PermissionError):
        caller_of(ctx)


def test_a_bind_beyond_loopback_with_tokens_is_allowed() -> None:
    with listening.listening(load_settings(host="0.0.0.0", port=0, auth_tokens=PAIRS)) as opened:
        assert opened[0].getsockname()[0] == "0.0.0.0"


def test_localhost_is_opened_in_each_family_on_the_same_port() -> None:
    with listening.listening(load_settings(host="localhost", port=0)) as opened:
        assert len({each.getsockname()[1] for each in opened}) == 1


def test_a_port_in_use_and_a_host_that_is_not_here_are_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refusal_of(load_settings(port=port)).startswith(f"LUMA_MCP_PORT: 127.0.0.1 port {port} cannot be used")
    assert refusal_of(load_settings(host="no.such.invalid")).startswith(
        "LUMA_MCP_HOST: 'no.such.invalid' is no address"
    )


UNMEANT = (
    *("ann", "ann:", ":token", "ann:token,bob", "a b:token", "ann:to ken-token", "ann:tökèn-token", "local:token"),
    *("ann:token,bob:token", "ann:${token}", "ann:<your token>", "ann/x:token", "ann:token,,:", "ann:changeme-token"),
    *("ann:your-token", "ann:undefined-token", "ann:{token}", "ann:$(token)", "ann:token;bob:token"),
)


@pytest.mark.parametrize(
    "pairs",
    [
        *(pairs.replace("token", "token-0123456789") for pairs in UNMEANT),
        *(
            "${TOKENS}",
            "<tokens>",
            "ann:***",
            "nobody",
            "none,none",
            "none:0123456789abcdef,"[:-2],
            "ann:x",
            ",",
            " , ",
        ),
        *("ann:0123456789abcde", f"{PAIRS},eve:short", "ann:aaaaaaaaaaaaaaa", "ann:                 x"),
    ],
)
def test_tokens_that_nobody_meant_are_refused_without_being_repeated(pairs: str) -> None:
    with pytest.raises(BadSetting) as refused:
        load_settings(auth_tokens=pairs)
    assert refused.value.message.startswith("LUMA_MCP_AUTH_TOKENS: accepts name:token pairs")
    assert "token,bob" not in str(refused.value)


@pytest.mark.parametrize("hosts", ["*", "https://a.example", "a.example/x", "a b", "*.example.com", "a:port"])
def test_hosts_that_are_no_names_are_refused(hosts: str) -> None:
    with pytest.raises(BadSetting, match="LUMA_MCP_ALLOWED_HOSTS"):
        load_settings(allowed_hosts=hosts)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "ftp://example.com",
        "example.com",
        "https://a:b@example.com",
        "http://192.168.1.5",
        "https://a.example/#f",
        "https://a.example:99999",
    ],
)
def test_an_address_that_cannot_be_called_back_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match="LUMA_MCP_PUBLIC_URL"):
        load_settings(public_url=url)


async def test_a_token_says_who_calls_and_is_kept_nowhere() -> None:
    callers = Callers([("ann", SecretStr("abc")), ("bob", SecretStr("abcd"))])
    known = await callers.verify_token("abcd")
    assert known
    assert (known.client_id, known.token) == ("bob", "")
    for wrong in ("", "ab", "abcde", "ABC", "ann:abc", "ä"):
        assert await callers.verify_token(wrong) is None


@sockets
@pytest.mark.parametrize("path", [*PATHS, "/messages/?session_id=0"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": TOKENS["ann"]},
        {"Authorization": f"Basic {TOKENS['ann']}"},
        {"Authorization": f"Bearer {TOKENS['ann']}x"},
        {"X-Authorization": f"Bearer {TOKENS['ann']}"},
    ],
)
async def test_nobody_comes_in_without_a_token(home: Path, path: str, headers: dict[str, str]) -> None:
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        for method in ("GET", "POST", "DELETE") if path == "/mcp" else ("POST",) if "?" in path else ("GET",):
            answer = await plain.request(method, path, headers=ACCEPT | headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert (await plain.get(f"/mcp?token={TOKENS['ann']}", headers=ACCEPT)).status_code == 401
        assert not server.sandbox.seen


@sockets
@pytest.mark.parametrize("path", [*PATHS, "/messages/?session_id=0", "/"])
async def test_foreign_names_and_foreign_web_pages_are_refused(home: Path, path: str) -> None:
    async with hosted(home, auth_tokens=PAIRS, public_url="https://mcp.example.com") as server, server.plain() as plain:
        for headers, status in (({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403)):
            for method in ("GET", "POST", "OPTIONS"):
                answer = await plain.request(method, path, headers=ACCEPT | bearer("ann") | headers)
                assert answer.status_code == status
        two = [
            *ACCEPT.items(),
            *bearer("ann").items(),
            ("Origin", "http://localhost"),
            ("Origin", "https://evil.example"),
        ]
        assert (await plain.get(path, headers=two)).status_code == 403
        named = {"Host": "mcp.example.com", "Origin": "https://mcp.example.com"}
        assert (await plain.get("/mcp", headers=ACCEPT | bearer("ann") | named)).status_code == 400


@sockets
async def test_whoever_watches_over_the_server_may_call_it_by_any_name(home: Path) -> None:
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        for path in PROBED:
            assert (await plain.get(path, headers={"Host": "10.1.2.3"})).status_code == 200


@sockets
async def test_what_is_too_large_is_refused(home: Path) -> None:
    async def endless(size: int) -> AsyncGenerator[bytes]:
        for _ in range(size // 1024 + 1):
            yield bytes(1024)

    async with hosted(home, public_url="https://mcp.example.com") as server, server.plain() as plain:
        headers = ACCEPT | {"Content-Type": "application/json"}
        for content in (bytes(LARGEST_MESSAGE_BYTES + 1), endless(LARGEST_MESSAGE_BYTES)):
            assert (await plain.post("/mcp", headers=headers, content=content)).status_code == 413
            assert (await plain.post("/callbacks/x", headers=headers, content=content)).status_code == 204
        long = await plain.get("/mcp", headers={"X": "x" * middleware.LARGEST_HEAD_BYTES})
        assert long.status_code == 431
        assert (await plain.get("/healthz")).status_code == 200


@sockets
@pytest.mark.parametrize(
    "begun", [b"", b"GET /he", b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_connection_that_says_nothing_whole_is_ended(
    home: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(listening, "REQUEST_SECONDS", SOON_SECONDS)
    monkeypatch.setattr(listening, "KEEP_ALIVE_SECONDS", 1)
    async with hosted(home) as server:
        with dialled(server.port) as connection:
            connection.sendall(begun)
            await anyio.to_thread.run_sync(until_closed, connection)


@sockets
async def test_a_client_that_does_not_read_is_let_go_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "STALL_SECONDS", SOON_SECONDS)
    listing = rpc("tools/list", {"_meta": MODERN_META})
    async with hosted(home) as server, server.plain() as plain:
        asked = plain.build_request("POST", "/mcp", headers=ACCEPT | modern_headers("tools/list"), json=listing)
        head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
        request = f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + asked.content
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            connection.connect(("127.0.0.1", server.port))
            await anyio.to_thread.run_sync(send_until_closed, connection, request * 1000)
        assert (await plain.get("/healthz")).status_code == 200


@sockets
async def test_each_request_is_a_line_without_secrets(
    home: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "luma_mcp")
    secret = "in-the-address"  # noqa: S105 - of this test
    async with hosted(home, auth_tokens=PAIRS, public_url="https://mcp.example.com") as server, server.plain() as plain:
        await plain.post("/mcp?key=" + secret, headers=ACCEPT | bearer("ann"), json=rpc("tools/list", {}))
        await plain.post(f"/callbacks/{secret}")
        await plain.get(f"/{secret}")
        await plain.get("/healthz")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "luma_mcp.access"]
    seen = [(line["method"], line["path"], line["status"], line["caller"]) for line in lines]
    assert seen == [
        ("POST", "/mcp", 400, "ann"),
        ("POST", "/callbacks", 204, ""),
        ("GET", "other", 404, ""),
        ("GET", "/healthz", 200, ""),
    ]
    assert all(line["from"] == "127.0.0.1" and line["seconds"] >= 0 for line in lines)
    assert secret not in caplog.text
    assert TOKENS["ann"] not in caplog.text
    assert capsys.readouterr().out == ""


def test_tokens_do_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    formatter = Redacting(load_settings(auth_tokens=PAIRS))
    record = logging.makeLogRecord({"msg": "heard %s", "args": (TOKENS["bob"],)})
    assert formatter.format(record).endswith("heard [secret]")


def refusal_of(settings: Settings) -> str:
    """Try to listen, and give the reason why that is refused."""
    with pytest.raises(BadSetting) as refused, listening.listening(settings):
        pass
    return refused.value.message


def until_closed(connection: socket.socket) -> None:
    """Read until the other end has closed the connection; it may do so rudely."""
    with suppress(ConnectionResetError):
        while connection.recv(4096):
            pass


def send_until_closed(connection: socket.socket, requests: bytes) -> None:
    """Ask, and never read, until the other end has had enough."""
    with suppress(ConnectionResetError, BrokenPipeError):
        while True:
            connection.sendall(requests)


@sockets
async def test_addresses_with_a_slash_at_the_end_lead_nowhere_else(home: Path) -> None:
    async with hosted(home) as server, server.plain() as plain:
        listing, headers = rpc("tools/list", {"_meta": MODERN_META}), ACCEPT | modern_headers("tools/list")
        assert (await plain.post("/mcp/", headers=headers, json=listing)).status_code == 200
        for path in ("/messages", "/healthz/", "/mcp//", "//mcp"):
            assert (await plain.get(path)).status_code == 404


def test_a_message_cannot_pass_for_another_line(home: Path) -> None:
    formatter = Redacting(load_settings())
    record = logging.makeLogRecord({"msg": "asked for %s", "args": ("x\n2026 INFO luma_mcp: forged\x1b[31m\u2028",)})
    assert formatter.format(record).endswith(r"asked for x\n2026 INFO luma_mcp: forged\x1b[31m\u2028")
    assert len(formatter.format(logging.makeLogRecord({"msg": "x" * 100_000}))) < 5000


def test_only_this_server_logs_more_than_what_is_bad() -> None:
    configure_logging(load_settings(log_level="DEBUG"))
    assert logging.getLogger("luma_mcp.access").isEnabledFor(logging.DEBUG)
    for name in ("sse_starlette.sse", "mcp.server.sse", "httpx", "uvicorn.error", "asyncio"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_settings_without_a_key_are_pointed_out() -> None:
    assert risks(load_settings()).startswith(
        "RUNAPI_API_KEY is not set, or is a placeholder: nothing can be submitted."
    )
    for good in ({"api_key": KEY}, {"sandbox": True}, {"api_key": KEY, "auth_tokens": PAIRS, "allowed_hosts": "a.x"}):
        assert risks(load_settings(**good)) == ""


@pytest.mark.parametrize("beyond", [{"allowed_hosts": "a.example"}, {"public_url": "https://a.example"}])
def test_nobody_else_reaches_a_server_that_needs_no_token(home: Path, beyond: dict[str, str]) -> None:
    assert refusal_of(load_settings(auth_tokens="none", port=0, **beyond)).startswith(
        "LUMA_MCP_AUTH_TOKENS: must not be none where LUMA_MCP_ALLOWED_HOSTS or LUMA_MCP_PUBLIC_URL says"
    )
    with listening.listening(with_local_token(load_settings(port=0, **beyond))) as opened:
        assert opened


@pytest.mark.parametrize("tokens", ["none", None])
def test_only_named_callers_come_from_other_machines(tokens: str | None) -> None:
    settings = with_local_token(load_settings(host="0.0.0.0", port=0, auth_tokens=tokens))
    assert refusal_of(settings).startswith("LUMA_MCP_AUTH_TOKENS: must name who may connect")


FORWARDING = {
    "Forwarded": "for=192.0.2.1",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "https",
    "x-forwarded-server": "proxy",
    "X-Real-IP": "127.0.0.1",
    "Via": "1.1 proxy",
    "True-Client-IP": "192.0.2.1",
    "CF-Connecting-IP": "192.0.2.1",
}


@sockets
@pytest.mark.parametrize("path", [*PATHS, "/messages/?session_id=0"])
async def test_where_no_token_is_needed_nobody_comes_through_a_proxy(home: Path, path: str) -> None:
    async with hosted(home) as server, server.plain() as plain:
        for name, value in FORWARDING.items():
            for method in ("GET", "POST"):
                answer = await plain.request(method, path, headers=ACCEPT | {name: value, "Host": "localhost"})
                assert answer.status_code == 403, name
            assert (await plain.get("/healthz", headers={name: value})).status_code == 200
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain("ann") as plain:
        assert (await plain.get("/mcp", headers=ACCEPT | FORWARDING)).status_code == 400


@sockets
@pytest.mark.parametrize("tokens", ["none", PAIRS])
@pytest.mark.parametrize("path", [*PATHS, "/messages/?session_id=0", "/"])
async def test_what_a_browser_says_a_foreign_page_asks_for_is_refused(home: Path, path: str, tokens: str) -> None:
    async with hosted(home, auth_tokens=tokens) as server, server.plain("ann") as plain:
        for site in ("cross-site", "same-site", "Cross-Site", "anything"):
            for method in ("GET", "POST"):
                answer = await plain.request(method, path, headers=ACCEPT | {"Sec-Fetch-Site": site})
                assert answer.status_code == 403
            foreign = {"Sec-Fetch-Site": site, "Origin": "https://evil.example"}
            assert (await plain.get(path, headers=ACCEPT | foreign)).status_code == 403
            own = {"Sec-Fetch-Site": site, "Origin": "http://localhost:6274"}
            assert (await plain.get("/mcp", headers=ACCEPT | own)).status_code == 400
        two = [*ACCEPT.items(), ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")]
        assert (await plain.get(path, headers=two)).status_code == 403
        for site in ("none", "same-origin"):
            assert (await plain.get("/mcp", headers=ACCEPT | {"Sec-Fetch-Site": site})).status_code == 400


@sockets
async def test_a_401_says_where_the_token_is(home: Path) -> None:
    for tokens, where in ((PAIRS, "one of the tokens in LUMA_MCP_AUTH_TOKENS"), (None, "luma-mcp token")):
        async with hosted(home, auth_tokens=tokens) as server, server.plain() as plain:
            for path in PATHS:
                answer = await plain.get(path, headers=ACCEPT | {"Authorization": ""})
                assert answer.status_code == 401
                assert where in answer.json()["error_description"]
                assert where in answer.headers["www-authenticate"]


async def test_settings_that_do_not_say_who_comes_in_let_nobody_in(home: Path) -> None:
    async with open_app(settings_for(home, transport="http")) as app:
        web = httpx.ASGITransport(Web(app, build_server(app)).application())
        async with httpx.AsyncClient(base_url="http://localhost", transport=web) as plain:
            for token in ("", "None", "x" * 43):
                shown = {"Authorization": f"Bearer {token}"}
                assert (await plain.get("/mcp", headers=ACCEPT | shown)).status_code == 401
