"""A RunAPI that makes keys for codes of its page, in this process, and a person at a host that can show pages."""

import base64
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import mcp_types as wire

from luma_mcp.sandbox.transport import open_asgi_transport
from tests.support.rig import Rig, open_rig, sandbox_for
from tests.support.runapi_keys import NEW_KEY

CODE = "the-code-of-the-page"
Deed = Callable[[str], Awaitable[wire.ElicitResult | wire.ErrorData]]


@dataclass
class KeyMakingNetwork(httpx.AsyncBaseTransport):
    """A network on which RunAPI exchanges codes for keys, and all else is as before."""

    network: httpx.AsyncBaseTransport
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/v1/cli/exchange":
            return await self.network.handle_async_request(request)
        self.exchanges.append(json.loads(await request.aread()))
        if self.refuses:
            return httpx.Response(503, json={"error": "Try again later"})
        return httpx.Response(201, json={"key": NEW_KEY, "user": {"email": "ann@example.com"}})


@dataclass
class KeyRig:
    """An application without a key, and the network on which there are some."""

    rig: Rig
    network: KeyMakingNetwork

    @property
    def is_asked(self) -> bool:
        """Tell whether a page was ever offered."""
        return self.rig.parts.logins._last is not None


@asynccontextmanager
async def open_key_rig(home: Path, **changes: Any) -> AsyncGenerator[KeyRig]:
    sandbox = sandbox_for(home)
    async with open_asgi_transport(sandbox) as web:
        network = KeyMakingNetwork(web)
        async with open_rig(home, sandbox=sandbox, network=network, api_key="", **changes) as rig:
            yield KeyRig(rig, network)


@dataclass
class PersonAtHost:
    """Somebody who is shown pages by a host, and does something with each."""

    deed: Deed
    shown: list[wire.ElicitRequestURLParams] = field(default_factory=list)

    async def __call__(self, _: Any, asked: wire.ElicitRequestParams) -> wire.ElicitResult | wire.ErrorData:
        assert isinstance(asked, wire.ElicitRequestURLParams)
        self.shown.append(asked)
        return await self.deed(asked.url)


def page_query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def visit(url: str, **answer: str) -> int:
    """Do what RunAPI's page does when a person has decided, and give the status of the answer to it."""
    query = page_query(url)
    async with httpx.AsyncClient(trust_env=False) as http:
        callback = f"http://127.0.0.1:{query['redirect_port']}/callback"
        return (await http.get(callback, params={"state": query["state"], **answer})).status_code


def proves_who_began(url: str, exchange: dict[str, Any]) -> bool:
    """Tell whether an exchange comes from the process that made the page's address (PKCE)."""
    digest = hashlib.sha256(exchange["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return (exchange["code"], page_query(url)["code_challenge"]) == (CODE, challenge)


async def agree(url: str) -> wire.ElicitResult:
    """Open the page, and agree there before telling the host so."""
    assert await visit(url, code=CODE) == 200
    return wire.ElicitResult(action="accept")


async def refuse_there(url: str) -> wire.ElicitResult:
    """Open the page, and refuse there."""
    assert await visit(url, error="access_denied") == 200
    return wire.ElicitResult(action="accept")


async def only_open(_: str) -> wire.ElicitResult:
    """Open the page, and do nothing there."""
    return wire.ElicitResult(action="accept")


async def decline(_: str) -> wire.ElicitResult:
    return wire.ElicitResult(action="decline")


async def cancel(_: str) -> wire.ElicitResult:
    return wire.ElicitResult(action="cancel")


async def fail(_: str) -> wire.ErrorData:
    return wire.ErrorData(code=-32603, message="no window")


async def stay_away(_: str) -> wire.ElicitResult:
    await anyio.sleep_forever()
    raise AssertionError("nobody comes back")
