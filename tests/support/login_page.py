"""A double of RunAPI's login page and of what a person does on it (contract 7.1), on real sockets."""

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Query = dict[str, str]
Person = Callable[["LoginPage", Query], Query | None]
"""What a person does on a page with this query: the query of the callback, None for nothing."""


def agree(page: "LoginPage", query: Query) -> Query:
    return {"code": page.code_for(query), "state": query["state"]}


def refuse(_: "LoginPage", query: Query) -> Query:
    return {"error": "access_denied", "error_description": "You said no", "state": query["state"]}


@dataclass
class LoginPage:
    """RunAPI with an account: `keys` are those that it made, `answers` what the page got from its callbacks."""

    url: str = ""
    person: Person = agree
    balance_usd: float = 12.5
    keys: list[str] = field(default_factory=list)
    answers: list[httpx.Response] = field(default_factory=list)
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    challenges: dict[str, Query] = field(default_factory=dict)

    def code_for(self, query: Query) -> str:
        """Make a code for somebody who agreed."""
        code = secrets.token_urlsafe(16)
        self.challenges[code] = query
        return code

    def browse(self, address: str) -> bool:
        """Open the page as a browser would, and have the person do what they do, in time that nobody waits for."""
        threading.Thread(target=self._visit, args=(address,)).start()
        return True

    def _visit(self, address: str) -> None:
        parts = urlsplit(address)
        assert (f"{parts.scheme}://{parts.netloc}", parts.path) == (self.url, "/cli/authorize")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert query["code_challenge_method"] == "S256"
        if (answer := self.person(self, query)) is not None:
            callback = f"http://127.0.0.1:{query['redirect_port']}/callback"
            self.answers.append(httpx.get(callback, params=answer, headers={"Origin": self.url}, trust_env=False))

    async def exchange(self, request: Request) -> Response:
        """Give a key for a code, once, to whoever has its verifier."""
        body = await request.json()
        self.exchanges.append({**body, "hostname": request.headers.get("x-cli-hostname")})
        query = self.challenges.pop(body["code"], None)
        digest = hashlib.sha256(body["code_verifier"].encode()).digest()
        if query is None or query["code_challenge"] != base64.urlsafe_b64encode(digest).rstrip(b"=").decode():
            return JSONResponse({"error": "The code is invalid or has expired"}, 400)
        if str(body["redirect_port"]) != query["redirect_port"]:
            return JSONResponse({"error": "Another port"}, 400)
        self.keys.append(f"sk-{secrets.token_hex(16)}")
        made = {"key": self.keys[-1], "token_type": "standard", "name": "cli", "user": {"email": "ann@example.com"}}
        return JSONResponse(made, 201)

    async def balance(self, request: Request) -> Response:
        """Say what is left to whoever has a key."""
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.keys:
            return JSONResponse({"error": {"code": "invalid_api_key", "message": "Invalid API key"}}, 401)
        return JSONResponse({"balance_cents": round(100 * self.balance_usd), "currency": "USD"})

    def application(self) -> Starlette:
        """Give the web application."""
        return Starlette(
            routes=[
                Route("/api/v1/cli/exchange", self.exchange, methods=["POST"]),
                Route("/api/v1/me/balance", self.balance, methods=["GET"]),
            ]
        )


@contextmanager
def serving_login_page(person: Person = agree) -> Generator[LoginPage]:
    """Serve the double on a thread of its own."""
    page = LoginPage(person=person)
    config = uvicorn.Config(page.application(), port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    sockets = [config.bind_socket()]
    sockets[0].listen()  # whoever calls before the thread has begun waits
    page.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=(sockets,))
    thread.start()
    try:
        yield page
    finally:
        server.should_exit = True
        thread.join()
