"""Bringing one intent to RunAPI: upload, POST under its key, until the outcome is known or cannot be (design 3.1)."""

import logging
import random
from collections.abc import Callable
from dataclasses import replace

import anyio

from luma_mcp import crash_points
from luma_mcp.errors import Conflict, Failure, LumaError, ServiceUnavailable, SubmissionUnconfirmed
from luma_mcp.ledger import Ledger
from luma_mcp.models import Clock, Limits, Status, Task, VideoRequest
from luma_mcp.pace import backoff
from luma_mcp.runapi import Accepted, RunAPI
from luma_mcp.storage_errors import LedgerUnusable
from luma_mcp.uploads import Uploads

BOUND_SECONDS = 180.0  # while RunAPI has certainly taken nothing
LEAST_UPLOADS = 3  # a long one that breaks is not over with the bound
STALE_SECONDS = 3600.0  # a clip that takes longer to upload is not paid for any more
KEEPING_SECONDS = 5.0
DOUBT_SECONDS = 30.0  # once an answer was lost: shorter than a call waits, so that it can say so
REPEAT_HINT = (
    "Repeat the same modify_video call, without new_take, within 15 minutes of the first one: it goes out under the"
    " same idempotency key, so it cannot be charged twice. Until then this server also asks by itself from time to"
    " time."
)
TOO_OLD_HINT = (
    "It is too old to be repeated safely. Have the task list of the RunAPI account looked at; only if the task is not"
    " there, submit it again with new_take=true."
)

logger = logging.getLogger(__name__)


