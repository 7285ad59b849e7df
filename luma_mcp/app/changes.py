"""Who wants to hear of changed tasks, and what they are told, whichever process changed them."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import anyio

from luma_mcp.core.concurrency import guarded
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Change, Position
from luma_mcp.ledger.ledger import Ledger

LOOK_SECONDS = 0.5  # what changed is told within a second
ALL_TASKS = ""  # what every change of a task changes too


@dataclass(frozen=True, slots=True)
class News:
    """What changed for one caller: these tasks with `ALL_TASKS`, or perhaps any of them; and whether their list did."""

    task_ids: frozenset[str]
    anything: bool
    listed: bool


Listener = Callable[[News], None]

logger = logging.getLogger(__name__)


class Changes:
    """Looks at the ledger twice a second, as long as somebody listens, and tells what changed since the look before."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._listeners: dict[object, tuple[str, Listener]] = {}
        self._listened = anyio.Event()
        self._looking = anyio.Lock()
        self._since: Position | None = None

    async def listen(self, caller: str, listener: Listener) -> Callable[[], None]:
        """Call a listener with what changes for a caller from now on; give the function that ends this.

        Raises `LedgerUnusable`.
        """
        async with self._looking:
            await self._tell()  # those who listen already, up to now
            token = object()
            self._listeners[token] = (caller, listener)
            self._listened.set()
        return partial(self._forget, token)

    def _forget(self, token: object) -> None:
        self._listeners.pop(token, None)
        if not self._listeners:
            self._listened = anyio.Event()

    async def attend(self) -> None:
        """Tell those who listen, for ever."""
        while True:
            await self._listened.wait()
            await guarded(self._look, otherwise=None, what="Looking for changed tasks")
            await anyio.sleep(LOOK_SECONDS)

    async def catch_up(self) -> None:
        """Tell those who listen what has changed up to now; raise `LedgerUnusable`."""
        async with self._looking:
            await self._tell()

    async def _look(self) -> None:
        try:
            await self.catch_up()
        except LumaError as error:
            logger.debug("What changed cannot be told now: %s", error.message)

    async def _tell(self) -> None:
        self._since, changed = await self._ledger.changes(self._since)
        listeners = list(self._listeners.values()) if changed else []
        news = {caller: news_for(caller, changed) for caller in {caller for caller, _ in listeners}}
        for caller, listener in listeners:
            if told := news[caller]:
                listener(told)


def news_for(caller: str, changes: Iterable[Change]) -> News | None:
    """Sum up what changed for one caller."""
    own = [change for change in changes if change.caller in (caller, None)]
    if not own:
        return None
    task_ids = frozenset(change.task_id or ALL_TASKS for change in own) | {ALL_TASKS}
    return News(task_ids, any(change.task_id is None for change in own), any(change.listed for change in own))
