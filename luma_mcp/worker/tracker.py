"""Which unfinished task is followed by whom: here or in another process, under leases."""

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import anyio
from anyio.abc import TaskGroup, TaskStatus

from luma_mcp.core import failpoints
from luma_mcp.core.concurrency import guarded
from luma_mcp.core.errors import DownloadFailed, LumaError, ServiceUnavailable, TaskUnreadable
from luma_mcp.core.models import FOLLOW_SECONDS, OUTPUT_LIFETIME_SECONDS, Clock, Task
from luma_mcp.core.observer import Observer
from luma_mcp.core.settings import Settings
from luma_mcp.ledger.errors import LeaseLost
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import Downloads
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.callbacks import CALLED_POLL_SECONDS, Callbacks
from luma_mcp.worker.follower import Cooldown, Followed, Follower, LookAgain, TaskOfOtherKey
from luma_mcp.worker.schedule import Rate, Schedule
from luma_mcp.worker.submission import Submission
from luma_mcp.worker.usual_times import UsualTimes

ROUND_SECONDS = 5.0
LEASE_SECONDS = 12.0  # two rounds may fail; whoever is gone is followed after at most one round more
CRASH_COOLDOWN = Cooldown(600.0)  # the ten minutes of `CRASHED`
CRASHED = "This server met a problem of its own with this task, and tries again in ten minutes."
RELEASE_SECONDS = 1.0
TAKEN_AT_ONCE = 200  # tasks in one transaction: others wait no longer than that takes
TIDY_SECONDS = 3600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrackerLoad:
    """How much a server has to look after: tasks due to be looked at, tasks whose time is yet to come, leases held."""

    due: int
    waiting: int
    leases: int


