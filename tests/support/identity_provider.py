"""An identity provider of the tests' own: its metadata, its keys, and an authorization server that always agrees."""

import base64
import hashlib
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from luma_mcp.transports.http import Uvicorn
from luma_mcp.transports.sockets import uvicorn_config
from tests.support.http_server import PAIRS, Hosted, hosted

ISSUER = "https://idp.example.com"
RESOURCE = "https://luma.example.com/mcp"
SUBJECT, OTHER = "user-1", "user-2"
ALL_SCOPES = "luma:read luma:spend"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Answer = Callable[[], Awaitable[Response]]


@cache
def private_key(name: str) -> PrivateKey:
    """Make a key; its name begins with its kind, as `rsa-2048`, `ec-256` or `ed-1`."""
    kind, _, bits = name.partition("-")
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=int(bits.partition("-")[0]))
    if kind == "ec":
        return ec.generate_private_key({"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}[bits])
    return ed25519.Ed25519PrivateKey.generate()


def public_jwk(name: str, **changes: object) -> dict[str, Any]:
    """Write the public part of a key as it stands in a set of keys."""
    key = private_key(name)
    if isinstance(key, rsa.RSAPrivateKey):
        found = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        found = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        found = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**found, "kid": name, **changes}


@dataclass
class Provider:
    """An identity provider whose answers a test can change; `asked` has the paths that it was asked for."""

    url: str = ISSUER
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public_jwk("rsa-2048"), public_jwk("ec-256")])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    metadata_path: str = "/.well-known/oauth-authorization-server"
    answer_keys: Answer | None = None
    asked: list[str] = field(default_factory=list[str])
    codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    asked_scopes: list[str] = field(default_factory=list[str])

    def token(
        self,
        *,
        key: str = "rsa-2048",
        algorithm: str = "RS256",
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Sign an access token of a user who may look and spend; None leaves a claim out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": RESOURCE, "sub": SUBJECT, "iat": now, "exp": now + 300, "scope": ALL_SCOPES}
        claims = {name: value for name, value in (usual | changes).items() if value is not None}
        return jwt.encode(claims, private_key(key), algorithm, headers={"kid": key, "typ": "at+jwt", **(header or {})})

    def application(self) -> Starlette:
        routes = [
            Route("/keys", self._send_keys),
            Route("/register", self._register, methods=["POST"]),
            Route("/authorize", self._authorize),
            Route("/token", self._exchange, methods=["POST"]),
            Route("/{path:path}", self._send_metadata),
        ]
        return Starlette(routes=routes)

    async def _send_keys(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        return await self.answer_keys() if self.answer_keys else JSONResponse({"keys": self.keys})

    async def _send_metadata(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if request.url.path != self.metadata_path:
            return Response("not here", 404)
        usual = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
        }
        return JSONResponse(usual | self.metadata)

    async def _register(self, request: Request) -> Response:
        return JSONResponse({**(await request.json()), "client_id": "registered"}, 201)

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.asked_scopes.append(asked.get("scope", ""))
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.url}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 302)

    async def _exchange(self, request: Request) -> Response:
        form = await request.form()
        asked = self.codes.pop(str(form["code"]))
        proof = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest())
        if proof.rstrip(b"=").decode() != asked["code_challenge"] or asked["resource"] != form["resource"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = self.token(aud=asked["resource"], scope=asked["scope"])
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": asked["scope"]})


@asynccontextmanager
async def serving(provider: Provider) -> AsyncGenerator[Provider]:
    """Serve a provider on a free port of loopback, under which it goes then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        provider.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = Uvicorn(uvicorn_config(provider.application()))
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            yield provider
            server.should_exit = True


def over(provider: Provider) -> httpx.ASGITransport:
    """Give a network in which there is nothing but a provider."""
    return httpx.ASGITransport(provider.application())


@asynccontextmanager
async def with_oauth(home: Path, **changes: Any) -> AsyncGenerator[tuple[Hosted, Provider]]:
    """Serve two users of an identity provider, and those with tokens of their own, all on real sockets."""
    async with serving(Provider()) as provider:
        callers = f"sub:{SUBJECT},sub:{OTHER}"
        oauth: dict[str, Any] = {"oauth_issuer": provider.url, "oauth_audience": RESOURCE, "oauth_callers": callers}
        async with hosted(home, auth_tokens=PAIRS, **oauth, **changes) as server:
            yield server, provider


def shown(provider: Provider, **claims: Any) -> dict[str, str]:
    """Give the header with an access token."""
    return {"Authorization": f"Bearer {provider.token(**claims)}"}
