"""Tickets for uploads: one upload has one, however many servers are asked."""

from contextlib import closing

import anyio
import pytest

from luma_mcp.core.models import UploadTicket
from luma_mcp.ledger.ledger import Ledger
from tests.support.ledgers import Another
from tests.support.rig import EPOCH

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
DIGEST = f"md5:{'A' * 22}==:12345"


async def test_a_ticket_is_claimed_by_one_server_until_it_is_released_or_used(another: Another) -> None:
    with closing(another()) as one, closing(another()) as other:
        ticket = UploadTicket("A" * 16, "ann", "open", EPOCH + 60)
        await one.tickets.add(ticket, EPOCH)
        assert await other.tickets.find(ticket.id) == ticket
        claims: list[bool] = []

        async def claim(ledger: Ledger) -> None:
            claims.append(await ledger.tickets.claim(ticket.id, EPOCH))

        async with anyio.create_task_group() as group:
            for ledger in (one, other) * 5:
                group.start_soon(claim, ledger)
        assert sorted(claims) == [False] * 9 + [True]
        assert await other.tickets.release(ticket.id)
        assert not await other.tickets.use(ticket.id, DIGEST, 5.2)
        assert not await other.tickets.claim(ticket.id, EPOCH + 60)
        assert await other.tickets.claim(ticket.id, EPOCH + 59)
        assert await other.tickets.use(ticket.id, DIGEST, 5.2)
        assert not await one.tickets.release(ticket.id)
        assert not await one.tickets.claim(ticket.id, EPOCH)
        used = ticket._replace(state="arrived", digest=DIGEST, seconds=5.2)
        assert await one.tickets.find(ticket.id) == used


async def test_what_came_by_tickets_is_forgotten_with_tasks_and_what_did_not_come_after_a_day(
    another: Another,
) -> None:
    with closing(another()) as ledger:
        kept, waiting = (UploadTicket(letter * 16, "ann", "open", EPOCH) for letter in "AB")
        for ticket in (kept, waiting):
            await ledger.tickets.add(ticket, EPOCH - 60)
        await ledger.tickets.claim(kept.id, EPOCH - 60)
        await ledger.tickets.use(kept.id, DIGEST, None)
        await ledger.tickets.add(UploadTicket("C" * 16, "ann", "open", EPOCH + 90_000), EPOCH + 86_400)
        assert [await ledger.tickets.find(ticket.id) is None for ticket in (kept, waiting)] == [False, True]
        await ledger.forget(EPOCH + 2 * 86_400 + 1, 2)
        assert await ledger.tickets.find(kept.id) is None


async def test_all_servers_have_one_secret_for_tickets_however_many_ask_first(another: Another) -> None:
    found: list[str] = []

    async def ask(ledger: Ledger) -> None:
        found.append(await ledger.tickets.secret())

    with closing(another()) as one, closing(another()) as other:
        async with anyio.create_task_group() as group:
            for ledger in (one, other) * 5:
                group.start_soon(ask, ledger)
    assert (len(set(found)), len(found), len(found[0])) == (1, 10, 64)
