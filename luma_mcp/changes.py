"""Who wants to hear of changed tasks, and what they are told, whichever process changed them."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import anyio

from luma_mcp.background import guarded
from luma_mcp.errors import LumaError
from luma_mcp.ledger import Ledger
from luma_mcp.models import Change, Position

LOOK_SECONDS = 0.5  # what changed is told within a second

Listener = Callable[[Sequence[Change]], None]

logger = logging.getLogger(__name__)


class Changes:
    """Looks at the ledger twice a second, as long as somebody listens, and tells what changed since the look before."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._listeners: dict[object, Listener] = {}
        self._listened = anyio.Event()
        self._awake = anyio.Event()
        self._looking = anyio.Lock()
        self._since: Position | None = None

    def wake(self) -> None:
        """Start attending: a process that is only probed leaves the ledger alone."""
        self._awake.set()

    async def begin(self) -> None:
        """See to it that whatever changes from now on is told to those who listen then; raise `LedgerUnusable`."""
        async with self._looking:
            if self._since is None:
                self._since, _ = await self._ledger.changes(None)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call a listener with what changed, now and then; give the function that ends this."""
        token = object()
        self._listeners[token] = listener
        self._listened.set()
        return partial(self._forget, token)

    def _forget(self, token: object) -> None:
        self._listeners.pop(token, None)
        if not self._listeners:
            self._listened = anyio.Event()
            self._since = None

    async def attend(self) -> None:
        """Tell those who listen, for ever."""
        await self._awake.wait()
        while True:
            await self._listened.wait()
            await guarded(self._look, otherwise=None, what="Looking for changed tasks")
            await anyio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        try:
            async with self._looking:
                self._since, changed = await self._ledger.changes(self._since)
        except LumaError as error:
            logger.debug("What changed cannot be told now: %s", error.message)
            return
        if changed:
            for listener in list(self._listeners.values()):
                listener(changed)
