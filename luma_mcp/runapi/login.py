"""A key by RunAPI's own page in a browser: PKCE, with the page's answer on loopback (contract 7.1)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr

from luma_mcp import __version__
from luma_mcp.core.errors import BadAnswer, LumaError
from luma_mcp.core.settings_sources import validate_key
from luma_mcp.core.text import child, json_object, redact_secret, sanitise_text, stripped_string
from luma_mcp.runapi.connection import HttpClients, network_failure, read_bounded

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without those that are taken for one another
EXCHANGE_PATH = "/api/v1/cli/exchange"
EXCHANGE_SECONDS = 30.0
PAGE_SECONDS = 300.0  # for a person to agree: as long as RunAPI's own tools wait
MAX_CODE_LENGTH = 4096


class LoginFailed(LumaError):
    """RunAPI's page gave no key."""

    code = "invalid_api_key"
    hint = "Nothing was changed. Run luma-mcp login again, or give a key with luma-mcp login --with-key."


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that RunAPI made, and the address of the account that it is for; empty if RunAPI does not say."""

    key: SecretStr
    email: str


def random_secret() -> str:
    return secrets.token_urlsafe(32)


def random_display_code() -> str:
    letters = "".join(secrets.choice(LETTERS) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """One login: what the page is told, and what only this process knows.

    `port` is where this process listens on 127.0.0.1. `display_code` stands on the page and in the terminal, so that a
    person sees that both belong together.
    """

    port: int
    state: str = field(default_factory=random_secret, repr=False)
    verifier: str = field(default_factory=random_secret, repr=False)
    display_code: str = field(default_factory=random_display_code)

    def page_url(self, base_url: str, hostname: str) -> str:
        """Give the address that a person is to open."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "redirect_port": self.port,
            "display_code": self.display_code,
            "hostname": hostname,
            "version": __version__,
        }
        return f"{base_url}/cli/authorize?{urlencode(query)}"

    def code_in(self, query: Mapping[str, str]) -> str:
        """Give the code that the page answers with; raise `LoginFailed` if refused, `ValueError` if foreign."""
        if not hmac.compare_digest(query.get("state", "").encode(), self.state.encode()):
            raise ValueError("the state is another one")
        if error := query.get("error"):
            reason = sanitise_text(query.get("error_description") or error)
            raise LoginFailed(f"RunAPI's page gave no key: {reason}.")
        code = query.get("code", "")
        if not code or len(code) > MAX_CODE_LENGTH:
            raise ValueError("there is no code")
        return code


async def exchange_code(clients: HttpClients, base_url: str, attempt: LoginAttempt, code: str, hostname: str) -> NewKey:
    """Give the key for a code of the page's; raise `LoginFailed`, `NetworkFailure` or `BadAnswer`."""
    clients.check_proxy(base_url)
    body = {"code": code, "code_verifier": attempt.verifier, "redirect_port": attempt.port}
    headers = {"Accept": "application/json", "X-CLI-Hostname": hostname}
    request = clients.http.build_request(
        "POST", base_url + EXCHANGE_PATH, json=body, headers=headers, timeout=EXCHANGE_SECONDS
    )
    try:
        sent = await clients.http.send(request, follow_redirects=False, stream=True)
        try:
            response = await read_bounded(sent)
        finally:
            await sent.aclose()
    except httpx.HTTPError as error:
        raise network_failure(error, request.url.host, SecretStr(attempt.verifier)) from error
    return key_in(response, attempt)


def key_in(response: httpx.Response, attempt: LoginAttempt) -> NewKey:
    answer = json_object(response)
    if response.status_code != HTTPStatus.CREATED:
        said = redact_secret(sanitise_text(stripped_string(answer.get("error"))), SecretStr(attempt.verifier))
        raise LoginFailed(f"RunAPI exchanged no code for a key: {said or response.status_code}.")
    key = SecretStr(stripped_string(answer.get("key")))
    try:
        validate_key(key)
    except ValueError as error:
        raise BadAnswer("RunAPI's answer to the login holds no key.") from error
    return NewKey(key, sanitise_text(stripped_string(child(answer, "user").get("email"))))
