"""Where an identity provider's keys come from, and how often, how long and how much is asked for."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from luma_mcp.app.identity_provider import (
    FRESH_SECONDS,
    LOAD_SECONDS,
    MAX_DOCUMENT_BYTES,
    MAX_KEYS,
    RETRY_SECONDS,
    USABLE_SECONDS,
    IdentityProvider,
    ProviderUnusable,
    fits,
    metadata_urls,
    open_identity_provider,
    usable_key,
)
from tests.support.identity_provider import ISSUER, Answer, Provider, over, public_jwk

pytestmark = pytest.mark.anyio
RSA = ("rsa-2048", "RS256")


@asynccontextmanager
async def opened(provider: Provider, issuer: str = ISSUER) -> AsyncGenerator[IdentityProvider]:
    async with open_identity_provider(issuer, allow_private=False, transport=over(provider)) as keys:
        yield keys


def test_metadata_is_looked_for_where_mcp_says() -> None:
    assert metadata_urls("https://idp.example.com") == [
        "https://idp.example.com/.well-known/oauth-authorization-server",
        "https://idp.example.com/.well-known/openid-configuration",
    ]
    assert metadata_urls("https://idp.example.com/tenant/") == [
        "https://idp.example.com/.well-known/oauth-authorization-server/tenant",
        "https://idp.example.com/.well-known/openid-configuration/tenant",
        "https://idp.example.com/tenant/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        (ISSUER, "/.well-known/oauth-authorization-server"),
        (ISSUER, "/.well-known/openid-configuration"),
        (f"{ISSUER}/", "/.well-known/openid-configuration"),
        (f"{ISSUER}/tenant", "/.well-known/oauth-authorization-server/tenant"),
        (f"{ISSUER}/tenant", "/tenant/.well-known/openid-configuration"),
    ],
)
async def test_keys_are_found_by_either_kind_of_metadata(issuer: str, path: str) -> None:
    provider = Provider(metadata_path=path, metadata={"issuer": issuer})
    async with opened(provider, issuer) as keys:
        assert await keys.find_key(*RSA)
        assert provider.asked[-2:] == [path, "/keys"]


async def test_nothing_is_asked_before_the_first_token_and_little_afterwards() -> None:
    provider = Provider()
    async with opened(provider) as keys:
        assert provider.asked == []
        for _ in range(100):
            assert await keys.find_key(*RSA)
        assert len(provider.asked) == 2
        await anyio.sleep(FRESH_SECONDS)
        assert await keys.find_key(*RSA)
        assert len(provider.asked) == 4


async def test_a_new_key_is_picked_up_and_an_old_one_forgotten() -> None:
    provider = Provider(keys=[public_jwk("rsa-2048")])
    async with opened(provider) as keys:
        assert await keys.find_key(*RSA)
        provider.keys = [public_jwk("ec-256")]
        await anyio.sleep(RETRY_SECONDS)
        assert await keys.find_key("ec-256", "ES256")
        assert await keys.find_key(*RSA) is None


async def test_a_flood_of_unknown_keys_asks_the_provider_now_and_then_only() -> None:
    provider = Provider()
    async with opened(provider) as keys:
        async with anyio.create_task_group() as group:
            for number in range(500):
                group.start_soon(keys.find_key, f"unknown-{number}", "RS256")
        assert len(provider.asked) == 2
        await anyio.sleep(RETRY_SECONDS)
        assert await keys.find_key("unknown", "RS256") is None
        assert len(provider.asked) == 4


async def test_known_keys_outlast_a_provider_that_is_down_but_not_for_ever() -> None:
    provider = Provider()
    async with opened(provider) as keys:
        assert await keys.find_key(*RSA)
        provider.answer_keys = answering(Response("down", 503))
        await anyio.sleep(USABLE_SECONDS - FRESH_SECONDS)
        assert await keys.find_key(*RSA)
        with pytest.raises(ProviderUnusable):
            await keys.find_key("new", "RS256")
        await anyio.sleep(FRESH_SECONDS)
        with pytest.raises(ProviderUnusable):
            await keys.find_key(*RSA)
        provider.answer_keys = None
        await anyio.sleep(RETRY_SECONDS)
        assert await keys.find_key(*RSA)


def answering(response: Response) -> Answer:
    async def answer() -> Response:
        return response

    return answer


async def never() -> Response:
    await anyio.sleep(3600)
    return Response()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # httpx's double of a network is left open
@pytest.mark.parametrize(
    "answer",
    [
        answering(Response("down", 500)),
        answering(Response(b"no JSON")),
        answering(Response(b"[" * 100_000)),
        answering(JSONResponse([])),
        answering(JSONResponse({"keys": "none"})),
        answering(Response(b'{"keys": []}'.ljust(MAX_DOCUMENT_BYTES + 1))),
        answering(Response(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})),
        answering(RedirectResponse("https://idp.example.com/other-keys")),
        answering(RedirectResponse("http://[")),
        never,
    ],
)
async def test_a_provider_that_answers_otherwise_is_named_as_the_fault_in_bounded_time(answer: Answer) -> None:
    provider = Provider(answer_keys=answer)
    async with opened(provider) as keys:
        begun = anyio.current_time()
        for _ in range(3):
            with pytest.raises(ProviderUnusable):
                await keys.find_key(*RSA)
        assert anyio.current_time() - begun <= LOAD_SECONDS
        assert provider.asked.count("/keys") == 1


@pytest.mark.parametrize(
    "unused", [{"keys": [{}, None, 5, {"kid": 5}, {"kid": ""}, {"kid": "rsa-2048", "kty": "RSA"}]}]
)
async def test_keys_that_are_none_are_passed_over(unused: dict[str, object]) -> None:
    async with opened(Provider(answer_keys=answering(JSONResponse(unused)))) as keys:
        assert await keys.find_key(*RSA) is None


async def test_of_very_many_keys_only_the_first_count() -> None:
    provider = Provider(keys=[public_jwk("rsa-2048", kid=str(number)) for number in range(MAX_KEYS + 1)])
    async with opened(provider) as keys:
        assert await keys.find_key(str(MAX_KEYS - 1), "RS256")
        assert await keys.find_key(str(MAX_KEYS), "RS256") is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"issuer": f"{ISSUER}/"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": ["https://idp.example.com/keys"]},
        {"jwks_uri": "http://idp.example.com/keys"},
        {"jwks_uri": "https://127.0.0.1/keys"},
        {"jwks_uri": "https://169.254.169.254/latest/meta-data"},
        {"jwks_uri": "https://keys.internal/keys"},
        {"jwks_uri": "https://user:password@idp.example.com/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://"},
        {"jwks_uri": "http://["},
    ],
)
async def test_metadata_that_leads_elsewhere_is_not_followed(metadata: dict[str, object]) -> None:
    provider = Provider(metadata=metadata)
    async with opened(provider) as keys:
        with pytest.raises(ProviderUnusable):
            await keys.find_key(*RSA)
        assert "/keys" not in provider.asked


async def test_keys_may_lie_at_another_public_address() -> None:
    async with opened(Provider(metadata={"jwks_uri": "https://keys.example.net/keys"})) as keys:
        assert await keys.find_key(*RSA)


async def test_a_provider_that_cannot_be_reached_is_said_to_be_so() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    network = httpx.MockTransport(refuse)
    async with open_identity_provider(ISSUER, allow_private=False, transport=network) as keys:
        with pytest.raises(ProviderUnusable, match=r"idp\.example\.com could not be reached"):
            await keys.load()


@pytest.mark.parametrize(
    ("changes", "algorithm", "fitting"),
    [
        ({}, "RS256", True),
        ({}, "PS512", True),
        ({"use": "sig", "alg": "RS256", "key_ops": ["verify"]}, "RS256", True),
        ({"alg": "RS256"}, "PS256", False),
        ({"use": "enc"}, "RS256", False),
        ({"key_ops": ["encrypt"]}, "RS256", False),
        ({"key_ops": "verify"}, "RS256", False),
        ({"kty": "oct"}, "RS256", False),
        ({}, "ES256", False),
    ],
)
def test_a_key_is_used_for_what_it_was_made_for(changes: dict[str, object], algorithm: str, *, fitting: bool) -> None:
    assert fits(public_jwk("rsa-2048", **changes), algorithm) is fitting


def test_a_curve_goes_with_its_own_algorithm() -> None:
    assert fits(public_jwk("ec-384"), "ES384")
    assert not fits(public_jwk("ec-384"), "ES256")


def test_a_key_that_is_broken_or_would_be_slow_is_none() -> None:
    assert usable_key(public_jwk("rsa-2048"), "RS256")
    assert usable_key(public_jwk("rsa-2048", n="!"), "RS256") is None
    assert usable_key(public_jwk("rsa-2048", n="_" * 4000), "RS256") is None
