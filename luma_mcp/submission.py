"""Bringing one intent to RunAPI: upload, POST under its key, until the outcome is known or cannot be (design 3.1)."""

import random
from dataclasses import replace

import anyio

from luma_mcp.errors import Conflict, InvalidRequest, LumaError, ServiceUnavailable, SubmissionUnconfirmed
from luma_mcp.ledger import Ledger
from luma_mcp.models import REPLAY_SECONDS, Clock, Task
from luma_mcp.pace import backoff
from luma_mcp.runapi import RunAPI
from luma_mcp.uploads import Uploads

BOUND_SECONDS = 180.0
REPEAT_HINT = (
    "Repeat exactly the same modify_video call within 15 minutes of the first one: it goes out under the same"
    " idempotency key, so it cannot be charged twice."
)
TOO_OLD_HINT = (
    "It is too old to be repeated safely. Look at the task list of the RunAPI account; if the task is not there, submit"
    " it again with new_take=true."
)


class Submission:
    """Submits tasks; every step is in the ledger before the next one depends on it."""

    def __init__(self, ledger: Ledger, runapi: RunAPI, uploads: Uploads, now: Clock) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._uploads = uploads
        self._now = now

    async def submit(self, task: Task) -> Task:
        """Bring a task to RunAPI; it comes back accepted, failed or unconfirmed, and is recorded as such."""
        if self._now() - task.created_at > REPLAY_SECONDS:
            return self._ledger.record(expired(task, self._now()))
        in_doubt = task.attempts > 0
        deadline = anyio.current_time() + BOUND_SECONDS
        failures = 0
        while True:
            try:
                return await self._attempt(self._ledger.get(task.key))
            except LumaError as error:
                failures += 1
                in_doubt = in_doubt or error.charged == "unknown"
                wait = backoff(failures, jitter=random.random(), retry_after=error.retry_after)  # noqa: S311 - spreads load, guards nothing
                if not error.transient or anyio.current_time() + wait > deadline:
                    return self._conclude(self._ledger.get(task.key), error, in_doubt=in_doubt)
                await anyio.sleep(wait)

    async def _attempt(self, task: Task) -> Task:
        if not task.source_url:
            task = self._ledger.record(replace(task, source_url=await self._uploads.url(task)))
        task = self._ledger.record(replace(task, attempts=task.attempts + 1))
        answer = await self._runapi.create(task)
        return self._ledger.record(task.accepted(answer.task_id, answer.status, self._now()))

    def _conclude(self, task: Task, error: LumaError, *, in_doubt: bool) -> Task:
        return self._ledger.record(conclusion(task, error, self._now(), in_doubt=in_doubt))


def expired(task: Task, now: float) -> Task:
    """Conclude a submission that is found again too late: what was asked for that long ago must not cost money now."""
    if task.attempts:
        unanswered = SubmissionUnconfirmed("This submission was never answered.", hint=TOO_OLD_HINT)
        return task.unconfirmed(unanswered.failure(), now)
    unsent = ServiceUnavailable("This server ended before the submission was sent.", hint="Call modify_video again.")
    return task.refused(unsent.failure(), now)


def conclusion(task: Task, error: LumaError, now: float, *, in_doubt: bool) -> Task:
    """Decide what a submission that got no id has come to.

    A refusal ends it. After an answer was lost, only a refusal of the request itself does: a refused key or an empty
    account says nothing about what an earlier attempt may have started.
    """
    if in_doubt and not isinstance(error, InvalidRequest | Conflict):
        lost = SubmissionUnconfirmed(
            f"Whether RunAPI accepted this task is not known. {error.message}", hint=REPEAT_HINT
        )
        return task.unconfirmed(lost.failure(), now)
    return task.refused(error.failure(), now)
