"""What all requests share: who asks, lists of one page, and failures as errors of the protocol."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from mcp import MCPError
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS

from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.core.settings import Settings
from luma_mcp.core.uris import TASKS_URI
from luma_mcp.server.context import RequestContext, caller_of
from tests.support.http_server import PAIRS
from tests.support.rig import ERAS, Rig, ask_raw, settings_for

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["tools", "resources", "resources/templates", "prompts"])
async def test_an_empty_cursor_means_the_first_page_and_so_does_null(rig: Rig, era: str, kind: str) -> None:
    async with rig.client(era) as client:
        first = await ask_raw(client, era, f"{kind}/list")
        assert first == await ask_raw(client, era, f"{kind}/list", cursor="")
        assert first == await ask_raw(client, era, f"{kind}/list", cursor=None)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["tools", "resources", "resource_templates", "prompts"])
async def test_a_cursor_that_was_never_given_is_refused(rig: Rig, era: str, kind: str) -> None:
    async with rig.client(era) as client:
        with pytest.raises(MCPError, match="cursor") as refused:
            await getattr(client, f"list_{kind}")(cursor="made up")
    assert refused.value.error.code == INVALID_PARAMS


async def test_trouble_of_ours_is_not_told_as_the_clients_mistake(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise LedgerUnusable("database is locked", hint="Wait.")

    monkeypatch.setattr(rig.parts.ledger, "page", fail)
    async with rig.client() as client:
        with pytest.raises(MCPError, match=r"database is locked Wait\.") as failed:
            await client.read_resource(TASKS_URI)
    assert failed.value.error.code == INTERNAL_ERROR
    assert failed.value.error.data == {"code": "output_not_writable", "hint": "Wait."}


def context_for(settings: Settings, user: object = None) -> RequestContext:
    """Make as much of a request as tells who asks."""
    request = SimpleNamespace(user=user)
    return cast("RequestContext", SimpleNamespace(lifespan_context=SimpleNamespace(settings=settings), request=request))


def test_who_asks_is_whose_token_was_given_where_there_are_tokens_and_else_the_user(home: Path) -> None:
    token = AccessToken(token="secret", client_id="ann", scopes=[])  # noqa: S106 - nothing is behind it
    several = settings_for(home, transport="http", auth_tokens=PAIRS)
    assert caller_of(context_for(several, AuthenticatedUser(token))) == "ann"
    for own in (settings_for(home), settings_for(home, auth_tokens=PAIRS), settings_for(home, transport="http")):
        assert caller_of(context_for(own)) == LOCAL_CALLER


@pytest.mark.parametrize("user", [None, object()])
def test_a_request_that_came_past_the_check_of_tokens_is_nobodys(home: Path, user: object) -> None:
    with pytest.raises(PermissionError):
        caller_of(context_for(settings_for(home, transport="http", auth_tokens=PAIRS), user))
