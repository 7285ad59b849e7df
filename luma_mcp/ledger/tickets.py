"""Which uploads callers elsewhere were offered, and what came by them."""

import secrets

from luma_mcp.core.models import DAY_SECONDS, UploadTicket
from luma_mcp.ledger.records import ticket_of
from luma_mcp.ledger.store import Connection, Store


class LedgerTickets:
    """The table of upload tickets, and of what came by them. Every method raises `LedgerUnusable`, as others do."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, ticket: UploadTicket, now: float) -> None:
        """Note a new ticket, and forget those by which nothing came in time."""

        def write(db: Connection) -> None:
            # what has begun to arrive may take as long again
            db.execute("DELETE FROM tickets WHERE state <> 'arrived' AND expires_at <= ?", (now - DAY_SECONDS,))
            values = (ticket.id, ticket.caller, ticket.state, ticket.expires_at, ticket.digest, ticket.seconds)
            db.execute("INSERT INTO tickets VALUES (?, ?, ?, ?, ?, ?)", values)

        await self._store.write(write)

    async def find(self, ticket_id: str) -> UploadTicket | None:
        """Give a ticket, whosever it is; None for an unknown one."""
        rows = await self._store.read("SELECT * FROM tickets WHERE id = ?", (ticket_id,))
        return next((ticket for row in rows if (ticket := ticket_of(row))), None)

    async def secret(self) -> str:
        """Give the secret of this ledger's tickets, which is made when it is first needed."""
        query = "SELECT value FROM secrets WHERE name = 'tickets'"
        if not (rows := await self._store.read(query, ())):
            insertion = "INSERT INTO secrets VALUES ('tickets', ?) ON CONFLICT (name) DO NOTHING"
            await self._store.change(insertion, (secrets.token_hex(32),))
            rows = await self._store.read(query, ())
        return str(rows[0]["value"])

    async def claim(self, ticket_id: str, now: float) -> bool:
        """Let one upload begin; tell whether it may: nobody else's has, and the ticket has not expired."""
        query = "UPDATE tickets SET state = 'arriving' WHERE id = ? AND state = 'open' AND expires_at > ?"
        return bool(await self._store.change(query, (ticket_id, now)))

    async def release(self, ticket_id: str) -> bool:
        """Let another upload begin in place of one that has failed; tell whether one had begun."""
        query = "UPDATE tickets SET state = 'open' WHERE id = ? AND state = 'arriving'"
        return bool(await self._store.change(query, (ticket_id,)))

    async def use(self, ticket_id: str, digest: str, seconds: float | None) -> bool:
        """Note which content has arrived, for good; tell whether an upload had begun."""
        query = "UPDATE tickets SET state = 'arrived', digest = ?, seconds = ? WHERE id = ? AND state = 'arriving'"
        return bool(await self._store.change(query, (digest, seconds, ticket_id)))

    async def forget(self, before: float) -> int:
        """Forget tickets that expired before a moment in POSIX seconds, and what came by them; give how many."""
        return await self._store.change("DELETE FROM tickets WHERE expires_at < ?", (before,))
