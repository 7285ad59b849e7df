"""What is said of tasks that were paid for, or may have been, and that have nothing to show for it as things stand."""

from dataclasses import replace

from luma_mcp.core.errors import Failure, SubmissionUnconfirmed
from luma_mcp.core.models import Status, Task
from luma_mcp.core.storage_errors import VideoGone

OTHER_KEY_HINT = (
    "It was sent with another RunAPI key: repeat the call in the host that has that key, or have the task list of that"
    " RunAPI account looked at."
)
OLD_HINT = (
    "Repeat the same modify_video call: it goes out under its old key, which is safer than any new one. But how long"
    " RunAPI remembers a key is not known, so that it may be charged again: have the task list of the RunAPI account"
    " looked at first."
)


def as_it_stands(task: Task, now: float, account: tuple[str, str]) -> Task:
    """Give a task with the error that it has now, where time or another account has changed what is to be said.

    An `account` is an address of RunAPI, and which of its keys.
    """
    failure = loss(task, now, account)
    return replace(task, error=replace(failure, charged=task.charged)) if failure else task


def loss(task: Task, now: float, account: tuple[str, str]) -> Failure | None:
    """Say what is lost of a task, where the ledger does not say it yet."""
    if task.status is Status.UNCONFIRMED:
        return unconfirmed(task, now, account)
    if not task.is_lost(now):
        return None
    if task.status is Status.COMPLETED and task.video_urls:
        return VideoGone("RunAPI keeps a video for seven days, and these are over.").failure()
    return None


def unconfirmed(task: Task, now: float, account: tuple[str, str]) -> Failure:
    """Say how an unknown outcome can be settled: by the same call, as long as RunAPI is certain to know its key."""
    failure = task.error or SubmissionUnconfirmed("This submission was never answered.").failure()
    if (task.origin, task.key_id) != account:
        return replace(failure, hint=OTHER_KEY_HINT)
    return failure if task.has_fresh_key(now) else replace(failure, hint=OLD_HINT, retry_safe=False)
