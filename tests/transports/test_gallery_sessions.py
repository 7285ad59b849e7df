"""Sessions of browsers: what stands for a caller, for how long, and how many there are."""

import anyio
import pytest

from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.transports.gallery_sessions import IDLE_SECONDS, MAX_SESSIONS, GallerySessions, OneTimeToken

pytestmark = pytest.mark.anyio


async def test_a_token_is_good_for_one_use(caplog: pytest.LogCaptureFixture) -> None:
    token = OneTimeToken()
    assert await token.verify_token("another") is None
    first = await token.verify_token(token.value)
    assert first is not None
    assert first.client_id == LOCAL_CALLER
    assert not caplog.messages
    assert await token.verify_token(token.value) is None
    assert "a second time" in caplog.text
    assert token.value not in caplog.text


async def test_no_two_tokens_are_the_same() -> None:
    assert len({OneTimeToken().value for _ in range(100)}) == 100


async def test_a_session_stands_for_its_caller_alone() -> None:
    sessions = GallerySessions()
    ann, bob = sessions.begin("ann"), sessions.begin("bob")
    assert [sessions.caller_of(value) for value in (ann, bob, "", ann + "x", "x" * 10_000)] == [
        "ann",
        "bob",
        "",
        "",
        "",
    ]


async def test_a_session_ends_when_nothing_is_asked_in_it_for_long() -> None:
    sessions = GallerySessions()
    left, used = sessions.begin("ann"), sessions.begin("ann")
    await anyio.sleep(IDLE_SECONDS / 2)
    assert sessions.caller_of(used) == "ann"
    await anyio.sleep(IDLE_SECONDS / 2)
    assert (sessions.caller_of(left), sessions.caller_of(used)) == ("", "ann")


async def test_many_sessions_of_one_caller_end_the_longest_unused_of_its_own() -> None:
    sessions = GallerySessions()
    bob, *first = sessions.begin("bob"), sessions.begin("ann"), sessions.begin("ann")
    await anyio.sleep(1)
    assert sessions.caller_of(first[0]) == "ann"
    later = []
    for _ in range(MAX_SESSIONS - 1):
        await anyio.sleep(1)
        later.append(sessions.begin("ann"))
    assert sessions.caller_of(first[1]) == ""
    assert [sessions.caller_of(value) for value in (first[0], *later)] == ["ann"] * MAX_SESSIONS
    assert sessions.caller_of(bob) == "bob"
