"""What is said of tasks that were paid for, or may have been, and have nothing to show for it."""

from dataclasses import replace

from luma_mcp.core.errors import Failure, SubmissionUnconfirmed, VideoGone
from luma_mcp.core.models import Status, Task

OTHER_KEY_HINT = (
    "It was sent with another RunAPI key: repeat the call in the host that has that key, or have the task list of that"
    " RunAPI account looked at."
)
OLD_KEY_HINT = (
    "Repeat the same modify_video call: it goes out under its old key, which is safer than any new one. But how long"
    " RunAPI remembers a key is not known, so that it may be charged again: have the task list of the RunAPI account"
    " looked at first."
)


def with_current_error(task: Task, now: float, account: tuple[str, str]) -> Task:
    """Give a task with the error that holds now: time or another account may have changed what the ledger says.

    `account` is an address of RunAPI and the id of a key.
    """
    failure = loss(task, now, account)
    return replace(task, error=replace(failure, charged=task.charged)) if failure else task


def loss(task: Task, now: float, account: tuple[str, str]) -> Failure | None:
    if task.status is Status.UNCONFIRMED:
        return unconfirmed(task, now, account)
    if not task.is_lost(now):
        return None
    if task.status is Status.COMPLETED and task.video_urls:
        return VideoGone("RunAPI keeps a video for seven days, and these are over.").failure()
    return None


def unconfirmed(task: Task, now: float, account: tuple[str, str]) -> Failure:
    """Say how an unknown outcome can be settled: by the same call, as long as RunAPI certainly knows its key."""
    failure = task.error or SubmissionUnconfirmed("This submission was never answered.").failure()
    if task.account != account:
        return replace(failure, hint=OTHER_KEY_HINT)
    return failure if task.has_fresh_key(now) else replace(failure, hint=OLD_KEY_HINT, retry_safe=False)
