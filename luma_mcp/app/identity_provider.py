"""The operator's identity provider: where it publishes the keys that sign its access tokens, and those keys.

Everything here comes from the issuer in the settings. Nothing that stands in a token is ever an address to ask.
"""

import json
import logging
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

import anyio
import httpx
import jwt

from luma_mcp.core.addresses import is_public_host
from luma_mcp.core.errors import LumaError
from luma_mcp.core.text import Json, is_object, sanitise_text
from luma_mcp.runapi.connection import HttpClients, network_failure, open_http_clients
from luma_mcp.runapi.ssrf import DownloadGuard, Purpose

FRESH_SECONDS = 600.0  # for which keys count without being asked for again
USABLE_SECONDS = 6 * 3600.0  # for which they go on counting while the provider cannot be reached
RETRY_SECONDS = 30.0  # at least, between two times that the provider is asked, whatever tokens come
LOAD_SECONDS = 5.0  # for asking it, all its answers together
MAX_DOCUMENT_BYTES = 1 << 18
MAX_KEYS = 100
MAX_KEY_BITS = 8192  # larger ones are slow
PROVIDER_TIMEOUT = httpx.Timeout(LOAD_SECONDS)
NO_KEYS: Mapping[str, tuple[Json, ...]] = MappingProxyType({})
ALGORITHMS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        **{f"{family}{bits}": ("RSA", "") for family in ("RS", "PS") for bits in (256, 384, 512)},
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "EdDSA": ("OKP", "Ed25519"),
    }
)  # what tokens may be signed with, and the kind and curve of its keys: public ones only
logger = logging.getLogger(__name__)


class ProviderUnusable(LumaError):
    """The identity provider cannot be reached, or does not publish what it should."""

    code = "service_unavailable"
    hint = "Check LUMA_MCP_OAUTH_ISSUER, and that this machine can open it."


PROVIDER = Purpose(
    "The identity provider's address",
    "is not asked",
    ProviderUnusable,
    "If the provider is yours and its keys lie at a private address, set LUMA_MCP_ALLOW_PRIVATE=true.",
)


class ProviderGuard(DownloadGuard):
    """Lets the issuer itself be asked, and other addresses that it names: by https, and public unless it is private."""

    purpose = PROVIDER

    def __init__(self, issuer: str, *, allow_private: bool) -> None:
        home = httpx.URL(issuer)
        super().__init__(trusted=issuer, allow_private=allow_private or not is_public_host(home.host))
        self.schemes = frozenset(("https", home.scheme))


