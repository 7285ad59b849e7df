"""What is said of tasks that have nothing to show for their money, as time or another key has changed it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.app.losses import OLD_KEY_HINT, OTHER_KEY_HINT, with_current_error
from luma_mcp.core.errors import SubmissionUnconfirmed
from luma_mcp.core.models import OUTPUT_LIFETIME_SECONDS, REPLAY_SECONDS, Status, Task
from luma_mcp.sandbox.faults import Fault
from tests.support.rig import API_URL, EPOCH, SOURCE, Rig, open_rig, structured
from tests.support.tasks import COMPLETED, code_of, task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}
HOUR = 3600.0
ACCOUNT = (API_URL, "key-1")
DAY = 24 * HOUR


async def test_a_result_that_expired_unsaved_is_told_as_paid_and_gone_with_the_way_on(home: Path) -> None:
    async with open_rig(home, save="never") as rig, rig.client() as client:
        made = structured(await client.call_tool("modify_video", ASK))
        rig.clock.jumped += 8 * DAY
        for name, arguments in (
            ("modify_video", ASK),
            ("get_task", {"task_id": made["task_id"]}),
            ("save_video", {"task_id": made["task_id"]}),
        ):
            told = await client.call_tool(name, arguments)
            assert told.is_error, name
            assert (structured(told)["error"]["code"], structured(told)["error"]["charged"]) == (
                "download_failed",
                "yes",
            )
            assert "take 2, which costs 0.50 USD" in structured(told)["next_step"]
        assert rig.task_count() == 1
        second = structured(await client.call_tool("modify_video", ASK | {"take": 2}))
        assert (second["joined"], second["take"], rig.task_count()) == (False, 2, 2)


async def test_the_age_of_a_key_is_told_however_late_it_was_sent_again(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("drop_after", times=5000))
    await rig.settle(await rig.submit())
    rig.clock.jumped += 3 * DAY
    again = await rig.ask()
    assert again.task.error
    assert (again.task.status, again.task.error.retry_safe) == (Status.UNCONFIRMED, False)
    assert "is not known" in again.task.error.hint


async def test_what_is_not_known_about_an_old_key_is_told(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("drop_before", times=100_000))
    fresh = await rig.settle(await rig.submit())
    await anyio.sleep(HOUR)
    (listed,), _ = await rig.app.list_tasks("local", "", 10, "")
    assert fresh.error
    assert listed.error
    assert (fresh.error.retry_safe, listed.error.retry_safe) == (True, False)
    assert "how long RunAPI remembers a key is not known" in listed.error.hint


def unconfirmed(**changes: Any) -> Task:
    """Make a task of whose submission nobody knows the outcome."""
    failure = SubmissionUnconfirmed("The answer was lost.").failure()
    sent = replace(task(), key_id="key-1", sent_at=EPOCH).unconfirmed(failure, EPOCH)
    return replace(sent, **changes)


@pytest.mark.parametrize(
    ("standing", "at", "hint", "retry_safe"),
    [
        (unconfirmed(), EPOCH + REPLAY_SECONDS, SubmissionUnconfirmed.hint, True),
        (unconfirmed(), EPOCH + REPLAY_SECONDS + 1, OLD_KEY_HINT, False),
        (unconfirmed(key_id="key-2"), EPOCH, OTHER_KEY_HINT, True),
        (unconfirmed(origin="https://other.example"), EPOCH, OTHER_KEY_HINT, True),
        (unconfirmed(error=None), EPOCH, SubmissionUnconfirmed.hint, True),
    ],
)
def test_an_unknown_outcome_is_settled_by_who_has_its_key_and_safely_only_while_that_is_fresh(
    standing: Task, at: float, hint: str, retry_safe: bool
) -> None:
    error = with_current_error(standing, at, ACCOUNT).error
    assert error
    assert (error.code, error.charged) == ("submission_unconfirmed", "unknown")
    assert (error.hint, error.retry_safe) == (hint, retry_safe)


def test_a_video_that_was_never_saved_is_lost_when_its_link_expires_and_not_before() -> None:
    standing = replace(COMPLETED, charged="yes", video_urls=(SOURCE,))
    saved, expires = replace(standing, video_path="/v.mp4"), EPOCH + OUTPUT_LIFETIME_SECONDS
    assert with_current_error(standing, expires - 1, ACCOUNT) is standing
    assert with_current_error(saved, expires, ACCOUNT) is saved
    gone = with_current_error(standing, expires, ACCOUNT)
    assert code_of(gone) == "download_failed"
    assert gone.error
    assert (gone.error.charged, gone.error.message) == (
        "yes",
        "RunAPI keeps a video for seven days, and these are over.",
    )
