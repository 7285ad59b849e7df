"""Every way in which an access token must let nobody in, and the few in which it does."""

import base64
import hmac
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.responses import Response

from luma_mcp.app.identity_provider import FRESH_SECONDS, RETRY_SECONDS, open_identity_provider
from luma_mcp.transports.access_tokens import LEEWAY_SECONDS, MAX_TOKEN_LENGTH, AccessTokens
from luma_mcp.transports.bearer import CallerNotListed, ProviderUnreachable, TokenRefused
from tests.support.identity_provider import ISSUER, RESOURCE, SUBJECT, Provider, over, private_key, public_jwk
from tests.support.rig import settings_for

pytestmark = pytest.mark.anyio
Forge = Callable[[Provider], str]


@asynccontextmanager
async def tokens_of(
    home: Path, provider: Provider, callers: str = f"sub:{SUBJECT}", audience: str = RESOURCE
) -> AsyncGenerator[AccessTokens]:
    settings = settings_for(home, oauth_issuer=ISSUER, oauth_audience=audience, oauth_callers=callers)
    async with open_identity_provider(ISSUER, allow_private=False, transport=over(provider)) as keys:
        yield AccessTokens(keys, settings, time.time)


async def test_a_good_token_names_its_caller_by_issuer_and_subject(home: Path) -> None:
    provider = Provider()
    async with tokens_of(home, provider) as tokens:
        caller = await tokens.verify_token(provider.token(client_id="chatgpt"))
    assert caller.client_id == f"{ISSUER}#{SUBJECT}"
    assert (caller.subject, caller.scopes, caller.token) == (SUBJECT, ["luma:read", "luma:spend"], "")


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        *(("rsa-2048", f"{family}{bits}") for family in ("RS", "PS") for bits in (256, 384, 512)),
        *(("ec-256", "ES256"), ("ec-384", "ES384"), ("ec-521", "ES512"), ("ed-1", "EdDSA")),
    ],
)
async def test_all_usual_signatures_are_taken(home: Path, key: str, algorithm: str) -> None:
    provider = Provider(keys=[public_jwk(key)])
    async with tokens_of(home, provider) as tokens:
        assert (await tokens.verify_token(provider.token(key=key, algorithm=algorithm))).client_id


def changed(**changes: Any) -> Forge:
    return lambda provider: provider.token(**changes)


def with_header(**header: Any) -> Forge:
    return lambda provider: provider.token(header=header)


def in_seconds(name: str, seconds: float) -> Forge:
    def forge(provider: Provider) -> str:
        claims: dict[str, Any] = {name: int(time.time() + seconds)}
        return provider.token(**claims)

    return forge


def unsigned(provider: Provider) -> str:
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    return jwt.encode(claims, "", "none", headers={"kid": "rsa-2048"})


def stripped(provider: Provider) -> str:
    return provider.token().rpartition(".")[0] + "."


def signed_with_the_public_key(provider: Provider) -> str:
    """Sign with what everybody knows, as if it were a secret that both sides share."""
    public = private_key("rsa-2048").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    signed = f"{encoded({'alg': 'HS256', 'kid': 'rsa-2048'})}.{encoded(claims)}"
    signature = hmac.digest(public, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def with_another_payload(provider: Provider) -> str:
    head, payload, signature = provider.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "==")) | {"sub": "admin"}
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{signature}"


def deep(_: Provider) -> str:
    return base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=") + ".e30.e30"


