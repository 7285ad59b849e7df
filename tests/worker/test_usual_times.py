"""The usual times: learnt from the ledger, and asked for once by all who want them at the same time."""

import anyio
import pytest

from luma_mcp.worker.polling import DOCUMENTED
from luma_mcp.worker.usual_times import KEPT_SECONDS, UsualTimes
from tests.support.rig import Rig

pytestmark = pytest.mark.anyio
ENOUGH = 12


async def test_a_thousand_who_ask_at_once_cost_one_look(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, durations = list[str](), rig.parts.ledger.durations

    async def counted(model: str, origin: str) -> list[float]:
        looks.append(model)
        await anyio.sleep(1)
        return await durations(model, origin)

    monkeypatch.setattr(rig.parts.ledger, "durations", counted)
    usual = UsualTimes(rig.parts.ledger, rig.parts.runapi)
    async with anyio.create_task_group() as group:
        for _ in range(1000):
            group.start_soon(usual.profile)
    assert len(looks) == 1
    await anyio.sleep(KEPT_SECONDS)
    await usual.profile()
    assert len(looks) == 2


async def test_what_ended_meanwhile_is_learnt_within_seconds(rig: Rig) -> None:
    usual = UsualTimes(rig.parts.ledger, rig.parts.runapi)
    assert await usual.profile() == DOCUMENTED
    for number in range(ENOUGH):
        await rig.settle(await rig.submit(f"fog {number}", wait=0))
    await anyio.sleep(KEPT_SECONDS)
    assert await usual.profile() != DOCUMENTED
