"""What the doctor finds on the way to RunAPI, and on the account there."""

import socket
import ssl
import time
from collections.abc import Generator
from typing import cast
from urllib.parse import urlsplit

import httpx

from luma_mcp.app.parts import open_network
from luma_mcp.cli.doctor.report import Finding, note, ok, problem
from luma_mcp.cli.explanations import advice_for_error
from luma_mcp.core.errors import InvalidApiKey, LumaError, MissingApiKey, ProxyUnusable
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_proxies import Proxy, read_proxies
from luma_mcp.runapi.client import RunAPI

SYSTEM = "the system's proxy settings"
OTHER_KEY = "Get another key with `luma-mcp login`; or, where RUNAPI_API_KEY is set, correct it there."
SIMULATED = "the sandbox simulates RunAPI in this process, so the network was not tried"
# Verification errors of OpenSSL, macOS (Security.framework) and Windows (CryptoAPI): truststore asks each system's own.
CLOCK_ERRORS = frozenset({9, 10, -67818, -67819, 0x800B0101})  # not valid yet, or not any more
NAME_ERRORS = frozenset({62, 64, -67602, 0x800B010F})  # valid for another host name or address
OWN_ROOTS = "the system's store of trusted certificates (this program uses that store)"


async def check_network(settings: Settings) -> list[Finding]:
    if settings.sandbox:
        return [ok("RunAPI", SIMULATED)]
    async with open_network(settings, time.time, None) as way:
        runapi = RunAPI(way.clients, way.base_url, way.key)
        try:
            price = await runapi.price()
        except LumaError as error:
            return [diagnose_failure(error, way.base_url)]
        through = f" through the proxy {name}" if (name := proxy_name(way.base_url)) else ""
        return [
            ok("RunAPI", f"{way.base_url} answers{through}: a task costs {price.usd:.2f} USD"),
            await check_balance(runapi, price.usd),
        ]


async def check_identity_provider(settings: Settings) -> list[Finding]:
    """Look for the keys of the identity provider, where one lets people in."""
    if not (settings.serves_http and settings.oauth_issuer):
        return []
    from luma_mcp.app.identity_provider import open_identity_provider  # noqa: PLC0415 - loads cryptography

    issuer = settings.oauth_issuer
    async with open_identity_provider(issuer, allow_private=settings.allow_private) as provider:
        try:
            return [ok("identity provider", f"{issuer} publishes {await provider.load()} keys")]
        except LumaError as error:
            return [problem("identity provider", error.message, error.hint, error.code)]


async def check_balance(runapi: RunAPI, price_usd: float) -> Finding:
    try:
        balance = await runapi.balance()
    except MissingApiKey:
        return note("account", "not asked for its balance, as there is no key here", "Run this where the key is set.")
    except LumaError as error:
        fix = OTHER_KEY if isinstance(error, InvalidApiKey) else advice_for_error(error)
        return problem("account", error.message, fix, error.code)
    left = f"{balance.usd:.2f} USD are left"
    if balance.usd < price_usd:
        return problem(
            "account",
            f"{left}, and a task costs {price_usd:.2f} USD.",
            "Add credits to the RunAPI account.",
            "insufficient_credits",
        )
    return ok("account", f"{left}, enough for {balance.usd // price_usd:.0f} tasks")


def diagnose_failure(error: LumaError, base_url: str) -> Finding:
    host = urlsplit(base_url).hostname or base_url
    proxy = find_proxy(base_url)
    known = next((advice for cause in causes(error) if (advice := advice_for(cause, host, proxy))), "")
    fix = known or advice_for_error(error) or f"Check that this machine can open {base_url}."
    return problem("RunAPI", error.message, fix, error.code)


def causes(error: BaseException) -> Generator[BaseException]:
    """Yield an error and all that caused it, the deepest cause first."""
    below = error.__cause__ or error.__context__
    if below is not None:
        yield from causes(below)
    if isinstance(error, BaseExceptionGroup):
        for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from causes(one)
    yield error


def advice_for(cause: BaseException, host: str, proxy: Proxy | None) -> str:
    """Give the remedy for one cause; empty for one that says nothing."""
    where = f"the proxy {proxy.place}" if proxy else host
    named = (proxy.variable or SYSTEM) if proxy else "RUNAPI_BASE_URL"
    match cause:
        case ssl.SSLCertVerificationError():
            return certificate_advice(cause, host)
        case ssl.SSLError():
            return f"TLS: what answers at {where} does not speak TLS as {host} does. Check proxy and firewall."
        case socket.gaierror():
            return f"DNS: the name of {where} cannot be resolved. Check the internet connection, VPN and DNS server."
        case httpx.ProxyError():
            return f"Proxy: {where} refused to connect. Check user and password in {named}, and what it allows."
        case ConnectionRefusedError():
            return f"Nothing listens at {where}, or a firewall refuses. Check {named}."
        case TimeoutError() | httpx.TimeoutException():
            return f"{where} does not answer: a firewall may drop it. If your network needs a proxy, set HTTPS_PROXY."
        case _:
            return ""


def certificate_advice(error: ssl.SSLCertVerificationError, host: str) -> str:
    message = error.verify_message
    if error.verify_code in CLOCK_ERRORS:
        return f"TLS: {message}. Check this machine's clock."
    if error.verify_code in NAME_ERRORS:
        return f"TLS: {message}. Something else answers in place of {host}: a login page of the network, or a proxy."
    return (
        f"TLS: {message}. A proxy or security program replaces certificates: add its root certificate to {OWN_ROOTS}."
    )


def find_proxy(url: str) -> Proxy | None:
    """Give the proxy that a URL is reached through, None for none or one that cannot be used."""
    try:
        return read_proxies().proxy_for(httpx.URL(url))
    except ProxyUnusable:
        return None


def proxy_name(url: str) -> str:
    """Name the proxy that a URL is reached through, without user and password; empty for none."""
    return proxy.place if (proxy := find_proxy(url)) else ""
