"""Which tools spend, and whose token lets them."""

from pathlib import Path

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.authentication import UnauthenticatedUser

from luma_mcp.server.scopes import READ_SCOPE, SPEND_SCOPE, SPENDING_TOOLS, allows
from luma_mcp.server.tools import SpendingTool, ToolHandlers
from tests.support.rig import settings_for


def test_the_tools_that_spend_are_those_that_need_the_scope(home: Path) -> None:
    handlers = ToolHandlers(settings_for(home))
    tools = {**handlers._tools, **handlers._page_tools, **handlers._attaching}
    assert {name for name, tool in tools.items() if isinstance(tool, SpendingTool)} == SPENDING_TOOLS


def test_a_token_allows_what_its_scopes_say_and_no_token_needed_allows_all() -> None:
    looking = AuthenticatedUser(AccessToken(token="", client_id="ann", scopes=[READ_SCOPE]))
    assert allows(looking, READ_SCOPE)
    assert not allows(looking, SPEND_SCOPE)
    assert allows(UnauthenticatedUser(), SPEND_SCOPE)
    assert allows(None, SPEND_SCOPE)
