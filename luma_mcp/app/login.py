"""The first key, by RunAPI's page, while a server runs: one page at a time, whoever asks for it."""

import logging
import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from luma_mcp.core.concurrency import guarded
from luma_mcp.core.errors import LumaError, MissingApiKey
from luma_mcp.core.runapi_file import check_runapi_file, store_key
from luma_mcp.core.settings import USUAL_BASE_URL
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.login import PAGE_SECONDS, LoginFailed

if TYPE_CHECKING:
    from luma_mcp.runapi.login_page import OpenLogin

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class PendingLogin:
    """A login that a person may finish on RunAPI's page within `PAGE_SECONDS`."""

    url: str = field(repr=False)
    display_code: str  # stands on the page, too
    name: str = field(default_factory=partial(secrets.token_urlsafe, 16))
    ended: anyio.Event = field(default_factory=anyio.Event)
    failure: LumaError | None = None  # why there is no key, once it has ended; `MissingApiKey` if nobody agreed


class KeyLogins:
    """Has a person get a key on RunAPI's page, and puts it into RunAPI's own file, where every server finds it."""

    def __init__(self, runapi: RunAPI, background: TaskGroup) -> None:
        self._runapi = runapi
        self._background = background
        self._opening = anyio.Lock()
        self._last: PendingLogin | None = None

    async def open(self) -> PendingLogin:
        """Give the login that is under way, or a new one.

        Raises `RunAPIFileUnusable` if a key could not be kept, and `OSError` if no port can be opened.
        """
        async with self._opening:
            if self._last is None or self._last.ended.is_set():
                await anyio.to_thread.run_sync(check_runapi_file)
                self._last = await self._background.start(self._run, name="login")
            return self._last

    def find(self, name: str) -> PendingLogin | None:
        """Give the last login by its name, also one that has ended; None for any other."""
        return self._last if self._last and self._last.name == name else None

    async def _run(self, *, task_status: TaskStatus[PendingLogin]) -> None:
        from luma_mcp.runapi.login_page import open_login  # noqa: PLC0415 - only a server without a key needs it

        async with open_login(self._runapi.origin) as login:
            pending = PendingLogin(login.url, login.display_code)
            task_status.started(pending)
            try:
                work = partial(self._take_key, login)
                pending.failure = await guarded(work, otherwise=MissingApiKey(), what="Getting a RunAPI key")
            finally:
                pending.ended.set()

    async def _take_key(self, login: "OpenLogin") -> LumaError | None:
        """Wait for the page's answer and store the key that it stands for; give the failure if there is none."""
        try:
            with anyio.move_on_after(PAGE_SECONDS):
                code = await login.code()
                new = await login.key(self._runapi.connection, code)
                store = partial(store_key, new.key, self._runapi.origin, USUAL_BASE_URL)
                path = await anyio.to_thread.run_sync(store)
                logger.info("A key from RunAPI's page is in %s now", path)
                return None
        except LoginFailed as failure:
            logger.info("RunAPI's page gave no key: %s", failure.message)
            return MissingApiKey()
        except LumaError as failure:
            return failure
        return MissingApiKey()
