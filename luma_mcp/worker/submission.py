"""Submitting one intent to RunAPI: upload, POST under its key, until the outcome is known or cannot be."""

import logging
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

import anyio

from luma_mcp.core import failpoints
from luma_mcp.core.backoff import Backoff
from luma_mcp.core.concurrency import Signal
from luma_mcp.core.errors import (
    BadAnswer,
    KeyReplaced,
    LedgerUnusable,
    LumaError,
    NetworkFailure,
    ServiceUnavailable,
    SubmissionUnconfirmed,
)
from luma_mcp.core.models import Clock, Limits, Status, Task, VideoRequest, to_micros
from luma_mcp.core.observer import Observer
from luma_mcp.core.settings import Settings
from luma_mcp.ledger.errors import TaskIdTaken
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.uploads import Uploads
from luma_mcp.runapi.client import RunAPI

MAX_RETRY_SECONDS = 180.0  # as long as RunAPI has certainly taken nothing
MIN_UPLOAD_TRIES = 3  # even if one long upload that breaks has used up the time
STALE_SECONDS = 3600.0  # a clip that takes longer to upload is not paid for any more
RECORD_RETRY_SECONDS = 5.0
MAX_DOUBT_RETRY_SECONDS = 30.0  # once an answer was lost; shorter than a call waits, so that the call can say so
BACKOFF = Backoff()

logger = logging.getLogger(__name__)


