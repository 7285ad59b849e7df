"""What the doctor says of the way to RunAPI and of the account, each cause with its own remedy."""

import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from typing import Any, ClassVar

import pytest
import trustme

from luma_mcp.cli.doctor.network import certificate_advice, check_identity_provider, proxy_name
from luma_mcp.core.text import Json
from luma_mcp.runapi import client
from tests.support.doctor import Doctor
from tests.support.identity_provider import Provider, serving
from tests.support.rig import KEY, settings_for


class Answers(BaseHTTPRequestHandler):
    """Answers everything in one way, and what was set by path."""

    status = 407
    known: ClassVar[dict[str, tuple[int, Json]]] = {}

    def do_GET(self) -> None:
        """Answer."""
        status, body = self.known.get(self.path.partition("?")[0], (self.status, {}))
        content = json.dumps(body).encode()
        self.send_response(status, f"says {KEY}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_CONNECT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


PRICES = (200, {"price_schedules": [{"unit_price_cents": 50, "currency": "USD"}]})
ACCOUNTS: dict[str, tuple[tuple[int, Json], int, str]] = {
    "a refused key": ((401, {}), 2, "invalid_api_key"),
    "too little money": ((200, {"balance_cents": 49}), 3, "insufficient_credits"),
    "no answer of an API": ((200, {}), 6, "bad_answer"),
}


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that break off."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


@contextmanager
def answering(context: ssl.SSLContext | None = None) -> Generator[int]:
    """Serve on a free port, with TLS or without."""
    with Quiet(("127.0.0.1", 0), Answers) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(("answer", "code", "error"), ACCOUNTS.values(), ids=ACCOUNTS.keys())
def test_an_account_that_pays_for_nothing_is_told(
    configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, Json], code: int, error: str
) -> None:
    monkeypatch.setattr(Answers, "known", {"/api/v1/price_schedules": PRICES, "/api/v1/me/balance": answer})
    with answering() as port:
        ended, found = doctor("--base-url", f"http://127.0.0.1:{port}")
    assert found["RunAPI"]["message"].endswith("a task costs 0.50 USD")
    assert (ended, found["account"]["code"]) == (code, error)


def test_what_answers_but_is_not_runapi_is_told(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "status", 200)
    with answering() as port:
        assert doctor("--base-url", f"http://127.0.0.1:{port}")[1]["RunAPI"]["code"] == "bad_answer"


def test_a_name_that_cannot_be_resolved_is_blamed_on_dns(doctor: Doctor) -> None:
    _, found = doctor("--base-url", "https://name.invalid")
    assert found["RunAPI"]["fix"].startswith("DNS: the name of name.invalid")
    assert found["RunAPI"]["code"] == "network"


def test_a_closed_port_is_told(doctor: Doctor) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert doctor("--base-url", f"http://127.0.0.1:{port}")[1]["RunAPI"]["fix"].startswith("Nothing listens at")


def test_a_certificate_that_is_not_trusted_is_blamed_on_whoever_replaces_certificates(doctor: Doctor) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate: Any = trustme.CA().issue_cert("localhost")
    certificate.configure_cert(context)
    with answering(context) as port:
        fix = doctor("--base-url", f"https://localhost:{port}")[1]["RunAPI"]["fix"]
    assert fix.startswith("TLS: ")
    assert "root certificate" in fix


def test_an_address_that_speaks_no_tls_is_told(doctor: Doctor) -> None:
    with answering() as port:
        fix = doctor("--base-url", f"https://localhost:{port}")[1]["RunAPI"]["fix"]
    assert fix.startswith("TLS: what answers at localhost does not speak TLS")


def test_a_proxy_that_refuses_is_blamed_and_its_password_is_not_shown(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering() as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{KEY}@127.0.0.1:{port}")
        fix = doctor("--base-url", "https://runapi.example")[1]["RunAPI"]["fix"]
    assert fix.startswith(f"Proxy: the proxy 127.0.0.1:{port} refused")


def test_a_proxy_that_is_not_there_is_blamed(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    fix = doctor("--base-url", "https://runapi.example")[1]["RunAPI"]["fix"]
    assert fix.startswith("DNS: the name of the proxy proxy.invalid:3128")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    assert "SOCKS" in doctor("--base-url", "https://runapi.example")[1]["RunAPI"]["fix"]


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:port", "http://u:p@[::1", "http://127.0.0.1:99999", "http://u:s/1@p:3"]
)
def test_proxies_that_are_no_addresses_are_told_without_their_words(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    finding = doctor("--base-url", "https://runapi.example")[1]["RunAPI"]
    assert "HTTPS_PROXY" in finding["fix"]
    assert proxy.partition("://")[2] not in str(finding)


def test_the_proxy_of_an_address_is_named_as_httpx_chooses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://a:b@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    assert proxy_name("https://runapi.ai") == "proxy.example:3128"
    assert proxy_name("https://inside.example") == ""


def test_a_server_that_does_not_answer_is_told(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REACH_SECONDS", 0.05)
    with create_server(("127.0.0.1", 0)) as silent:
        finding = doctor("--base-url", f"http://127.0.0.1:{silent.getsockname()[1]}")[1]["RunAPI"]
    assert "did not finish its answer" in finding["message"]


YEAR = timedelta(days=365)
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("name", "span", "word"),
    [
        ("runapi.ai", (NOW - YEAR, NOW - YEAR / 2), "clock"),
        ("runapi.ai", (NOW + YEAR / 2, NOW + YEAR), "clock"),
        ("login.example", (NOW - YEAR, NOW + YEAR), "login page"),
        ("192.0.2.1", (NOW - YEAR, NOW + YEAR), "login page"),
    ],
    ids=["expired", "not valid yet", "another name", "an address"],
)
def test_certificates_are_mistrusted_for_different_reasons(
    name: str, span: tuple[datetime, datetime], word: str
) -> None:
    fix = certificate_advice(mistrust_of(name, *span), "runapi.ai")
    assert fix.startswith("TLS: ")
    assert word in fix
    assert "root certificate" not in fix


def mistrust_of(name: str, not_before: datetime, not_after: datetime) -> ssl.SSLCertVerificationError:
    """Give the error of a client that wants runapi.ai and is shown a certificate of a trusted authority."""
    authority: Any = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(name, not_before=not_before, not_after=not_after).configure_cert(server)
    authority.configure_trust(client)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname="runapi.ai")
    with suppress(ssl.SSLWantReadError):
        asking.do_handshake()
    with suppress(ssl.SSLWantReadError):
        server.wrap_bio(to_server, to_client, server_side=True).do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError) as refused:
        asking.do_handshake()
    return refused.value


@pytest.mark.anyio
@pytest.mark.sockets
async def test_the_identity_provider_is_asked_for_its_keys(home: Path) -> None:
    async with serving(Provider()) as provider:
        settings = settings_for(home, transport="http", oauth_issuer=provider.url)
        (found,) = await check_identity_provider(settings)
        assert found.message == f"{provider.url} publishes 2 keys"
        provider.metadata = {"issuer": "https://other.example"}
        (wrong,) = await check_identity_provider(settings)
        assert "https://other.example" in wrong.message
        assert "LUMA_MCP_OAUTH_ISSUER" in wrong.fix
    assert await check_identity_provider(settings_for(home, oauth_issuer="https://idp.example.com")) == []