class Submission:
    """Submits tasks; every step is in the ledger before the next one depends on it.

    An intent may have been written by anybody, so all that was asked of the caller who made it is asked again: `check`
    is that of new requests, `limits` are the user's, and RunAPI calls back below one address only, if any.
    """

    def __init__(
        self,
        ledger: Ledger,
        runapi: RunAPI,
        uploads: Uploads,
        now: Clock,
        *,
        limits: Limits,
        called_below: str,
        check: Callable[[VideoRequest], None],
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._uploads = uploads
        self._now = now
        self._limits = limits
        self._called_below = called_below
        self._check = check

    async def submit(self, task: Task) -> Task:
        """Bring a task to RunAPI; it comes back accepted, failed or unconfirmed, and is recorded as such.

        Raises `LedgerUnusable` when a step cannot be written: the task then stays as it was, to be submitted again
        under its key. Raises `LeaseLost` when another process has taken it over.
        """
        if not task.attempts and self._sendable(task):
            task = await self._prepare(task)
            if task.status.done:
                return task
            if abs(self._now() - task.created_at) <= STALE_SECONDS:
                return await self._send(task)
        elif self._sendable(task):
            return await self._send(task)
        known = task.status is Status.UNCONFIRMED
        return task if known else await self._ledger.record(expired(task, self._now()))

    async def distrust_source(self, task: Task) -> None:
        """Upload the clip of a task that failed anew, should it be asked for again."""
        await self._uploads.distrust(task)

    async def _prepare(self, task: Task) -> Task:
        """Check a request that was never sent once more, and bring its source; a fault ends it, charged "no"."""
        try:
            self._check(task.request)
        except LumaError as error:
            return await self._ledger.record(task.refused(error.failure(), self._now()))
        return await self._bring_source(task)

    async def _bring_source(self, task: Task) -> Task:
        """Find or upload the source, from its beginning if that breaks off: until then nothing can cost money."""
        deadline, failures = anyio.current_time() + BOUND_SECONDS, 0
        while True:
            try:
                crash_points.reach("submission.preparing")
                url = await self._uploads.url(task)
                return await self._ledger.record(replace(task, source_url=url, error=None))
            except LedgerUnusable:
                raise
            except LumaError as error:
                failures += 1
                wait = backoff(failures, jitter=random.random(), retry_after=error.retry_after)  # noqa: S311 - spreads load, guards nothing
                task = await self._ledger.get(task.key)
                over = failures >= LEAST_UPLOADS and anyio.current_time() + wait > deadline
                over |= (error.retry_after or 0) > BOUND_SECONDS
                if over or not error.transient:
                    return await self._ledger.record(task.refused(error.failure(), self._now()))
                await self._tell_trouble(task, error, in_doubt=False)
                await anyio.sleep(wait)
                task = await self._ledger.get(task.key)

    async def _send(self, task: Task) -> Task:
        in_doubt = task.attempts > 0
        deadline = anyio.current_time() + (DOUBT_SECONDS if in_doubt else BOUND_SECONDS)
        failures = 0
        while not task.attempts or self._sendable(task):
            sent_at = self._now()
            try:
                task, answer = await self._attempt(task)
            except LedgerUnusable:
                raise
            except LumaError as error:
                failures += 1
                if error.charged == "unknown" and not in_doubt:
                    in_doubt, deadline = True, anyio.current_time() + DOUBT_SECONDS
                wait = backoff(failures, jitter=random.random(), retry_after=error.retry_after)  # noqa: S311 - spreads load, guards nothing
                task = await self._ledger.get(task.key)
                if not error.transient or anyio.current_time() + wait > deadline:
                    return await self._ledger.record(conclusion(task, error, self._now(), in_doubt=in_doubt))
                await self._tell_trouble(task, error, in_doubt=in_doubt)
                await anyio.sleep(wait)
                task = await self._ledger.get(task.key)
            else:
                crash_points.reach("submission.answered")
                asked = task if in_doubt else replace(task, sent_at=sent_at)  # no try before this one can have begun it
                return await self._keep(asked.accepted(answer.task_id, answer.status, self._now()))
        known = task.status is Status.UNCONFIRMED
        return task if known else await self._ledger.record(expired(task, self._now()))

    def _sendable(self, task: Task) -> bool:
        """Tell whether it is safe to send a task: it is young, not sent yet, and this account's.

        The key's name in a row also shows that a server wrote it which has the key: it is known to nobody else.
        """
        own = (task.origin, task.key_id) == (self._runapi.origin, self._runapi.key_id)
        unsent = not task.task_id and task.status in (Status.SUBMITTING, Status.UNCONFIRMED)
        return own and unsent and task.is_young(self._now())

    async def _attempt(self, task: Task) -> tuple[Task, Accepted]:
        sending = replace(task if task.attempts else self._first(task), attempts=task.attempts + 1)
        task = await self._ledger.note_sending(sending, self._limits, self._now())
        crash_points.reach("submission.sending")
        return task, await self._runapi.create(task)

    def _first(self, task: Task) -> Task:
        """Give a task as it goes out first; what is sent then is sent again unchanged."""
        own = bool(self._called_below) and task.callback.startswith(self._called_below)
        return replace(task, sent_at=self._now(), callback=task.callback if own else "")

    async def _keep(self, task: Task) -> Task:
        """Write down what RunAPI took, however long that is impossible: nothing else knows that it was paid for."""
        while True:
            try:
                return await self._ledger.record(task)
            except LedgerUnusable as error:
                logger.warning("Task %s cannot be written down yet: %s", task.task_id, error.message)
                await anyio.sleep(KEEPING_SECONDS)

    async def _tell_trouble(self, task: Task, error: LumaError, *, in_doubt: bool) -> None:
        if task.status is not Status.UNCONFIRMED:
            told = replace(error.failure(), charged="unknown" if in_doubt else "no")
            await self._ledger.record(task.troubled(told, self._now()))


def expired(task: Task, now: float) -> Task:
    """Conclude a submission that is found again too late: what was asked for that long ago must not cost money now."""
    if task.attempts:
        return task.unconfirmed(too_old(), now)
    unsent = ServiceUnavailable("This request could not be sent.", hint="Call modify_video again.")
    return task.refused(unsent.failure(), now)


def too_old() -> Failure:
    """Say that an unknown outcome can no longer be settled by repeating the call."""
    return SubmissionUnconfirmed("This submission was never answered.", hint=TOO_OLD_HINT).failure()


def conclusion(task: Task, error: LumaError, now: float, *, in_doubt: bool) -> Task:
    """Decide what a submission that got no id has come to.

    A refusal ends it. After an answer was lost, only a conflict on the key does, which is in doubt by itself: no other
    refusal says what an earlier attempt may have started.
    """
    if in_doubt and not isinstance(error, Conflict):
        lost = SubmissionUnconfirmed(
            f"Whether RunAPI accepted this task is not known. {error.message}", hint=REPEAT_HINT
        )
        return task.unconfirmed(lost.failure(), now)
    return task.refused(error.failure(), now)
