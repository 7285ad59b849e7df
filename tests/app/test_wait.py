"""Waiting for a task: until it has come far enough, the time is over, or the server ends."""

from pathlib import Path

import anyio
import pytest

from luma_mcp.app.progress import Progress
from luma_mcp.app.wait import is_named
from luma_mcp.core.models import Status, Task
from luma_mcp.sandbox.faults import Fault
from tests.support.rig import ProgressRecorder, open_rig, sandbox_for, silent

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]


async def test_a_change_made_by_another_process_is_noticed_within_two_seconds(home: Path) -> None:
    sandbox = sandbox_for(home, seconds=30)
    async with open_rig(home, sandbox=sandbox) as holder, open_rig(home, sandbox=sandbox) as other:
        task = await holder.submit(wait=0)
        told, ended = ProgressRecorder(), [0.0]

        async def note_the_end() -> None:
            await holder.settle(task)
            ended.append(anyio.current_time())

        async with anyio.create_task_group() as waiting:
            waiting.start_soon(other.app.wait, task.key, 100.0, Progress(told))
            waiting.start_soon(note_the_end)
        assert told.states[-1] == "completed"
        assert told.times[-1] - ended[-1] <= 2
        assert told.states == ["processing", "completed"]


async def test_a_wait_ends_with_the_time_and_gives_the_task_as_it_stands(home: Path) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=60)) as rig:
        task = await rig.submit(wait=0)
        begun = anyio.current_time()
        standing = await rig.settle(task, 12.5)
        assert anyio.current_time() - begun == pytest.approx(12.5)
    assert standing.status is Status.PROCESSING


async def test_a_wait_for_the_id_is_over_long_before_the_end(home: Path) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=60)) as rig:
        rig.sandbox.faults.inject(Fault("slow", seconds=8))
        task, begun = await rig.submit(wait=0), anyio.current_time()
        assert not is_named(task)
        named = await rig.parts.waiter.watch(task.key, begun + 300, Progress(silent), until=is_named)
        assert anyio.current_time() - begun == pytest.approx(3, abs=1)
    assert (named.status, is_named(named)) == (Status.PROCESSING, True)


async def test_who_waits_when_the_server_ends_is_told_at_once_how_things_stand(home: Path) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=600)) as rig:
        task = await rig.submit(wait=0)
        standing: list[Task] = []

        async def wait() -> None:
            standing.append(await rig.settle(task))

        async with anyio.create_task_group() as waiting:
            for _ in range(3):
                waiting.start_soon(wait)
            await anyio.sleep(10)
            begun = anyio.current_time()
            rig.app.begin_drain()
        assert anyio.current_time() - begun < 0.1
    assert [found.status for found in standing] == [Status.PROCESSING] * 3
