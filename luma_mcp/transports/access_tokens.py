"""Access tokens of the operator's identity provider (JWT, RFC 9068): what must hold for one to let its user in."""

from collections.abc import Sequence
from typing import cast

import jwt

from luma_mcp.app.identity_provider import ALGORITHMS, IdentityProvider, ProviderUnusable
from luma_mcp.core.models import Clock
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import AUDIENCE, fold_email
from luma_mcp.core.text import Json
from luma_mcp.server.scopes import SCOPES
from luma_mcp.transports.bearer import CallerNotListed, CallerToken, ProviderUnreachable, TokenRefused

MAX_TOKEN_LENGTH = 16_384
MAX_SUBJECT_LENGTH = 255  # OpenID Connect Core 2
LEEWAY_SECONDS = 60.0  # by which clocks may differ, and for which a call goes on that began in time
KINDS = frozenset({"at+jwt", "application/at+jwt", "jwt", "application/jwt"})
REQUIRED = ("iss", "aud", "sub", "exp")
REASONS: Sequence[tuple[type[jwt.PyJWTError], str]] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.ImmatureSignatureError, "The token is not valid yet."),
    (jwt.InvalidAudienceError, "The token is not for this server."),
    (jwt.InvalidIssuerError, "The token is of another issuer."),
    (jwt.MissingRequiredClaimError, f"The token lacks one of {', '.join(REQUIRED)}."),
    (jwt.InvalidSignatureError, "The token's signature is not the identity provider's."),
)
MALFORMED = "This is no access token of the identity provider."
UNREACHABLE = "The identity provider's keys cannot be had now, so the token cannot be checked."


class AccessTokens:
    """Finds the caller of an access token, by issuer and subject."""

    def __init__(self, provider: IdentityProvider, settings: Settings, now: Clock) -> None:
        self._provider = provider
        self._audience = accepted_audiences(settings.oauth_audience)
        self._listed = frozenset(settings.oauth_callers)
        self._now = now

    async def verify_token(self, token: str) -> CallerToken:
        """Give who comes with a token, with its scopes that are ours; raise `TokenRefused`."""
        claims = await self._read_claims(token)
        subject, expires_at = subject_of(claims), end_of(claims)
        name = f"{self._provider.issuer}#{subject}"  # no name of a static token has such signs
        if self._listed.isdisjoint(descriptions(claims)):
            raise CallerNotListed(f"The subject {subject} is none of those who may come in: LUMA_MCP_OAUTH_CALLERS.")
        return CallerToken(
            client_id=name,
            subject=subject,
            claims={"iss": self._provider.issuer},
            scopes=scopes_of(claims),
            is_current=lambda: self._now() < expires_at + LEEWAY_SECONDS,
        )

    async def _read_claims(self, token: str) -> Json:
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenRefused(f"The token is longer than {MAX_TOKEN_LENGTH} characters.")
        try:
            name, algorithm = key_of(jwt.get_unverified_header(token))
            key = await self._provider.find_key(name, algorithm)
            if key is None:
                raise TokenRefused("The token is signed with a key that the identity provider does not have.")
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._provider.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": list(REQUIRED), "enforce_minimum_key_length": True},
            )
        except ProviderUnusable as error:
            raise ProviderUnreachable(UNREACHABLE) from error
        except jwt.PyJWTError as error:
            raise TokenRefused(reason_for(error)) from error
        except (ValueError, TypeError, OverflowError, RecursionError) as error:  # what PyJWT lets through of odd JSON
            raise TokenRefused(MALFORMED) from error


def key_of(header: Json) -> tuple[str, str]:
    """Give the name of a token's key and its algorithm; raise `TokenRefused` for those that are never taken."""
    algorithm, name, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused(f"The token is not signed with one of {', '.join(ALGORITHMS)}.")
    if not isinstance(name, str) or not name:
        raise TokenRefused("The token does not name its key (kid).")
    if not isinstance(kind, str) or kind.lower() not in KINDS:
        raise TokenRefused("The token is of another type than an access token.")
    return name, algorithm


def reason_for(error: jwt.PyJWTError) -> str:
    return next((words for kind, words in REASONS if isinstance(error, kind)), MALFORMED)


def accepted_audiences(names: Sequence[str]) -> list[str]:
    """List what `aud` may be: the names as they are, addresses with a slash at the end and without."""
    addresses = [name for name in names if name.startswith(("https://", "http://"))]
    return [*names, *(f"{name}/" if not name.endswith("/") else name.rstrip("/") for name in addresses)]


def subject_of(claims: Json) -> str:
    """Give the subject; raise `TokenRefused` for one that cannot be part of a name."""
    subject = str(claims["sub"])
    if not AUDIENCE.fullmatch(subject) or len(subject) > MAX_SUBJECT_LENGTH:
        raise TokenRefused("The token's subject is of an unusual form.")
    return subject


def end_of(claims: Json) -> float:
    """Give when a token ends, in POSIX seconds; raise `TokenRefused` for what no clock reaches."""
    try:
        return float(cast("float", claims["exp"]))
    except OverflowError as error:
        raise TokenRefused(MALFORMED) from error


def scopes_of(claims: Json) -> list[str]:
    """Give those scopes that mean something here: `scope` (RFC 9068), or `scp` as some providers write it."""
    given = words_in(claims.get("scope")) | words_in(claims.get("scp"))
    return [scope for scope in SCOPES if scope in given]


def words_in(value: object) -> set[str]:
    return set(value.split()) if isinstance(value, str) else texts_in(value)


def texts_in(value: object) -> set[str]:
    listed = cast("list[object]", value) if isinstance(value, list) else [value]
    return {text for text in listed if isinstance(text, str)}


def descriptions(claims: Json) -> set[str]:
    """List whom a token describes, in the words of LUMA_MCP_OAUTH_CALLERS: an e-mail only if it was verified."""
    found = {f"sub:{claims['sub']}", *(f"group:{name}" for name in texts_in(claims.get("groups")))}
    if claims.get("email_verified") is True and isinstance(email := claims.get("email"), str):
        found.add(f"email:{fold_email(email)}")
    return found
