"""Delivery: a result counts as handed over only when it reached a caller whose request was still open."""

from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from luma_mcp.deliveries import LEAVING_SECONDS, Way
from luma_mcp.storage_errors import LedgerUnusable
from tests.rig import SOURCE, Rig, VirtualClock, facts, open_rig, sandbox_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
ASK = {"prompt": "fog", "source_video_url": SOURCE}


@dataclass
class Pipe(Way):
    """A way to a host that may have stopped reading, and on which answers may be cut off."""

    clear: bool = True
    sends: bool = True

    def has_sent(self, request: object) -> bool:
        return self.sends

    def is_clear(self) -> bool:
        return self.clear


async def test_an_answer_that_was_cut_off_by_the_end_is_not_delivered(home: Path) -> None:
    async with open_rig(home, way=Pipe(sends=False)) as first, first.client() as client:
        await client.call_tool("modify_video", ASK)
        await anyio.sleep(10 * LEAVING_SECONDS)
        other = facts(await client.call_tool("modify_video", ASK | {"prompt": "snow"}))
        assert not other["joined"]
        assert await delivered(first) == [False, False]
    async with open_rig(home) as second, second.client() as client:
        assert facts(await client.call_tool("modify_video", ASK))["joined"]


async def delivered(rig: Rig) -> list[bool]:
    """Tell of each task, newest first, whether its result was delivered."""
    tasks, _ = await rig.app.list_tasks("local", "", 10, "")
    return [task.delivered for task in tasks]


async def test_a_caller_that_asks_again_has_read_its_answer(rig: Rig) -> None:
    async with rig.client() as client:
        await client.call_tool("modify_video", ASK)
        again = facts(await client.call_tool("modify_video", ASK))
    assert not again["joined"]
    assert (await delivered(rig))[-1] is True


async def test_an_answer_counts_after_a_moment_of_an_open_way(home: Path) -> None:
    way = Pipe(clear=False)
    async with open_rig(home, way=way) as rig, rig.client() as client:
        await client.list_tools()  # what the client would otherwise ask for after the call
        await client.call_tool("modify_video", ASK)
        await anyio.sleep(10 * LEAVING_SECONDS)
        assert await delivered(rig) == [False]
        way.clear = True
        await anyio.sleep(2 * LEAVING_SECONDS)
        assert await delivered(rig) == [True]


@pytest.mark.parametrize("open_at_the_end", [True, False])
async def test_at_the_end_of_the_process_it_counts_whether_the_host_was_still_there(
    home: Path, open_at_the_end: bool
) -> None:
    async with open_rig(home, way=Pipe(clear=open_at_the_end)) as first, first.client() as client:
        await client.list_tools()
        await client.call_tool("modify_video", ASK)
    async with open_rig(home) as second, second.client() as client:
        again = facts(await client.call_tool("modify_video", ASK))
    assert again["joined"] is not open_at_the_end
    assert second.charges() == 1 + open_at_the_end


async def test_a_cancelled_call_delivers_nothing(rig: Rig) -> None:
    async with rig.client() as client:
        with anyio.move_on_after(3):
            await client.call_tool("modify_video", ASK)
        await anyio.sleep(60)
        again = facts(await client.call_tool("modify_video", ASK))
    assert (again["status"], again["joined"], rig.charges()) == ("completed", True, 1)


async def test_a_list_of_tasks_delivers_none_of_them(rig: Rig) -> None:
    async with rig.client() as client:
        with anyio.move_on_after(3):
            await client.call_tool("modify_video", ASK)
        await anyio.sleep(60)
        await client.call_tool("list_tasks", {})
        await anyio.sleep(60)
    assert await delivered(rig) == [False]


async def test_a_host_that_gives_up_without_a_word_and_repeats_the_call_pays_once(home: Path) -> None:
    """As a client does whose own time-out is shorter than the wait, and who does not cancel."""
    clock = VirtualClock()
    async with (
        open_rig(home, clock=clock, sandbox=sandbox_for(home, clock=clock, seconds=12)) as rig,
        rig.client() as client,
        anyio.create_task_group() as abandoned,
    ):
        for _ in range(2):
            abandoned.start_soon(client.call_tool, "modify_video", ASK)
            await anyio.sleep(7)
        await anyio.sleep(20)
        assert await delivered(rig) == [False]
        seen = facts(await client.call_tool("modify_video", ASK))
        assert (seen["joined"], seen["status"], rig.charges()) == (True, "completed", 1)
        await anyio.sleep(5)
        assert await delivered(rig) == [True]


async def test_a_delivery_that_cannot_be_noted_is_noted_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(keys: list[str]) -> None:
        raise LedgerUnusable("database is locked")

    async with rig.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(rig.app.ledger, "deliver", fail)
            await client.call_tool("modify_video", ASK)
            await anyio.sleep(5)
        await anyio.sleep(5)
    assert await delivered(rig) == [True]
