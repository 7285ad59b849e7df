"""Sessions of browsers: what stands for a caller, for how long, and how many there are."""

from collections.abc import Callable

import anyio
import pytest

from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.transports.bearer import CallerToken, TokenRefused
from luma_mcp.transports.gallery_sessions import IDLE_SECONDS, MAX_SESSIONS, GallerySessions, OneTimeToken

pytestmark = pytest.mark.anyio


def token_of(caller: str, is_current: Callable[[], bool] = lambda: True) -> CallerToken:
    return CallerToken(client_id=caller, scopes=[], is_current=is_current)


def name_in(sessions: GallerySessions, value: str) -> str:
    """Name the caller that a session's value stands for; empty for none."""
    caller = sessions.caller_of(value)
    return caller.client_id if caller else ""


async def test_a_token_is_good_for_one_use(caplog: pytest.LogCaptureFixture) -> None:
    token = OneTimeToken()
    with pytest.raises(TokenRefused):
        await token.verify_token("another")
    first = await token.verify_token(token.value)
    assert first.client_id == LOCAL_CALLER
    assert not caplog.messages
    with pytest.raises(TokenRefused):
        await token.verify_token(token.value)
    assert "a second time" in caplog.text
    assert token.value not in caplog.text


async def test_no_two_tokens_are_the_same() -> None:
    assert len({OneTimeToken().value for _ in range(100)}) == 100


async def test_a_session_stands_for_its_caller_alone() -> None:
    sessions = GallerySessions()
    ann, bob = sessions.begin(token_of("ann")), sessions.begin(token_of("bob"))
    assert [name_in(sessions, value) for value in (ann, bob, "", ann + "x", "x" * 10_000)] == [
        "ann",
        "bob",
        "",
        "",
        "",
    ]


async def test_a_session_ends_when_nothing_is_asked_in_it_for_long() -> None:
    sessions = GallerySessions()
    left, used = sessions.begin(token_of("ann")), sessions.begin(token_of("ann"))
    await anyio.sleep(IDLE_SECONDS / 2)
    assert name_in(sessions, used) == "ann"
    await anyio.sleep(IDLE_SECONDS / 2)
    assert (name_in(sessions, left), name_in(sessions, used)) == ("", "ann")


async def test_many_sessions_of_one_caller_end_the_longest_unused_of_its_own() -> None:
    sessions = GallerySessions()
    bob, *first = sessions.begin(token_of("bob")), sessions.begin(token_of("ann")), sessions.begin(token_of("ann"))
    await anyio.sleep(1)
    assert name_in(sessions, first[0]) == "ann"
    later = []
    for _ in range(MAX_SESSIONS - 1):
        await anyio.sleep(1)
        later.append(sessions.begin(token_of("ann")))
    assert name_in(sessions, first[1]) == ""
    assert [name_in(sessions, value) for value in (first[0], *later)] == ["ann"] * MAX_SESSIONS
    assert name_in(sessions, bob) == "bob"


async def test_a_session_ends_with_the_token_that_it_was_begun_with() -> None:
    sessions, revoked = GallerySessions(), anyio.Event()
    ann = sessions.begin(token_of("ann", lambda: not revoked.is_set()))
    assert name_in(sessions, ann) == "ann"
    revoked.set()
    assert name_in(sessions, ann) == ""
