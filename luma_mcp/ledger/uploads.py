"""Which clips lie at RunAPI already, so that none is uploaded twice while its link lives."""

from luma_mcp.core.models import OUTPUT_LIFETIME_SECONDS
from luma_mcp.ledger.records import is_url
from luma_mcp.ledger.store import Connection, Store

REMEMBER_UPLOAD = """
    INSERT INTO uploads VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (origin, key_id, digest) DO UPDATE SET url = excluded.url, expires_at = excluded.expires_at"""


class LedgerUploads:
    """The table of uploaded clips. Every method raises `LedgerUnusable` when the file cannot be used."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find_url(self, account: tuple[str, str], digest: str, until: float) -> str:
        """Give the URL that an account (origin, key id) has of a content after `until` (POSIX seconds); else empty."""
        query = """
            SELECT url FROM uploads WHERE origin = ? AND key_id = ? AND digest = ? AND expires_at > ?
                -- RunAPI keeps nothing for longer: this was not written by us, or by another clock
                AND expires_at < ?"""
        rows = await self._store.read(query, (*account, digest, until, until + OUTPUT_LIFETIME_SECONDS))
        return next((row["url"] for row in rows if is_url(row["url"])), "")

    async def remember(self, account: tuple[str, str], digest: str, url: str, expires_at: float, now: float) -> None:
        """Note the URL of a content and when it expires (POSIX seconds), and forget those that have expired."""

        def write(db: Connection) -> None:
            db.execute("DELETE FROM uploads WHERE expires_at <= ?", (now,))
            db.execute(REMEMBER_UPLOAD, (*account, digest, url, expires_at))

        await self._store.write(write)

    async def forget(self, url: str, now: float) -> None:
        """Forget a URL that was of no use, and those that have expired."""
        query = "DELETE FROM uploads WHERE expires_at <= ? OR url = ?"
        await self._store.change(query, (now, url))
