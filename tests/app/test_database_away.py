"""A database that goes away while the server works, and comes back: nothing is lost, and nobody waits for it."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from luma_mcp.core import failpoints
from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.core.models import Status
from tests.support.postgres import PostgresServer
from tests.support.rig import Rig, open_rig, sandbox_for
from tests.support.stores import use_database

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
BOUND_SECONDS = 30.0  # of a call that waits for 1 s, on a machine that is busy


@pytest.fixture
async def rig(home: Path, own_server: PostgresServer) -> AsyncGenerator[Rig]:
    use_database(home, own_server.new_database())
    async with open_rig(home, sandbox=sandbox_for(home, seconds=3.0), wait_seconds=1) as opened:
        yield opened


async def test_calls_say_so_within_their_bound_and_go_on_when_it_is_back(rig: Rig, own_server: PostgresServer) -> None:
    running = (await rig.ask("fog", wait=0)).task
    own_server.crash()
    with anyio.fail_after(BOUND_SECONDS):
        with pytest.raises(LedgerUnusable):
            await rig.app.find(running.task_id, "local")
        with pytest.raises(LedgerUnusable) as raised:
            await rig.ask("rain", wait=1)
    assert raised.value.charged == "no"
    own_server.start()
    ended = await rig.settle(await rig.app.find(running.task_id, "local"), 60)
    assert (ended.status, rig.creates()) == (Status.COMPLETED, 1)
    assert Path(ended.video_path).is_file()


async def test_what_runapi_answered_meanwhile_is_written_when_it_is_back(
    rig: Rig, own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = anyio.Event()

    def stop_after_the_answer(point: str) -> None:
        if point == "submission.answered" and not gone.is_set():
            own_server.crash()
            gone.set()

    monkeypatch.setattr(failpoints, "reach", stop_after_the_answer)
    with anyio.fail_after(BOUND_SECONDS), pytest.raises(LedgerUnusable) as raised:
        await rig.ask("fog", wait=1)
    assert (gone.is_set(), raised.value.charged) == (True, "unknown")
    own_server.start()
    again = await rig.ask("fog", wait=1)
    ended = await rig.settle(again.task, 60)
    assert (again.joined, ended.status, rig.creates()) == (True, Status.COMPLETED, 1)