REFUSED: dict[str, Forge] = {
    "another audience": changed(aud="https://other.example"),
    "audiences without ours": changed(aud=["https://other.example", f"{RESOURCE}x"]),
    "no audience": changed(aud=None),
    "an audience that is no text": changed(aud={"a": RESOURCE}),
    "another issuer": changed(iss="https://evil.example"),
    "the issuer with a slash": changed(iss=f"{ISSUER}/"),
    "an empty issuer": changed(iss=""),
    "no issuer": changed(iss=None),
    "expired": in_seconds("exp", -LEEWAY_SECONDS - 5),
    "no end": changed(exp=None),
    "an end that is no number": changed(exp="tomorrow"),
    "an end without end": changed(exp=float("inf")),
    "an end beyond all clocks": changed(exp=10**400),
    "not valid yet": in_seconds("nbf", LEEWAY_SECONDS + 30),
    "made in the future": in_seconds("iat", LEEWAY_SECONDS + 30),
    "no subject": changed(sub=None),
    "an empty subject": changed(sub=""),
    "a subject that is no text": changed(sub=5),
    "a subject with a line break": changed(sub="user-1\nSet-Cookie: x"),
    "a long subject": changed(sub="x" * 256),
    "unsigned": unsigned,
    "without its signature": stripped,
    "signed with the public key": signed_with_the_public_key,
    "another payload": with_another_payload,
    "another key of the same name": lambda provider: provider.token(key="rsa-2048-other", header={"kid": "rsa-2048"}),
    "a key that the provider does not have": changed(key="rsa-2048-other"),
    "a key of another kind": with_header(kid="ec-256"),
    "no key named": with_header(kid=""),
    "a key that is no text": lambda provider: provider.token().replace(
        provider.token().split(".")[0], encoded({"alg": "RS256", "kid": 5})
    ),
    "a small key": lambda provider: provider.token(key="rsa-1024"),
    "a token of another kind": with_header(typ="dpop+jwt"),
    "what nobody understands": with_header(crit=["exp2"], exp2=1),
    "too long": changed(more="x" * MAX_TOKEN_LENGTH),
    "deep JSON": deep,
    "no token": lambda _: "a.b.c",
    "empty": lambda _: "",
    "not ASCII": lambda provider: provider.token() + "ä",
}


def encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
@pytest.mark.parametrize("forge", REFUSED.values(), ids=REFUSED.keys())
async def test_a_token_that_is_not_right_lets_nobody_in(home: Path, forge: Forge) -> None:
    provider = Provider(keys=[public_jwk(key) for key in ("rsa-2048", "ec-256", "rsa-1024")])
    async with tokens_of(home, provider, "sub:user-1,sub:admin,sub:5,sub:" + "x" * 256) as tokens:
        with pytest.raises(TokenRefused) as refused:
            await tokens.verify_token(forge(provider))
        assert refused.value.status == 401
        assert refused.value.reason
        assert (await tokens.verify_token(provider.token())).client_id, "the provider is as it was"


async def test_addresses_that_a_token_names_are_never_asked(home: Path) -> None:
    provider = Provider()
    async with tokens_of(home, provider) as tokens:
        await tokens.verify_token(provider.token(header={"jku": f"{ISSUER}/evil", "x5u": f"{ISSUER}/evil"}))
    assert provider.asked == ["/.well-known/oauth-authorization-server", "/keys"]


async def test_clocks_may_differ_a_little(home: Path) -> None:
    provider = Provider()
    async with tokens_of(home, provider) as tokens:
        for name, seconds in (("exp", 20 - LEEWAY_SECONDS), ("nbf", LEEWAY_SECONDS - 20)):
            assert (await tokens.verify_token(in_seconds(name, seconds)(provider))).client_id


async def test_a_token_counts_until_it_ends(home: Path) -> None:
    provider, passed = Provider(), 0.0
    settings = settings_for(home, oauth_issuer=ISSUER, oauth_audience=RESOURCE, oauth_callers=f"sub:{SUBJECT}")
    async with open_identity_provider(ISSUER, allow_private=False, transport=over(provider)) as keys:
        caller = await AccessTokens(keys, settings, lambda: time.time() + passed).verify_token(provider.token())
    assert caller.is_current()
    passed = 300 + LEEWAY_SECONDS
    assert not caller.is_current()


@pytest.mark.parametrize(
    ("audience", "given"),
    [
        (RESOURCE, f"{RESOURCE}/"),
        (f"{RESOURCE}/", RESOURCE),
        (f"{RESOURCE},api://luma", "api://luma"),
        (RESOURCE, ["https://other.example", RESOURCE]),
    ],
)
async def test_an_audience_has_several_names(home: Path, audience: str, given: object) -> None:
    provider = Provider()
    async with tokens_of(home, provider, audience=audience) as tokens:
        assert (await tokens.verify_token(provider.token(aud=given))).client_id


