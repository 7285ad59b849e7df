"""Sees to it that every unfinished task is followed, here or in another process, and wakes those who wait."""

import logging
import math
from functools import partial

import anyio
from anyio.abc import TaskGroup

from luma_mcp.core.concurrency import Pause, guarded
from luma_mcp.core.errors import LumaError, ServiceUnavailable
from luma_mcp.core.models import FOLLOW_SECONDS, OUTPUT_LIFETIME_SECONDS, Clock, Status
from luma_mcp.core.storage_errors import DownloadFailed, TaskUnreadable
from luma_mcp.ledger.errors import LeaseLost
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import Downloads
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.callbacks import Callbacks
from luma_mcp.worker.follower import DOUBTED_SECONDS, Follower
from luma_mcp.worker.leases import ForeignTask
from luma_mcp.worker.submission import Submission

ROUND_SECONDS = 5.0
LEASE_SECONDS = 15.0
CRASHED_SECONDS = 600.0
CRASHED = "This server met a problem of its own with this task, and tries again in ten minutes."
LOOK_SECONDS = 1.0
RELEASE_SECONDS = 1.0
TAKEN_UP_AT_ONCE = 50
TIDY_SECONDS = 3600.0

logger = logging.getLogger(__name__)


class Tracker:
    """One follower a task, under a lease that keeps other processes on the same ledger away.

    The followers are stopped with their group; the ledger keeps what they were at.
    """

    def __init__(
        self,
        ledger: Ledger,
        runapi: RunAPI,
        submission: Submission,
        downloads: Downloads,
        callbacks: Callbacks,
        followers: TaskGroup,
        now: Clock,
        *,
        keep_days: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._account = (runapi.origin, runapi.key_id)
        self._follower = Follower(ledger, runapi, submission, downloads, callbacks, now, self._keep, self.tell)
        self._submission = submission
        self._downloads = downloads
        self._now = now
        self._keep_days = keep_days
        self._awake = anyio.Event()
        self._changed = anyio.Event()
        self._following: dict[str, Pause] = {}  # each with the wait before it tries to save again
        self._asked_once: set[str] = set()
        self._foreign: set[str] = set()  # what only servers with another RunAPI key can follow, or nobody can
        self._followers = followers
        self._tidied = -math.inf
        self._complaint = ""

    def wake(self) -> None:
        """Start attending: at the first real request, because a process that is only probed must do nothing."""
        self._awake.set()

    def follow(self, key: str) -> None:
        """Follow a task from now on, unless this or another process does."""
        if key not in self._following:
            self._following[key] = Pause()
            self._followers.start_soon(self._guard, key, name=f"follow {key}")

    def vouch(self, key: str) -> None:
        """Know that a caller has repeated the request of a task."""
        self._submission.vouch(key)

    def hurry(self, key: str) -> None:
        """Let a task that waits before it tries to save its video again try now."""
        if pause := self._following.get(key):
            pause.cut_short()

    async def changed(self) -> None:
        """Wait until something changed here, or long enough that another process may have changed something."""
        with anyio.move_on_after(LOOK_SECONDS):
            await self._changed.wait()

    # -- all tasks ----------------------------------------------------------------------------------------------------

    async def attend(self) -> None:
        """Take up what nobody attends to, for ever."""
        await self._awake.wait()
        while True:
            await guarded(self._look_after_all, otherwise=None, what="Going round the unfinished tasks")
            await anyio.sleep(ROUND_SECONDS)

    async def _look_after_all(self) -> None:
        """Go round once, and tidy up once an hour."""
        try:
            await self._go_round()
            if anyio.current_time() - self._tidied > TIDY_SECONDS:
                await self._tidy()
                self._tidied = anyio.current_time()
        except LumaError as error:
            if error.message != self._complaint:
                logger.warning("Unfinished tasks cannot be followed now: %s", error.message)
            self._complaint = error.message

    async def _go_round(self) -> None:
        """Prolong the leases held, and take up what nobody attends to.

        A task that is too old to be followed may have ended since: each process asks for it once.
        """
        now, account = self._now(), self._account
        if self._following:
            await self._ledger.renew(self._following, now + LEASE_SECONDS)
        recent = await self._ledger.unattended(*account, now, FOLLOW_SECONDS)
        older = set(await self._ledger.unattended(*account, now, OUTPUT_LIFETIME_SECONDS)).difference(recent)
        free = [key for key in (*recent, *(older - self._asked_once)) if key not in self._foreign]
        for key in free[:TAKEN_UP_AT_ONCE]:
            self.follow(key)
        self._asked_once |= older.intersection(free[:TAKEN_UP_AT_ONCE])

    async def _tidy(self) -> None:
        await self._downloads.tidy()
        if self._keep_days is not None:
            await self._ledger.forget(self._now(), self._keep_days)

    async def _hold(self, key: str) -> bool:
        return await self._ledger.claim(key, self._now(), self._now() + LEASE_SECONDS)

    async def _keep(self, key: str) -> bool:
        """Prolong a lease that is held; one that was lost is not taken again, as the task may have changed."""
        return await self._ledger.renew([key], self._now() + LEASE_SECONDS) == 1

    def tell(self) -> None:
        """Wake those who wait."""
        self._changed.set()
        self._changed = anyio.Event()

    # -- one task -----------------------------------------------------------------------------------------------------

    async def _guard(self, key: str) -> None:
        """Follow one task if nobody else does; what goes wrong with it goes wrong for it alone."""
        kept_for = 0.0
        try:
            kept_for = await guarded(
                partial(self._work_on, key), otherwise=CRASHED_SECONDS, what=f"Following task {key}"
            )
            if kept_for == CRASHED_SECONDS:
                await guarded(partial(self._tell_crash, key), otherwise=None, what=f"Telling of task {key}")
        finally:
            with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                await self._let_go(key, kept_for)
            del self._following[key]
            self.tell()

    async def _tell_crash(self, key: str) -> None:
        """Let whoever waits for a task know that nobody works on it for a while."""
        task = await self._ledger.get(key)
        crashed = DownloadFailed(CRASHED) if task.awaits_file else ServiceUnavailable(CRASHED, charged="unknown")
        if task.awaits_file or not task.status.done:
            await self._ledger.record(task.troubled(crashed.failure(), self._now()))

    async def _work_on(self, key: str) -> float:
        """Follow one task as far as it comes, and tell for how many seconds it is put aside then."""
        try:
            if await self._hold(key):
                return await self._follower.follow(await self._ledger.get(key), self._following[key])
        except LeaseLost:
            logger.info("Task %s is followed by another process now", key)
        except ForeignTask:
            self._foreign.add(key)
        except TaskUnreadable as error:
            logger.warning("%s", error.message)
            self._foreign.add(key)
        except LumaError as error:
            logger.warning("Task %s is put aside for %.0f s: %s", key, LEASE_SECONDS, error.message)
            return LEASE_SECONDS
        return 0.0

    async def _let_go(self, key: str, kept_for: float) -> None:
        doubted = Status.UNCONFIRMED if kept_for == DOUBTED_SECONDS else ""
        until = self._now() + kept_for if kept_for else 0.0
        try:
            await self._ledger.release(key, until, while_status=doubted)
        except LumaError as error:
            logger.debug("The lease on task %s runs out by itself: %s", key, error.message)
