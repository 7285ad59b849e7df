"""What a caller's token allows: looking, or spending too. Static tokens and this machine's user may do both."""

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

READ_SCOPE = "luma:read"
SPEND_SCOPE = "luma:spend"
SCOPES = (READ_SCOPE, SPEND_SCOPE)
SPENDING_TOOLS = frozenset({"modify_video"})


def allows(user: object, scope: str) -> bool:
    """Tell whether a request's user, as the SDK tells it there, has a scope; whoever needs no token has all."""
    return not isinstance(user, AuthenticatedUser) or scope in user.scopes