class Tracker:
    """Looks at each followed task when it is due, under a lease that keeps other processes on the same ledger away.

    What is being done for tasks is cancelled with `run`; the ledger keeps how far it was. Looks that were waited for
    share the setting `polls_per_second`, with those of other servers too; a task that somebody asks for is looked at
    at once. `tidies` remove, now and then, what killed servers left on the disk.
    """

    def __init__(
        self,
        ledger: Ledger,
        runapi: RunAPI,
        submission: Submission,
        downloads: Downloads,
        callbacks: Callbacks,
        usual_times: UsualTimes,
        settings: Settings,
        now: Clock,
        notify_changed: Callable[[str], None],
        observer: Observer,
        tidies: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        called = self._look_after_call
        self._follower = Follower(
            ledger, runapi, submission, downloads, callbacks, usual_times, now, notify_changed, called, observer
        )
        self._submission = submission
        self._tidies = tidies
        self._callbacks = callbacks
        self._now = now
        self._notify_changed = notify_changed
        self._observer = observer
        self._keep_days = settings.keep_days
        self._awake = anyio.Event()
        self._following: dict[str, Followed] = {}
        self._schedule = Schedule()
        self._rate = Rate(settings.polls_per_second)
        self._looks: TaskGroup | None = None  # while it runs
        self._answered: set[str] = set()  # of the tasks too old to be followed, those that RunAPI has told of
        self._foreign: set[tuple[str, str]] = set()  # tasks of no use to a RunAPI key, or unreadable, and its id
        self._tidied = -math.inf
        self._complaint = ""

    def start(self) -> None:
        """Begin to look for unfinished tasks: at the first real request, as a mere probe must cause no work."""
        self._awake.set()

    def follow(self, key: str) -> None:
        """Follow a task, unless this or another process does."""
        if key not in self._following:
            self._following[key] = Followed(key, trace=self._observer.trace())
            self._start_look(key)

    def follow_new(self, task: Task) -> None:
        """Follow a task that was added just now, already leased to this server."""
        if task.key not in self._following:  # a round may have found it between
            self._following[task.key] = Followed(task.key, is_held=True, task=task, trace=self._observer.trace())
            self._start_look(task.key)

    def is_foreign(self, key: str) -> bool:
        """Tell whether RunAPI was asked for a task of another key, and does not tell this server's key of it."""
        return (key, self._runapi.key_id) in self._foreign

    @property
    def load(self) -> TrackerLoad:
        """Count what this server follows."""
        due, scheduled = self._schedule.count()
        return TrackerLoad(due, scheduled - due, sum(followed.is_held for followed in self._following.values()))

    def retry_save_now(self, key: str) -> None:
        """Cut short the wait before the next try to save a video."""
        followed = self._following.get(key)
        if followed and followed.save_failures and self._schedule.remove(key):
            self._start_look(key)
        elif followed:
            followed.saves_again_now = True

    def _look_after_call(self, key: str) -> None:
        """Look at a task that RunAPI called about; calls cause at most one poll in `CALLED_POLL_SECONDS`."""
        followed = self._following[key]
        followed.is_called = True
        self._schedule.hasten(key, seconds_until_called_look(followed))

    # -- all tasks ----------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look for tasks that nobody follows, and at each that is followed when it is due, for ever."""
        try:
            async with anyio.create_task_group() as self._looks:
                task_status.started()
                self._looks.start_soon(self._look_at_due, name="look at due tasks")
                await self._awake.wait()
                while True:
                    await guarded(self._look_after_all, otherwise=None, what="Going round the unfinished tasks")
                    await anyio.sleep(ROUND_SECONDS)
        finally:
            with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                await self._release_all()

    async def _look_at_due(self) -> None:
        while True:
            key = await self._schedule.next()
            await self._rate.wait()
            self._start_look(key)

    def _start_look(self, key: str) -> None:
        if self._looks:
            self._looks.start_soon(self._look, key, name=f"follow {key}")

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
        """Keep the leases held, and follow what nobody follows, or what is leased to this server without its knowing.

        A task too old to be followed may have ended since: each process asks for it until there is an answer.
        """
        now, (origin, key_id) = self._now(), self._runapi.account
        if self._following:
            await self._ledger.say_alive(now + LEASE_SECONDS)
        await self._ledger.free_tasks_of_silent_servers(now)
        self._rate.share(await self._ledger.count_servers(now))
        find = partial(self._ledger.find_unattended, origin, key_id, now, pays=not self._submission.never_pays)
        recent = await find(FOLLOW_SECONDS)
        older = set(await find(OUTPUT_LIFETIME_SECONDS)).difference(recent)
        free = [key for key in (*recent, *(older - self._answered)) if (key, key_id) not in self._foreign]
        self._answered &= older
        await self._follow_leased()
        for keys in batched(free, TAKEN_AT_ONCE):
            self._take_up(await self._claim(keys))

    async def _follow_leased(self) -> None:
        """Follow what is leased to this server without its knowing; what is not, any more, is read again when due."""
        leased = set(await self._ledger.leased())
        for key in self._following.keys() - leased:
            self._following[key].task = None
        self._take_up(leased)

    def _take_up(self, leased: Iterable[str]) -> None:
        for key in leased:
            if key not in self._following:
                self._following[key] = Followed(key, is_held=True)
                self._schedule.add(key, 0.0)

    async def _tidy(self) -> None:
        with anyio.move_on_after(ROUND_SECONDS):  # on a disk that hangs, rounds have to go on
            for tidy in self._tidies:
                await tidy()
        if self._keep_days is not None:
            await self._ledger.forget(self._now(), self._keep_days)

    async def _claim(self, keys: list[str]) -> set[str]:
        claimed = await self._ledger.claim(keys, self._now(), self._now() + LEASE_SECONDS)
        failpoints.reach("lease.taken")
        return claimed

    async def _release_all(self) -> None:
        try:
            if self._awake.is_set():
                await self._ledger.release_all()
        except LumaError as error:
            logger.debug("The leases run out by themselves: %s", error.message)

    # -- one task -----------------------------------------------------------------------------------------------------

    async def _look(self, key: str) -> None:
        """Look at one task; a bug ends its following alone, and the task is left alone for `CRASH_COOLDOWN`."""
        followed = self._following[key]
        if followed.is_called:
            followed.is_called, followed.earliest_after_call = False, anyio.current_time() + CALLED_POLL_SECONDS
        work = partial(self._work_on, followed)
        with self._observer.within(followed.trace):
            then: LookAgain | Cooldown | None = await guarded(
                work, otherwise=CRASH_COOLDOWN, what=f"Following task {key}"
            )
        if isinstance(then, LookAgain):
            self._schedule.add(key, seconds_until_next_look(followed, then))
            followed.saves_again_now = False
            return
        if then is CRASH_COOLDOWN:
            await guarded(partial(self._record_crash, key), otherwise=None, what=f"Telling of task {key}")
        self._callbacks.forget(followed.callback)
        await self._release_lease(key, then)
        del self._following[key]
        self._notify_changed(key)

    async def _record_crash(self, key: str) -> None:
        task = await self._ledger.get(key)
        crashed = DownloadFailed(CRASHED) if task.needs_saving else ServiceUnavailable(CRASHED, charged="unknown")
        if task.needs_saving or not task.status.done:
            await self._ledger.record(task.troubled(crashed.failure(), self._now()))

    async def _work_on(self, followed: Followed) -> LookAgain | Cooldown | None:
        """Do what is to be done for a task now; give the time for which nobody is to try again."""
        key = followed.key
        try:
            if await self._submission.leaves_to_others(key):
                return None
            followed.is_held = followed.is_held or bool(await self._claim([key]))
            if not followed.is_held:
                return None
            then = await self._follower.look(followed)
            if then is None:
                self._answered.add(key)
            return then
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
            logger.debug("The next round takes task %s up again: %s", key, error.message)


def seconds_until_called_look(followed: Followed) -> float:
    return max(0.0, followed.earliest_after_call - anyio.current_time())


def seconds_until_next_look(followed: Followed, then: LookAgain) -> float:
    """Wait as the follower wants, unless RunAPI called during its look, or a caller asked for a video to be saved."""
    if followed.save_failures and followed.saves_again_now:
        return 0.0
    return min(then.seconds, seconds_until_called_look(followed)) if followed.is_called else then.seconds


def batched(keys: list[str], size: int) -> Iterator[list[str]]:
    """Give a list in pieces of at most `size`."""
    return (keys[begin : begin + size] for begin in range(0, len(keys), size))
