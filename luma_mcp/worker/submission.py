"""Bringing one intent to RunAPI: upload, POST under its key, until the outcome is known or cannot be."""

import logging
import math
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

import anyio

from luma_mcp.core import failpoints
from luma_mcp.core.backoff import backoff
from luma_mcp.core.errors import BadAnswer, LumaError, NetworkFailure, ServiceUnavailable, SubmissionUnconfirmed
from luma_mcp.core.models import Clock, Limits, Status, Task, VideoRequest
from luma_mcp.core.storage_errors import LedgerUnusable
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.uploads import Uploads
from luma_mcp.runapi.client import RunAPI

BOUND_SECONDS = 180.0  # while RunAPI has certainly taken nothing
LEAST_UPLOADS = 3  # a long one that breaks is not over with the bound
STALE_SECONDS = 3600.0  # a clip that takes longer to upload is not paid for any more
KEEPING_SECONDS = 5.0
DOUBT_SECONDS = 30.0  # once an answer was lost: shorter than a call waits, so that it can say so

logger = logging.getLogger(__name__)


class Submission:
    """Submits tasks; every step is in the ledger before the next one depends on it.

    An intent may have been written by anybody, so all that was asked of the caller who made it is asked again: `check`
    is that of new requests, `limits` are the user's, and RunAPI calls back below one address only, if any. A network
    that cannot be reached is given up after `unreached_seconds`.
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
        unreached_seconds: float = math.inf,
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._uploads = uploads
        self._now = now
        self._limits = limits
        self._called_below = called_below
        self._check = check
        self._unreached_seconds = unreached_seconds
        self._vouched: set[str] = set()
        self._under_way = 0
        self._answered = anyio.Event()

    async def submit(self, task: Task) -> Task:
        """Bring a task to RunAPI; it comes back accepted, failed or unconfirmed, and is recorded as such.

        Raises `LedgerUnusable` when a step cannot be written: the task then stays as it was, to be submitted again
        under its key. Raises `LeaseLost` when another process has taken it over.
        """
        if not task.attempts and self._sendable(task):
            task = await self._prepare(task)
            if task.status.done:
                return task
            if abs(self._now() - task.wanted_at) <= STALE_SECONDS:
                return await self._send(task)
        elif self._sendable(task):
            return await self._send(task)
        known = task.status is Status.UNCONFIRMED
        return task if known else await self._ledger.record(expired(task, self._now()))

    def vouch(self, key: str) -> None:
        """Know that a caller has repeated the request of a task: a repetition needs no place within the limits."""
        self._vouched.add(key)

    async def answered(self) -> None:
        """Wait until each request that is on its way to RunAPI is answered, and the answer written down."""
        while self._under_way:
            await self._answered.wait()

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
        begun, failures, patience = anyio.current_time(), 0, Patience(self._unreached_seconds)
        while True:
            try:
                failpoints.reach("submission.preparing")
                url = await self._uploads.url(task)
                return await self._ledger.record(replace(task, source_url=url, error=None, failures=0))
            except LedgerUnusable:
                raise
            except LumaError as error:
                failures += 1
                wait = backoff(failures, jitter=random.random(), retry_after=error.retry_after)  # noqa: S311 - spreads load, guards nothing
                task = await self._ledger.get(task.key)
                over = failures >= LEAST_UPLOADS and anyio.current_time() + wait > begun + BOUND_SECONDS
                over |= (error.retry_after or 0) > BOUND_SECONDS or patience.is_over(error, wait)
                if over or not error.transient:
                    return await self._ledger.record(task.refused(error.failure(), self._now()))
                await self._tell_trouble(replace(task, failures=failures), error)
                await anyio.sleep(wait)
                task = await self._ledger.get(task.key)

    async def _send(self, task: Task) -> Task:
        in_doubt, failures, patience = task.charged == "unknown", 0, Patience(self._unreached_seconds)
        deadline = anyio.current_time() + (DOUBT_SECONDS if in_doubt else BOUND_SECONDS)
        while not task.attempts or self._sendable(task):
            try:
                return await self._attempt(task)
            except LedgerUnusable:
                raise
            except LumaError as error:
                failures += 1
                if error.charged == "unknown" and not in_doubt:
                    in_doubt, deadline = True, anyio.current_time() + DOUBT_SECONDS
                wait = backoff(failures, jitter=random.random(), retry_after=error.retry_after)  # noqa: S311 - spreads load, guards nothing
                known = replace(await self._ledger.get(task.key), charged="unknown" if in_doubt else "no")
                late = anyio.current_time() + wait > deadline or patience.is_over(error, wait)
                if late or not error.transient:
                    return await self._ledger.record(conclusion(known, error, self._now()))
                await self._tell_trouble(replace(known, failures=failures), error)
                await anyio.sleep(wait)
                task = await self._ledger.get(task.key)
        doubted = task.status is Status.UNCONFIRMED
        return task if doubted else await self._ledger.record(expired(task, self._now()))

    def _sendable(self, task: Task) -> bool:
        """Tell whether it is safe to send a task: it is young, not sent yet, and this account's.

        The key's name in a row also shows that a server wrote it which has the key: it is known to nobody else.
        """
        own = (task.origin, task.key_id) == (self._runapi.origin, self._runapi.key_id)
        unsent = not task.task_id and task.status in (Status.SUBMITTING, Status.UNCONFIRMED)
        return own and unsent and task.is_young(self._now())

    async def _attempt(self, task: Task) -> Task:
        """Send a task once, and write down what RunAPI took."""
        own = bool(self._called_below) and task.callback.startswith(self._called_below)
        sending = task.sending(task.callback if own else "", self._now())
        limits = Limits() if task.key in self._vouched else self._limits
        with self._sending():
            task = await self._ledger.note_sending(sending, limits, self._now())
            failpoints.reach("submission.sending")
            sent_at, answer = self._now(), await self._runapi.create(task)
            failpoints.reach("submission.answered")
            if await self._is_of_another(answer.task_id, task.key):
                raise BadAnswer("RunAPI named another task in its answer.", charged="unknown")
            made = task if answer.replayed else replace(task, sent_at=sent_at)
            return await self._keep(made.accepted(answer.task_id, answer.status, self._now()))

    async def _is_of_another(self, task_id: str, key: str) -> bool:
        """Tell whether an id in an answer is known to be that of another task."""
        try:
            return await self._ledger.is_of_another(task_id, key)
        except LedgerUnusable:
            return False  # the answer must not be lost for want of a ledger: writing it down waits for that

    @contextmanager
    def _sending(self) -> Generator[None]:
        """Be under way inside."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._answered.set()
            self._answered = anyio.Event()

    async def _keep(self, task: Task) -> Task:
        """Write down what RunAPI took, however long that is impossible: nothing else knows that it was paid for."""
        while True:
            try:
                return await self._ledger.record(task)
            except LedgerUnusable as error:
                logger.warning("Task %s cannot be written down yet: %s", task.task_id, error.message)
                await anyio.sleep(KEEPING_SECONDS)

    async def _tell_trouble(self, task: Task, error: LumaError) -> None:
        if task.status is not Status.UNCONFIRMED:
            await self._ledger.record(task.troubled(error.failure(), self._now()))


