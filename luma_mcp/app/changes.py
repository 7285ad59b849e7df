"""Which tasks changed, for those who want to know, whichever process changed them."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import anyio

from luma_mcp.core.concurrency import guarded
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
    """Reads the changes of the ledger twice a second, as long as somebody listens."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._listeners: dict[object, tuple[str, Listener]] = {}
        self._listened = anyio.Event()
        self._looking = anyio.Lock()
        self._since: LedgerPosition | None = None

    async def add_listener(self, caller: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each change of the caller's tasks from now on; give the function that removes it.

        Raises `LedgerUnusable`.
        """
        async with self._looking:
            await self._notify_listeners()  # brings the earlier listeners up to now
            token = object()
            self._listeners[token] = (caller, listener)
            self._listened.set()
        return partial(self._remove_listener, token)

    def _remove_listener(self, token: object) -> None:
        self._listeners.pop(token, None)
        if not self._listeners:
            self._listened = anyio.Event()

    async def run(self) -> None:
        while True:
            await self._listened.wait()
            await guarded(self._look, otherwise=None, what="Looking for changed tasks")
            await anyio.sleep(CHANGES_INTERVAL_SECONDS)

    async def catch_up(self) -> None:
        """Call the listeners with what has changed up to now; raise `LedgerUnusable`."""
        async with self._looking:
            await self._notify_listeners()

    async def _look(self) -> None:
        try:
            await self.catch_up()
        except LumaError as error:
            logger.debug("What changed cannot be told now: %s", error.message)

    async def _notify_listeners(self) -> None:
        self._since, changed = await self._ledger.changes(self._since)
        listeners = list(self._listeners.values()) if changed else []
        news = {caller: change_set_for(caller, changed) for caller in {caller for caller, _ in listeners}}
        for caller, listener in listeners:
            if told := news[caller]:
                listener(told)


def change_set_for(caller: str, changes: Iterable[Change]) -> ChangeSet | None:
    """Sum up the changes for one caller; None if none is the caller's."""
    own = [change for change in changes if change.caller in (caller, None)]
    if not own:
        return None
    task_ids = frozenset(change.task_id or ALL_TASKS for change in own) | {ALL_TASKS}
    return ChangeSet(task_ids, any(change.task_id is None for change in own), any(change.listed for change in own))
