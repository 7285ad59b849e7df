"""What whoever is not let in is told: where to find a token, and which scope theirs lacks (RFC 6750, 9728)."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from luma_mcp.core.settings import Settings
from luma_mcp.server.scopes import SCOPES
from luma_mcp.transports.bearer import TokenRefused

METADATA_PATH = "/.well-known/oauth-protected-resource"
ERRORS = {401: "invalid_token", 403: "access_denied", 503: "temporarily_unavailable"}
ANOTHER_TOKEN_HELPS = frozenset({"invalid_token", "insufficient_scope"})
RETRY_SECONDS = 30
METADATA_SECONDS = 3600
NAMED_CALLERS_HINT = (
    "This server wants the header Authorization: Bearer <token>, with one of the tokens in LUMA_MCP_AUTH_TOKENS."
)
LOCAL_TOKEN_HINT = (
    "This server wants the header Authorization: Bearer <token>; luma-mcp token, run on its machine, prints it."  # noqa: S105 - names no token
)
OAUTH_HINT = "This server wants the header Authorization: Bearer <token>, with an access token of {issuer}."
FILE_HINT = "This server wants the header Authorization: Bearer <token>, with a token of its operator's."


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a server asks for a token; `metadata_url` is that of its protected resource metadata, empty without OAuth."""

    hint: str
    metadata_url: str = ""

    def refuse(self, refused: TokenRefused) -> Response:
        """Answer a request whose token lets nobody in, or that has none."""
        answer = self._answer(refused.status, ERRORS[refused.status], refused.reason or self.hint)
        if refused.status == 503:
            answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer

    def require_scope(self, scope: str) -> Response:
        """Answer a request whose token lacks a scope."""
        return self._answer(403, "insufficient_scope", f"This needs the scope {scope}.")

    def _answer(self, status: int, error: str, description: str) -> Response:
        answer = JSONResponse({"error": error, "error_description": description}, status)
        if error in ANOTHER_TOKEN_HELPS:
            where = (
                f', resource_metadata="{self.metadata_url}", scope="{" ".join(SCOPES)}"' if self.metadata_url else ""
            )
            answer.headers["WWW-Authenticate"] = f'Bearer error="{error}", error_description="{description}"{where}'
        return answer


def challenge_of(settings: Settings) -> Challenge:
    if settings.oauth_issuer:
        return Challenge(OAUTH_HINT.format(issuer=settings.oauth_issuer), metadata_url(settings.oauth_audience[0]))
    if settings.auth_tokens_file:
        return Challenge(FILE_HINT)
    return Challenge(NAMED_CALLERS_HINT if settings.callers else LOCAL_TOKEN_HINT)


def metadata_url(resource: str) -> str:
    """Give the address of a resource's metadata: the well-known path stands between host and path (RFC 9728, 3.1)."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{METADATA_PATH}{parts.path.rstrip('/')}"


def metadata_routes(settings: Settings) -> list[BaseRoute]:
    """Serve the protected resource metadata where clients look for it; nothing without OAuth."""
    if not settings.oauth_issuer:
        return []
    resource = settings.oauth_audience[0]
    told = {
        "resource": resource,
        "authorization_servers": [settings.oauth_issuer],
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
        "resource_name": "Luma video modification by RunAPI",
    }

    async def tell(_: Request) -> Response:
        return JSONResponse(told, headers={"Cache-Control": f"max-age={METADATA_SECONDS}"})

    paths = (METADATA_PATH, urlsplit(metadata_url(resource)).path)
    return [Route(path, tell, methods=["GET"]) for path in dict.fromkeys(paths)]