class Patience:
    """For how many seconds a network is waited for that cannot be reached."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = anyio.current_time()
        self._unreached = True

    def is_over(self, error: LumaError, wait: float) -> bool:
        """Tell whether to wait that many seconds after an error is too long; an error from there begins anew."""
        unreached = isinstance(error, NetworkFailure) and not error.sent
        if not (unreached and self._unreached):
            self._since, self._unreached = anyio.current_time(), unreached
        return unreached and anyio.current_time() + wait > self._since + self._seconds


def expired(task: Task, now: float) -> Task:
    """Conclude a submission that is found again too late: what was asked for that long ago must not cost money now."""
    if task.charged == "unknown":
        return task.unconfirmed(SubmissionUnconfirmed("This submission was never answered.").failure(), now)
    unsent = ServiceUnavailable("This request could not be sent.", hint="Call modify_video again.")
    return task.refused(unsent.failure(), now)


def conclusion(task: Task, error: LumaError, now: float) -> Task:
    """Decide what a submission that got no id has come to: a refusal ends it, unless an answer was lost before.

    No refusal says what an earlier attempt may have started.
    """
    if task.charged == "unknown":
        hint = (
            ""
            if error.transient
            else f"{error.hint} Then repeat the same modify_video call, which cannot be charged twice."
        )
        lost = SubmissionUnconfirmed(f"Whether RunAPI accepted this task is not known. {error.message}", hint=hint)
        return task.unconfirmed(lost.failure(), now)
    return task.refused(error.failure(), now)
