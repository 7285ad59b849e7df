"""An app's parts are opened together and closed in the other order, with a moment for what is on its way."""

import math
from pathlib import Path

import anyio
import pytest

from luma_mcp.app.parts import connect_within, open_network
from luma_mcp.core.models import SANDBOX_ORIGIN
from luma_mcp.runapi.connection import CONNECT_SECONDS, TIMEOUT
from luma_mcp.sandbox.faults import Fault
from tests.support.rig import KEY, VirtualClock, open_rig, sandbox_for, settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]


async def test_a_process_that_ends_waits_a_moment_for_what_is_on_its_way(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        sandbox.faults.inject(Fault("slow", seconds=1.1))
        with anyio.move_on_after(0.1):
            await first.submit(wait=0)
        ended = anyio.current_time()
    assert anyio.current_time() - ended == pytest.approx(1.0, abs=0.1)
    async with open_rig(home, clock=clock, sandbox=sandbox) as second:
        (task,), _ = await second.app.list_tasks("local", "", 10, "")
        assert task.task_id
        assert second.creates() == 1


async def test_a_process_that_ends_does_not_wait_for_long(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_rig(home, clock=clock, sandbox=sandbox) as first:
        sandbox.faults.inject(Fault("slow", seconds=100))
        with anyio.move_on_after(0.1):
            await first.submit(wait=0)
        ended = anyio.current_time()
    assert anyio.current_time() - ended == pytest.approx(1.2, abs=0.1)


async def test_nothing_goes_on_once_the_app_is_closed(home: Path) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=30)) as rig:
        await rig.submit(wait=0)
        await anyio.sleep(20)
    asked = len(rig.sandbox.recorded_requests)
    assert rig.polls() > 0
    await anyio.sleep(3600)
    assert len(rig.sandbox.recorded_requests) == asked


async def test_the_sandbox_takes_the_place_of_runapi_whatever_address_and_key_are_set(home: Path) -> None:
    settings = settings_for(home, sandbox=True, base_url="https://other.example")
    async with open_network(settings, VirtualClock(), None) as network:
        assert network.base_url == SANDBOX_ORIGIN
        assert network.key
        assert network.key.get_secret_value() != KEY


@pytest.mark.parametrize(("waited_for", "connect"), [(math.inf, CONNECT_SECONDS), (8.0, 7.0), (100.0, CONNECT_SECONDS)])
def test_an_attempt_to_connect_ends_before_the_network_is_given_up(waited_for: float, connect: float) -> None:
    assert connect_within(waited_for).as_dict() == TIMEOUT.as_dict() | {"connect": connect}
