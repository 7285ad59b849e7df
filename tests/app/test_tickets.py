"""Tickets: which servers take them, for what and how long, and what becomes of uploads that fail or race."""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from luma_mcp.app.tickets import (
    ID_BYTES,
    TICKET_SECONDS,
    LinkedVideoElsewhere,
    Signer,
    TicketSpent,
    TicketUnknown,
    UploadOffer,
)
from luma_mcp.core.errors import MissingApiKey, SourceNotFound
from luma_mcp.core.models import SANDBOX_ORIGIN, UploadTicket
from luma_mcp.media.clips import Clip
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import Rig, open_rig, sandbox_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
VIDEO = bundled_clip().read_bytes()
HTTP: dict[str, Any] = {"transport": "http", "public_url": "https://luma.example.com", "save": "auto"}
WEEK = 7 * 86_400.0


async def pieces(content: bytes = VIDEO) -> AsyncGenerator[bytes]:
    for begin in range(0, len(content), 50_000):
        await anyio.sleep(0.1)
        yield content[begin : begin + 50_000]


def ticket_of(offer: UploadOffer) -> str:
    return offer.path.rpartition("/")[2]


async def sent(rig: Rig, offer: UploadOffer, content: bytes = VIDEO) -> Clip:
    ticket = await rig.app.find_upload(ticket_of(offer))
    return await rig.app.receive_upload(ticket, pieces(content), None)


@pytest.fixture
async def replicas(home: Path) -> AsyncGenerator[tuple[Rig, Rig]]:
    """Two servers of one account on one ledger, each with a folder of its own for videos."""
    sandbox = sandbox_for(home)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_rig(home, sandbox=sandbox, **HTTP))
        other = {**HTTP, "output_dir": home / "elsewhere"}
        yield first, await stack.enter_async_context(open_rig(home, sandbox=sandbox, clock=first.clock, **other))


async def test_a_ticket_is_good_on_any_server_of_the_account_and_once_on_all_of_them(
    replicas: tuple[Rig, Rig],
) -> None:
    one, other = replicas
    offer = await one.app.offer_upload("ann")
    assert (await sent(other, offer)).size == len(VIDEO)
    with pytest.raises(TicketSpent):
        await one.app.find_upload(ticket_of(offer))
    outcome = await one.ask(source=offer.source, caller="ann")
    assert (outcome.task.source_bytes, outcome.task.request.source) == (len(VIDEO), offer.source)


async def test_of_many_who_use_a_ticket_at_once_on_several_servers_one_is_served(replicas: tuple[Rig, Rig]) -> None:
    offer = await replicas[0].app.offer_upload("ann")
    results: list[object] = []

    async def send(rig: Rig) -> None:
        try:
            results.append(await sent(rig, offer))
        except TicketSpent as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        for rig in replicas * 3:
            group.start_soon(send, rig)
    assert [isinstance(result, Clip) for result in results].count(True) == 1
    assert sum(seen.method == "PUT" for seen in replicas[0].sandbox.recorded_requests) == 1


async def test_a_server_that_has_another_key_or_ledger_or_purpose_reads_no_ticket(home: Path) -> None:
    async with open_rig(home, **HTTP) as rig, open_rig(home / "other", **HTTP) as other:
        content = bytes(range(ID_BYTES))
        signer = Signer(rig.parts.ledger, rig.parts.runapi)
        ticket = await signer.sign("upload", content)
        assert await signer.read("upload", ticket, ID_BYTES) == content
        with pytest.raises(TicketUnknown):
            await signer.read("video", ticket, ID_BYTES)
        with pytest.raises(TicketUnknown):
            await Signer(other.parts.ledger, rig.parts.runapi).read("upload", ticket, ID_BYTES)
        rig.parts.runapi.api_key = SecretStr("runapi_live_another")
        with pytest.raises(TicketUnknown):
            await signer.read("upload", ticket, ID_BYTES)


async def test_a_ticket_with_any_letter_changed_is_none(home: Path) -> None:
    async with open_rig(home, **HTTP) as rig:
        signer = Signer(rig.parts.ledger, rig.parts.runapi)
        ticket = await signer.sign("upload", bytes(ID_BYTES + 3))  # as many as leave no bits over
        for at, letter in enumerate(ticket[:-1]):
            changed = f"{ticket[:at]}{'B' if letter == 'A' else 'A'}{ticket[at + 1 :]}"
            with pytest.raises(TicketUnknown):
                await signer.read("upload", changed, ID_BYTES + 3)


async def test_without_a_key_nothing_can_be_uploaded(home: Path) -> None:
    async with open_rig(home, api_key="", **HTTP) as rig:
        with pytest.raises(MissingApiKey):
            await rig.app.offer_upload("ann")


class Broken(Exception):
    """The connection of who sends is gone."""


async def broken() -> AsyncIterator[bytes]:
    yield VIDEO[:1000]
    raise Broken