class IdentityProvider:
    """The keys of an issuer, found by its metadata (RFC 8414, OpenID Connect Discovery) when the first token comes."""

    def __init__(self, issuer: str, clients: HttpClients, *, allow_private: bool) -> None:
        self.issuer = issuer
        self._clients = clients
        self._guard = ProviderGuard(issuer, allow_private=allow_private)
        self._keys = NO_KEYS
        self._loaded_at = self._asked_at = -math.inf
        self._failure: ProviderUnusable | None = None
        self._asking = anyio.Lock()

    async def find_key(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """Give the key of a name for an algorithm of `ALGORITHMS`, None if the provider has none.

        The provider is asked for an unknown name, and for all keys once they are older than `FRESH_SECONDS`, never
        twice within `RETRY_SECONDS`. Raises `ProviderUnusable` if the key may be one that cannot be had now.
        """
        known = self._known(kid, algorithm)
        if known is None or anyio.current_time() >= self._loaded_at + FRESH_SECONDS:
            known = await self._ask(kid, algorithm, known)
        if known is None and self._failure is not None:
            raise self._failure
        return known

    async def _ask(self, kid: str, algorithm: str, known: jwt.PyJWK | None) -> jwt.PyJWK | None:
        """Ask for all keys, unless that was done just now; whoever has a known key does not wait for others."""
        if known is not None and anyio.current_time() < self._asked_at + RETRY_SECONDS:
            return known
        async with self._asking:
            if anyio.current_time() >= self._asked_at + RETRY_SECONDS:
                self._asked_at = anyio.current_time()
                with suppress(ProviderUnusable):  # which is noted
                    await self.load()
        return self._known(kid, algorithm)

    def _known(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        if anyio.current_time() >= self._loaded_at + USABLE_SECONDS:
            self._keys = NO_KEYS
        fitting = (key for key in self._keys.get(kid, ()) if fits(key, algorithm))
        return next(filter(None, (usable_key(key, algorithm) for key in fitting)), None)

    async def load(self) -> int:
        """Ask for metadata and keys now, and give how many keys there are; raise `ProviderUnusable`."""
        self._failure = ProviderUnusable(f"{self.issuer} did not answer within {LOAD_SECONDS:.0f} seconds.")
        try:
            with anyio.move_on_after(LOAD_SECONDS, shield=True):  # others wait for the answer, too
                keys = keys_by_name(await self._read_json(await self._find_keys_url()), self.issuer)
                self._keys, self._loaded_at, self._failure = keys, anyio.current_time(), None
        except LumaError as error:
            self._failure = error if isinstance(error, ProviderUnusable) else ProviderUnusable(error.message)
        if self._failure is not None:
            logger.warning("Its keys cannot be had: %s", self._failure.message)
            raise self._failure
        return sum(map(len, self._keys.values()))

    async def _find_keys_url(self) -> str:
        """Find `jwks_uri` in the first metadata that is the issuer's own; raise `ProviderUnusable`."""
        missing = wrong = None
        for url in metadata_urls(self.issuer):
            try:
                found = await self._read_json(url)
            except ProviderUnusable as error:
                missing = error
                continue
            named, keys = found.get("issuer"), found.get("jwks_uri")
            if named == self.issuer and isinstance(keys, str):
                return keys
            wrong = ProviderUnusable(f"The metadata at {url} is of {sanitise_text(str(named))!r}, or names no keys.")
        raise wrong or missing or ProviderUnusable(f"{self.issuer} publishes no metadata.")

    async def _read_json(self, url: str) -> Json:
        """Read a JSON object, which may be `MAX_DOCUMENT_BYTES` long; raise a `LumaError`."""
        try:
            address = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise ProviderUnusable("The identity provider names an address that is none.") from error
        check = self._guard.check_url(address)
        try:
            request = self._clients.storage.build_request(
                "GET", address, headers={"Accept": "application/json"}, extensions={"trace": check}
            )
            response = await self._clients.storage.send(request, stream=True, follow_redirects=False)
            try:
                check.confirm(response)
                content = await read_document(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, ValueError) as error:  # the latter for a redirect to what is no address
            raise network_failure(error, address.host, None) from error
        return parse_document(content, address.host)


async def read_document(response: httpx.Response) -> bytes:
    """Read the body of an answer; raise `ProviderUnusable` for another status than 200, or one that is too large."""
    where = response.request.url
    if response.status_code != 200:
        raise ProviderUnusable(f"{where} answers with {response.status_code}.")
    if "content-encoding" in response.headers:
        raise ProviderUnusable(f"{where} answers packed, which was not asked for.")
    content = bytearray()
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > MAX_DOCUMENT_BYTES:
                raise ProviderUnusable(f"{where} answers with more than {MAX_DOCUMENT_BYTES >> 10} KiB.")
    return bytes(content)


def parse_document(content: bytes, host: str) -> Json:
    try:
        found: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProviderUnusable(f"{host} answers with what is no JSON.") from error
    if not is_object(found):
        raise ProviderUnusable(f"{host} answers with JSON of another kind.")
    return found


def metadata_urls(issuer: str) -> list[str]:
    """List where an issuer's metadata can be, in the order in which MCP wants them tried."""
    url = urlsplit(issuer)
    origin, path = f"{url.scheme}://{url.netloc}", url.path.rstrip("/")
    found = [
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    ]
    return list(dict.fromkeys(found))


def keys_by_name(document: Json, issuer: str) -> dict[str, tuple[Json, ...]]:
    """Sort the keys of a set (RFC 7517) by name, `MAX_KEYS` at most; raise `ProviderUnusable` for what is none."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ProviderUnusable(f"What {issuer} names as its keys are none.")
    found: dict[str, tuple[Json, ...]] = {}
    for key in cast("list[object]", listed)[:MAX_KEYS]:
        if is_object(key) and isinstance(name := key.get("kid"), str) and name:
            found[name] = (*found.get(name, ()), key)
    return found


def fits(key: Json, algorithm: str) -> bool:
    """Tell whether a key is one for checking signatures of an algorithm."""
    kind, curve = ALGORITHMS[algorithm]
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("kty") == kind
        and key.get("crv", "") == curve
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )


def usable_key(key: Json, algorithm: str) -> jwt.PyJWK | None:
    """Make the key; None for one that is broken, or so large that checking with it would be slow."""
    try:
        made = jwt.PyJWK(key, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return made if getattr(made.key, "key_size", 0) <= MAX_KEY_BITS else None


@asynccontextmanager
async def open_identity_provider(
    issuer: str, *, allow_private: bool, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncGenerator[IdentityProvider]:
    """Give the identity provider, not asked yet; `transport`, if given, takes the place of the network."""
    async with open_http_clients(transport, PROVIDER_TIMEOUT) as clients:
        yield IdentityProvider(issuer, clients, allow_private=allow_private)
