"""Which unfinished task is followed by whom: here or in another process, under leases."""

import logging
import math
from functools import partial

import anyio
from anyio.abc import TaskGroup

from luma_mcp.core.concurrency import Pause, Signal, guarded
from luma_mcp.core.errors import DownloadFailed, LumaError, ServiceUnavailable, TaskUnreadable
from luma_mcp.core.models import FOLLOW_SECONDS, OUTPUT_LIFETIME_SECONDS, Clock
from luma_mcp.ledger.errors import LeaseLost
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import Downloads
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.callbacks import Callbacks
from luma_mcp.worker.follower import Cooldown, Follower, TaskOfOtherKey
from luma_mcp.worker.submission import Submission

ROUND_SECONDS = 5.0
LEASE_SECONDS = 15.0
CRASH_COOLDOWN = Cooldown(600.0)  # the ten minutes of `CRASHED`
CRASHED = "This server met a problem of its own with this task, and tries again in ten minutes."
CHANGE_WAIT_SECONDS = 1.0
RELEASE_SECONDS = 1.0
MAX_STARTED_PER_ROUND = 50
TIDY_SECONDS = 3600.0

logger = logging.getLogger(__name__)


class Tracker:
    """Runs one follower for each task, under a lease that keeps other processes on the same ledger away.

    Followers are cancelled with their task group; the ledger keeps how far they were.
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
        self._runapi = runapi
        self._follower = Follower(
            ledger, runapi, submission, downloads, callbacks, now, self._renew_lease, self.notify_waiters
        )
        self._submission = submission
        self._downloads = downloads
        self._now = now
        self._keep_days = keep_days
        self._awake = anyio.Event()
        self._changed = Signal()
        self._following: dict[str, Pause] = {}  # by key; the pause before the next try to save
        self._asked_once: set[str] = set()
        self._foreign: set[tuple[str, str]] = set()  # tasks of no use to a RunAPI key, or unreadable, and its id
        self._followers = followers
        self._tidied = -math.inf
        self._complaint = ""

    def start(self) -> None:
        """Begin to look for unfinished tasks: at the first real request, as a mere probe must cause no work."""
        self._awake.set()

    def follow(self, key: str) -> None:
        """Follow a task, unless this or another process does."""
        if key not in self._following:
            self._following[key] = Pause()
            self._followers.start_soon(self._guard, key, name=f"follow {key}")

    def exempt_from_limits(self, key: str) -> None:
        """Let a task go out whatever the limits, as its request was repeated."""
        self._submission.exempt_from_limits(key)

    def retry_save_now(self, key: str) -> None:
        """Cut short the wait before the next try to save a video."""
        if pause := self._following.get(key):
            pause.cut_short()

    async def wait_for_change(self) -> None:
        """Wait until a task changed here, or long enough that another process may have changed one."""
        with anyio.move_on_after(CHANGE_WAIT_SECONDS):
            await self._changed.wait()

    # -- all tasks ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for tasks that nobody follows, for ever."""
        await self._awake.wait()
        while True:
            await guarded(self._look_after_all, otherwise=None, what="Going round the unfinished tasks")
            await anyio.sleep(ROUND_SECONDS)

    async def _look_after_all(self) -> None:
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
        """Renew the leases held, and follow what nobody follows.

        A task too old to be followed may have ended since: each process asks for it once.
        """
        now, (origin, key_id) = self._now(), self._runapi.account
        if self._following:
            await self._ledger.renew(self._following, now + LEASE_SECONDS)
        recent = await self._ledger.find_unattended(origin, key_id, now, FOLLOW_SECONDS)
        older = set(await self._ledger.find_unattended(origin, key_id, now, OUTPUT_LIFETIME_SECONDS)).difference(recent)
        free = [key for key in (*recent, *(older - self._asked_once)) if (key, key_id) not in self._foreign]
        for key in free[:MAX_STARTED_PER_ROUND]:
            self.follow(key)
        self._asked_once |= older.intersection(free[:MAX_STARTED_PER_ROUND])

    async def _tidy(self) -> None:
        await self._downloads.tidy()
        if self._keep_days is not None:
            await self._ledger.forget(self._now(), self._keep_days)

    async def _claim_lease(self, key: str) -> bool:
        return await self._ledger.claim(key, self._now(), self._now() + LEASE_SECONDS)

    async def _renew_lease(self, key: str) -> bool:
        """Renew a lease that is held; a lost one is not claimed again, as the task may have changed meanwhile."""
        return await self._ledger.renew([key], self._now() + LEASE_SECONDS) == 1

    def notify_waiters(self) -> None:
        """Wake all who wait for a change."""
        self._changed.give()

    # -- one task -----------------------------------------------------------------------------------------------------

    async def _guard(self, key: str) -> None:
        """Follow one task; a bug ends that follower alone, and its task is left alone for `CRASH_COOLDOWN`."""
        cooldown: Cooldown | None = None
        try:
            cooldown = await guarded(
                partial(self._work_on, key), otherwise=CRASH_COOLDOWN, what=f"Following task {key}"
            )
            if cooldown is CRASH_COOLDOWN:
                await guarded(partial(self._record_crash, key), otherwise=None, what=f"Telling of task {key}")
        finally:
            with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                await self._release_lease(key, cooldown)
            del self._following[key]
            self.notify_waiters()

    async def _record_crash(self, key: str) -> None:
        task = await self._ledger.get(key)
        crashed = DownloadFailed(CRASHED) if task.needs_saving else ServiceUnavailable(CRASHED, charged="unknown")
        if task.needs_saving or not task.status.done:
            await self._ledger.record(task.troubled(crashed.failure(), self._now()))

    async def _work_on(self, key: str) -> Cooldown | None:
        """Follow one task as far as it comes; give the time for which nobody is to try again."""
        try:
            if await self._submission.leaves_to_others(key):
                return None
            if await self._claim_lease(key):
                return await self._follower.follow(await self._ledger.get(key), self._following[key])
        except LeaseLost:
            logger.info("Task %s is followed by another process now", key)
        except TaskOfOtherKey:
            self._foreign.add((key, self._runapi.key_id))
        except TaskUnreadable as error:
            logger.warning("%s", error.message)
            self._foreign.add((key, self._runapi.key_id))
        except LumaError as error:
            logger.warning("Task %s is put aside for %.0f s: %s", key, LEASE_SECONDS, error.message)
            return Cooldown(LEASE_SECONDS)
        return None

    async def _release_lease(self, key: str, cooldown: Cooldown | None) -> None:
        until = self._now() + cooldown.seconds if cooldown else 0.0
        try:
            await self._ledger.release(key, until, while_status=(cooldown and cooldown.while_status) or "")
        except LumaError as error:
            logger.debug("The lease on task %s runs out by itself: %s", key, error.message)
