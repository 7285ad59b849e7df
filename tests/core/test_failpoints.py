"""The moments at which tests kill the process: a job passes each, in an order in which nothing is paid unwritten."""

from pathlib import Path

import pytest

from luma_mcp.core import failpoints
from luma_mcp.core.models import Status
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import open_rig


@pytest.mark.anyio
@pytest.mark.usefixtures("inline_threads")
async def test_a_job_with_a_clip_passes_its_moments_in_this_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[str, None] = {}
    monkeypatch.setattr(failpoints, "reach", passed.setdefault)
    clip = home / "out" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(bundled_clip().read_bytes())
    async with open_rig(home) as rig:
        assert (await rig.submit(source=str(clip))).status is Status.COMPLETED
    assert list(passed) == [
        "ledger.written",
        "ledger.committed",
        "submission.intended",
        "submission.preparing",
        "upload.prepared",
        "upload.sent",
        "upload.confirmed",
        "submission.sending",
        "submission.answered",
        "poll.asking",
        "poll.answered",
        "download.begun",
        "download.receiving",
        "download.complete",
        "download.published",
        "download.saved",
    ]
