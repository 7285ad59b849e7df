"""Which tasks changed, for those who want to know, whichever process changed them."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio

from luma_mcp.core.concurrency import Pause, Signals, guarded
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Change, LedgerPosition
from luma_mcp.ledger.ledger import Ledger

CHANGES_INTERVAL_SECONDS = 0.5  # clients are notified within a second
ALL_TASKS = ""  # stands for the list of tasks, which every change of a task changes too


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What changed for one caller."""

    task_ids: frozenset[str]  # with `ALL_TASKS` among them
    anything: bool  # any task may have changed, whatever `task_ids` says
    listed: bool  # so did the list of tasks: one came, went, or is in another state


Listener = Callable[[ChangeSet], None]

logger = logging.getLogger(__name__)


class Changes:
    """Reads the changes of the ledger twice a second, as long as somebody listens or waits for one.

    What this process changes itself is given to `changed` at once.
    """

    def __init__(self, ledger: Ledger, changed: Signals) -> None:
        self._ledger = ledger
        self._changed = changed
        self._listeners: dict[object, tuple[str, Listener]] = {}
        self._waiting = 0
        self._needed = anyio.Event()
        self._looking = anyio.Lock()
        self._since: LedgerPosition | None = None

    async def add_listener(self, caller: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each change of the caller's tasks from now on; give the function that removes it.

        Raises `LedgerUnusable`.
        """
        async with self._looking:
            await self._notify()  # brings the earlier listeners up to now
            token = object()
            self._listeners[token] = (caller, listener)
            self._needed.set()
        return partial(self._remove_listener, token)

    def _remove_listener(self, token: object) -> None:
        self._listeners.pop(token, None)
        self._rest_if_unneeded()

    @asynccontextmanager
    async def watch(self, key: str) -> AsyncGenerator[Pause]:
        """Give a pause that is cut short whenever the task changes, here or in another process.

        Raises `LedgerUnusable`.
        """
        with self._changed.expect(key) as pause:
            self._waiting += 1
            try:
                if not self._needed.is_set():
                    await self.catch_up()  # whatever changes later is told
                    self._needed.set()
                yield pause
            finally:
                self._waiting -= 1
                self._rest_if_unneeded()

    def _rest_if_unneeded(self) -> None:
        if self._needed.is_set() and not (self._listeners or self._waiting):  # else `run` waits for this very event
            self._needed = anyio.Event()
            self._since = None

    async def run(self) -> None:
        while True:
            if not self._needed.is_set():
                await self._ledger.stop_watching()
                await self._needed.wait()
            await guarded(self._look, otherwise=None, what="Looking for changed tasks")
            await anyio.sleep(CHANGES_INTERVAL_SECONDS)

    async def catch_up(self) -> None:
        """Call the listeners with what has changed up to now; raise `LedgerUnusable`."""
        async with self._looking:
            await self._notify()

    async def _look(self) -> None:
        try:
            await self.catch_up()
        except LumaError as error:
            logger.debug("What changed cannot be told now: %s", error.message)

    async def _notify(self) -> None:
        self._since, changed = await self._ledger.changes(self._since)
        self._signal(changed)
        listeners = list(self._listeners.values()) if changed else []
        news = {caller: change_set_for(caller, changed) for caller in {caller for caller, _ in listeners}}
        for caller, listener in listeners:
            if told := news[caller]:
                listener(told)

    def _signal(self, changed: Iterable[Change]) -> None:
        for key in {change.key for change in changed}:
            if key is None:
                self._changed.give_all()
            else:
                self._changed.give(key)


def change_set_for(caller: str, changes: Iterable[Change]) -> ChangeSet | None:
    """Sum up the changes for one caller; None if none is the caller's."""
    own = [change for change in changes if change.caller in (caller, None)]
    if not own:
        return None
    task_ids = frozenset(change.task_id or ALL_TASKS for change in own) | {ALL_TASKS}
    return ChangeSet(task_ids, any(change.task_id is None for change in own), any(change.listed for change in own))