class Submission:
    """Submits tasks; every step is in the ledger before the next one depends on it.

    Anybody may have written an intent into the ledger, so what was checked for the caller is checked again: `check` is
    the check of new requests, the limits are the user's, and callbacks go below one address only. A network that cannot
    be reached is given up after `unreached_seconds`.
    """

    def __init__(
        self,
        ledger: Ledger,
        runapi: RunAPI,
        uploads: Uploads,
        settings: Settings,
        now: Clock,
        observer: Observer,
        *,
        check: Callable[[VideoRequest], None],
        unreached_seconds: float = math.inf,
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._uploads = uploads
        self._now = now
        self._observer = observer
        self._limits = settings.limits
        self.never_pays = settings.never_pays
        self._callback_prefix = settings.callback_prefix
        self._check = check
        self._unreached_seconds = unreached_seconds
        self._exempt_keys: set[str] = set()
        self._under_way = 0
        self._answered = Signal()

    async def submit(self, task: Task) -> Task:
        """Bring a task to RunAPI; it comes back accepted, failed or unconfirmed, and recorded as such.

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
        return await self._conclude_unsendable(task)

    def exempt_from_limits(self, key: str) -> None:
        """Let a task go out whatever the limits: its request was repeated, and a repetition needs no place in them."""
        self._exempt_keys.add(key)

    async def leaves_to_others(self, key: str) -> bool:
        """Tell whether a task waits to be sent, or sent again, which a server that never pays does not do."""
        if not self.never_pays:
            return False
        task = await self._ledger.get(key)
        return not (task.task_id or task.status.done) and task.is_young(self._now())

    async def wait_until_answered(self) -> None:
        """Wait until each request on its way to RunAPI is answered, and the answer recorded."""
        while self._under_way:
            await self._answered.wait()

    async def forget_upload(self, task: Task) -> None:
        """Have the clip of a failed task uploaded anew if it is asked for again."""
        await self._uploads.forget_upload(task)

    async def _prepare(self, task: Task) -> Task:
        """Check again a request that was never sent, and bring its source; a fault ends it, charged "no"."""
        try:
            self._check(task.request)
        except LumaError as error:
            return await self._ledger.record(task.refused(error.failure(), self._now()))
        return await self._bring_source(task)

    async def _bring_source(self, task: Task) -> Task:
        """Find or upload the source, from its beginning if that breaks off: until then nothing can cost money."""
        tries = Tries(MAX_RETRY_SECONDS, self._unreached_seconds, at_least=MIN_UPLOAD_TRIES)
        while True:
            try:
                failpoints.reach("submission.preparing")
                url = await self._uploads.resolve_url(task)
                brought = replace(task, source_url=url, error=None, failures=0)
                # an address as the caller gave it is written down with the sending
                return brought if url == task.request.source else await self._ledger.record(brought)
            except LedgerUnusable:
                raise
            except LumaError as error:
                wait = tries.wait_after(error)
                task = await self._ledger.get(task.key)
                if wait is None:
                    return await self._ledger.record(task.refused(error.failure(), self._now()))
                task = await self._wait(replace(task, failures=tries.failures), error, wait)

    async def _send(self, task: Task) -> Task:
        in_doubt = task.charged == "unknown"
        tries = Tries(MAX_DOUBT_RETRY_SECONDS if in_doubt else MAX_RETRY_SECONDS, self._unreached_seconds)
        while not task.attempts or self._sendable(task):
            try:
                return await self._attempt(task)
            except LedgerUnusable:
                raise
            except LumaError as error:
                if error.charged == "unknown" and not in_doubt:
                    in_doubt = True
                    tries.end_within(MAX_DOUBT_RETRY_SECONDS)
                wait = tries.wait_after(error)
                known = replace(await self._ledger.get(task.key), charged="unknown" if in_doubt else "no")
                known = self._with_current_key(known)  # for the next try, and for whoever goes on after a crash
                if wait is None:
                    return await self._ledger.record(conclusion(known, error, self._now()))
                task = await self._wait(replace(known, failures=tries.failures), error, wait)
        return await self._conclude_unsendable(task)

    async def _conclude_unsendable(self, task: Task) -> Task:
        return task if task.status is Status.UNCONFIRMED else await self._ledger.record(expired(task, self._now()))

    async def _wait(self, task: Task, error: LumaError, seconds: float) -> Task:
        if task.status is not Status.UNCONFIRMED:
            await self._ledger.record(task.troubled(error.failure(), self._now()))
        await anyio.sleep(seconds)
        return await self._ledger.get(task.key)

    def _sendable(self, task: Task) -> bool:
        """Tell whether a task may be sent: young, not answered yet, and of this account.

        The key's id in a row also shows that a server with the key wrote it: nobody else knows that id.
        """
        unsent = not task.task_id and task.status in (Status.SUBMITTING, Status.UNCONFIRMED)
        own = self._with_current_key(task).account == self._runapi.account
        return own and unsent and task.is_young(self._now())

    def _with_current_key(self, task: Task) -> Task:
        """Give a task that RunAPI certainly does not have to the key that took the place of its own, refused one."""
        is_free = task.charged == "no" and self._runapi.has_replaced(task.key_id)
        return replace(task, key_id=self._runapi.key_id) if is_free else task

    async def _attempt(self, task: Task) -> Task:
        own = bool(self._callback_prefix) and task.callback.startswith(self._callback_prefix)
        sending = task.sending(task.callback if own else "", self._now())
        price = to_micros(self._runapi.known_price_usd)
        limits = Limits() if task.key in self._exempt_keys else replace(self._limits, price=price)
        with self._request_under_way():
            task = await self._ledger.record_sending(sending, limits, self._now())
            failpoints.reach("submission.sending")
            if task.key_id != self._runapi.key_id:  # what is sent must go out with the key that is written down
                raise KeyReplaced("RunAPI refused the key that this task was to be sent with.")
            with self._observer.operation("submission", task.caller, task.key):
                sent_at, answer = self._now(), await self._runapi.create_task(task)
            failpoints.reach("submission.answered")
            made = task if answer.replayed else replace(task, sent_at=sent_at)
            return await self._record_accepted(made.accepted(answer.task_id, answer.status, self._now()))

    @contextmanager
    def _request_under_way(self) -> Generator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._answered.give()

    async def _record_accepted(self, task: Task) -> Task:
        """Record what RunAPI took, trying for ever: nothing else knows that it was paid for.

        Raises `BadAnswer` if another task has its id.
        """
        while True:
            try:
                return await self._ledger.record_accepted(task)
            except TaskIdTaken as error:
                raise BadAnswer("RunAPI named another task in its answer.", charged="unknown") from error
            except LedgerUnusable as error:
                logger.warning("Task %s cannot be written down yet: %s", task.task_id, error.message)
                await anyio.sleep(RECORD_RETRY_SECONDS)


class Tries:
    """Decides after each failure how long to wait for another try, or that it is too late for one.

    No try begins after `seconds`, once at least `at_least` have failed, nor after `unreached_seconds` of a network that
    cannot be reached.
    """

    def __init__(self, seconds: float, unreached_seconds: float, *, at_least: int = 0) -> None:
        self.failures = 0
        self._seconds = seconds
        self._ends_at = anyio.current_time() + seconds
        self._at_least = at_least
        self._unreached_seconds = unreached_seconds
        self._unreached_since: float | None = anyio.current_time()

    def end_within(self, seconds: float) -> None:
        """Allow no try that would begin later than so many seconds from now."""
        self._ends_at = anyio.current_time() + seconds

    def wait_after(self, error: LumaError) -> float | None:
        """Count a failure, and give the seconds to wait; None if there is to be no other try."""
        self.failures += 1
        wait = BACKOFF.after(self.failures, error.retry_after)
        begins_at = anyio.current_time() + wait
        late = self.failures >= self._at_least and begins_at > self._ends_at
        late |= (error.retry_after or 0) > self._seconds or begins_at > self._gives_network_up_at(error)
        return None if late or not error.transient else wait

    def _gives_network_up_at(self, error: LumaError) -> float:
        """Give the time at which an unreachable network is given up; any answer starts that time anew."""
        if not isinstance(error, NetworkFailure) or error.sent:
            self._unreached_since = None
            return math.inf
        if self._unreached_since is None:
            self._unreached_since = anyio.current_time()
        return self._unreached_since + self._unreached_seconds


def expired(task: Task, now: float) -> Task:
    """End a submission that is found again too late: what was asked for that long ago must not cost money now."""
    if task.charged == "unknown":
        return task.unconfirmed(SubmissionUnconfirmed("This submission was never answered.").failure(), now)
    unsent = ServiceUnavailable("This request could not be sent.", hint="Call modify_video again.")
    return task.refused(unsent.failure(), now)


def conclusion(task: Task, error: LumaError, now: float) -> Task:
    """End a submission that got no id: as refused, unless an earlier attempt may have been accepted."""
    if task.charged == "unknown":
        hint = (
            ""
            if error.transient
            else f"{error.hint} Then repeat the same modify_video call, which cannot be charged twice."
        )
        lost = SubmissionUnconfirmed(f"Whether RunAPI accepted this task is not known. {error.message}", hint=hint)
        return task.unconfirmed(lost.failure(), now)
    return task.refused(error.failure(), now)
