"""Which clips lie at RunAPI, where, and how long: the same content is not uploaded twice while its URL lives."""

import sqlite3

from luma_mcp.core.models import OUTPUT_LIFETIME_SECONDS
from luma_mcp.ledger.database import LedgerFile
from luma_mcp.ledger.queries import FORGET_UPLOADS, REMEMBER_UPLOAD, UPLOADED
from luma_mcp.ledger.records import is_url


class LedgerUploads:
    """The table of uploaded clips. Every method raises `LedgerUnusable` when the file cannot be used."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    async def find(self, account: tuple[str, str], digest: str, until: float) -> str:
        """Give the URL of a content at an account that lives beyond a moment (POSIX seconds); empty for none."""
        latest = until + OUTPUT_LIFETIME_SECONDS  # nothing is kept for longer
        rows = await self._file.read(UPLOADED, (*account, digest, until, latest))
        return next((row["url"] for row in rows if is_url(row["url"])), "")

    async def remember(self, account: tuple[str, str], digest: str, url: str, expires_at: float, now: float) -> None:
        """Note where a content lies until when (POSIX seconds), and forget what has expired."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(FORGET_UPLOADS, (now, ""))
            db.execute(REMEMBER_UPLOAD, (*account, digest, url, expires_at))

        await self._file.write(write)

    async def forget(self, url: str, now: float) -> None:
        """Forget a URL that was of no use, and those that have expired."""
        await self._file.write(lambda db: db.execute(FORGET_UPLOADS, (now, url)).rowcount)
