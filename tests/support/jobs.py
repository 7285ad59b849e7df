"""The typical jobs, played by a model that takes texts at their word; pinned as transcripts.

Each file in `tests/support/transcripts/` is one job as it goes. After a wanted change of texts, write them anew with
`python -m tests.support.jobs`, and read them.
"""

import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import anyio
import anyio.to_thread
import trio._core._run
import trio.testing

from luma_mcp.app import changes
from luma_mcp.core import backoff
from tests.support import failing_jobs as failing
from tests.support import successful_jobs as successful
from tests.support.rig import ERAS, run_inline
from tests.support.transcript import Conversation

PINNED = Path(__file__).with_name("transcripts")
Job = Callable[[Path, str], Awaitable[Conversation]]
JOBS: dict[str, Job] = {
    "one_clip": successful.one_clip,
    "a_long_generation": successful.a_long_generation,
    "a_host_that_times_out": failing.a_host_that_times_out,
    "a_host_with_a_short_limit": failing.a_host_with_a_short_limit,
    "three_takes_compared": successful.three_takes_compared,
    "three_takes_of_one_prompt": successful.three_takes_of_one_prompt,
    "a_failed_generation": failing.a_failed_generation,
    "a_local_file": failing.a_local_file,
    "a_missing_key": failing.a_missing_key,
    "too_little_money": failing.too_little_money,
    "a_lost_answer": failing.a_lost_answer,
    "a_slow_submission": failing.a_slow_submission,
    "a_limit": failing.a_limit,
    "a_deleted_file": successful.a_deleted_file,
    "a_chained_edit": successful.a_chained_edit,
    "a_lost_id": successful.a_lost_id,
    "over_http": successful.over_http,
    "a_broken_download": failing.a_broken_download,
}


async def played(name: str, home: Path, era: str = ERAS[0]) -> str:
    """Play a job and give its transcript: what trio would leave to chance goes the same way each time."""
    job = JOBS[name]
    with (
        patch.object(backoff, "random", random.Random(0)),  # noqa: S311 - guards nothing
        patch.object(trio._core._run, "_r", random.Random(0)),  # noqa: S311 - as above
        patch.object(changes, "CHANGES_INTERVAL_SECONDS", 0.4717),  # half a second could be written as none or one
    ):
        return (await job(home, era)).text((job.__doc__ or "").rstrip("."))


def write() -> None:
    shutil.rmtree(PINNED, ignore_errors=True)
    PINNED.mkdir()
    for name in JOBS:
        with tempfile.TemporaryDirectory() as home, patch.object(anyio.to_thread, "run_sync", run_inline):
            clock = trio.testing.MockClock(autojump_threshold=0)
            text = anyio.run(partial(played, name), Path(home), backend="trio", backend_options={"clock": clock})
            (PINNED / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