LISTED = [
    ("sub:user-1", {}),
    ("email:Ann@Example.com", {"email": "ann@example.COM", "email_verified": True}),
    ("group:editors", {"groups": ["staff", "editors"]}),
    ("group:editors", {"groups": "editors"}),
    ("sub:other, group:Video Editors", {"groups": ["Video Editors"]}),
]
UNLISTED = [
    ("sub:user", {}),
    ("sub:USER-1", {}),
    ("email:user-1@x", {"email": "ann@x", "email_verified": True}),
    ("email:ann@example.com", {"email": "ann@example.com"}),
    ("email:ann@example.com", {"email": "ann@example.com", "email_verified": False}),
    ("email:ann@example.com", {"email": "ann@example.com", "email_verified": "true"}),
    ("email:ann@example.com", {"email": ["ann@example.com"], "email_verified": True}),
    ("email:kate@example.com", {"email": "\N{KELVIN SIGN}ate@example.com", "email_verified": True}),
    ("group:editors", {"groups": ["editors2"]}),
    ("group:editors", {"groups": {"editors": True}}),
    ("group:editors", {"roles": ["editors"]}),
    ("group:user-1", {"groups": []}),
    ("group:editors", {}),
]


@pytest.mark.parametrize(("callers", "claims"), LISTED)
async def test_who_is_listed_comes_in(home: Path, callers: str, claims: dict[str, Any]) -> None:
    provider = Provider()
    async with tokens_of(home, provider, callers) as tokens:
        assert (await tokens.verify_token(provider.token(**claims))).client_id


@pytest.mark.parametrize(("callers", "claims"), UNLISTED)
async def test_who_is_not_listed_is_told_so_with_the_subject(home: Path, callers: str, claims: dict[str, Any]) -> None:
    provider = Provider()
    async with tokens_of(home, provider, callers) as tokens:
        with pytest.raises(CallerNotListed, match=f"{SUBJECT} .*LUMA_MCP_OAUTH_CALLERS") as refused:
            await tokens.verify_token(provider.token(**claims))
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "openid luma:read"}, ["luma:read"]),
        ({"scope": None, "scp": ["luma:spend"]}, ["luma:spend"]),
        ({"scope": None, "scp": "luma:read luma:spend"}, ["luma:read", "luma:spend"]),
        ({"scope": "luma:reader LUMA:READ luma"}, []),
        ({"scope": None}, []),
        ({"scope": 5}, []),
    ],
)
async def test_scopes_are_those_that_the_token_names(home: Path, claims: dict[str, Any], scopes: list[str]) -> None:
    provider = Provider()
    async with tokens_of(home, provider) as tokens:
        assert (await tokens.verify_token(provider.token(**claims))).scopes == scopes


async def test_keys_change_without_a_restart(home: Path) -> None:
    provider = Provider(keys=[public_jwk("rsa-2048")])
    async with tokens_of(home, provider) as tokens:
        old = provider.token()
        await tokens.verify_token(old)
        provider.keys = [public_jwk("ec-256")]
        await anyio.sleep(RETRY_SECONDS)
        assert (await tokens.verify_token(provider.token(key="ec-256", algorithm="ES256"))).client_id
        with pytest.raises(TokenRefused, match="a key that the identity provider does not have"):
            await tokens.verify_token(old)


async def test_keys_that_cannot_be_had_are_no_fault_of_the_token(home: Path) -> None:
    async def down() -> Response:
        return Response("down", 503)

    provider = Provider()
    async with tokens_of(home, provider) as tokens:
        await tokens.verify_token(provider.token())
        provider.answer_keys = down
        await anyio.sleep(FRESH_SECONDS)
        assert (await tokens.verify_token(provider.token())).client_id, "known keys go on"
        with pytest.raises(ProviderUnreachable) as refused:
            await tokens.verify_token(provider.token(key="rsa-2048-new"))
        assert refused.value.status == 503