async def test_an_upload_that_fails_or_is_cancelled_leaves_the_ticket_good(home: Path) -> None:
    async with open_rig(home, **HTTP) as rig:
        offer = await rig.app.offer_upload("ann")
        ticket = await rig.app.find_upload(ticket_of(offer))
        with pytest.raises(Broken):
            await rig.app.receive_upload(ticket, broken(), None)
        with anyio.move_on_after(0.15):
            await rig.app.receive_upload(ticket, pieces(), None)
        with pytest.raises(SourceNotFound):
            await rig.app.receive_upload(ticket, pieces(VIDEO[:5000]), None)
        assert [*(rig.app.settings.tasks_dir / "received").iterdir()] == []
        await sent(rig, offer)


async def test_a_server_that_was_killed_leaves_a_ticket_that_is_not_used_by_two(home: Path) -> None:
    async with open_rig(home, **HTTP) as rig:
        offer = await rig.app.offer_upload("ann")
        ticket = await rig.app.find_upload(ticket_of(offer))
        assert await rig.parts.ledger.tickets.claim(ticket.id, rig.clock())
        with pytest.raises(TicketSpent):
            await rig.app.find_upload(ticket_of(offer))
        with pytest.raises(TicketSpent):
            await rig.app.receive_upload(ticket, pieces(), None)


async def test_a_clip_can_be_used_for_half_an_hour_at_least_though_its_content_was_known(home: Path) -> None:
    async with open_rig(home, **HTTP) as rig:
        await sent(rig, await rig.app.offer_upload("ann"))
        rig.clock.jumped += 2400
        offer = await rig.app.offer_upload("bob")
        await sent(rig, offer)
        rig.clock.jumped += 1800
        assert (await rig.ask(source=offer.source, caller="bob")).task.status.done
        assert sum(seen.method == "PUT" for seen in rig.sandbox.recorded_requests) == 2


async def test_tickets_by_which_nothing_came_are_forgotten(home: Path) -> None:
    async with open_rig(home, **HTTP) as rig:
        offer = await rig.app.offer_upload("ann")
        rig.clock.jumped += TICKET_SECONDS
        with pytest.raises(TicketSpent):
            await rig.app.find_upload(ticket_of(offer))
        rig.clock.jumped += 86_400
        await rig.app.offer_upload("ann")
        with pytest.raises(TicketUnknown):
            await rig.app.find_upload(ticket_of(offer))


FORGED: list[dict[str, Any]] = [
    {"state": "arrived", "digest": ""},
    {"state": "arrived", "digest": "md5:x:1"},
    {"state": "open", "digest": f"md5:{'A' * 22}==:5"},
    {"state": "arrived", "digest": f"md5:{'A' * 22}==:5", "seconds": float("inf")},
]


@pytest.mark.parametrize("change", FORGED)
async def test_a_row_that_this_server_cannot_have_written_is_none(home: Path, change: dict[str, Any]) -> None:
    async with open_rig(home, **HTTP) as rig:
        written = UploadTicket("A" * 16, "ann", "open", rig.clock() + 60)._replace(**change)
        await rig.parts.ledger.tickets.add(written, rig.clock())
        assert await rig.parts.ledger.tickets.find("A" * 16) is None


async def test_a_replica_without_the_file_says_that_another_saved_it(replicas: tuple[Rig, Rig]) -> None:
    one, other = replicas
    task = (await one.ask(caller="ann")).task
    one.clock.jumped += WEEK + 1
    link = (await one.app.outcome(task)).video_link
    assert link is not None
    ticket = link.url.rpartition("/")[2]
    found = await one.app.open_linked_video(ticket)
    assert not isinstance(found, str)
    assert found.path == Path(task.video_path)
    with pytest.raises(LinkedVideoElsewhere, match=Path(task.video_path).name):
        await other.app.open_linked_video(ticket)


async def test_there_is_a_link_only_to_a_saved_video_that_runapi_does_not_give_any_more(home: Path) -> None:
    async with open_rig(home, **HTTP) as rig:
        task = (await rig.ask(caller="ann")).task
        assert await rig.parts.video_links.link(task) is None
        rig.clock.jumped += WEEK + 1
        assert await rig.parts.video_links.link(task) is not None
        assert await rig.parts.video_links.link(replace(task, video_path="")) is None
        assert await replace(rig.parts.video_links, public_url="").link(task) is None
        rig.clock.jumped = 0.0
        assert await rig.parts.video_links.link(replace(task, origin=SANDBOX_ORIGIN)) is not None


async def test_a_link_to_a_task_that_is_not_there_any_more_leads_nowhere(home: Path) -> None:
    async with open_rig(home, **HTTP) as rig:
        task = (await rig.ask(caller="ann")).task
        rig.clock.jumped += WEEK + 1
        link = await rig.parts.video_links.link(task)
        await rig.parts.ledger.forget(rig.clock() + WEEK, 1)
        assert link is not None
        with pytest.raises(TicketUnknown):
            await rig.app.open_linked_video(link.url.rpartition("/")[2])


async def test_a_clip_that_a_killed_server_left_behind_is_removed_by_the_next_one(
    home: Path, inline_threads: None
) -> None:
    left, fresh = (home / "data" / "received" / name for name in ("left", "fresh"))
    for place in (left, fresh):
        place.mkdir(parents=True)
        (place / "upload.mp4").write_bytes(b"private")
    os.utime(left, (0, 0))
    async with open_rig(home) as rig:
        rig.app.start_tracker()
        await anyio.sleep(10)
    assert (left.exists(), fresh.exists()) == (False, True)
