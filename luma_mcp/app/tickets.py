"""Tickets: addresses that let whoever has one do one thing for an hour, on whichever server of the account they arrive.

A ticket is signed with a secret that those servers share and nobody else can know: it is made of the account's key and
of a random one in the ledger, as some have a key that everybody knows (the sandbox), or none.
"""

import base64
import binascii
import hmac
import secrets
import struct
import uuid
from collections.abc import AsyncIterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import anyio

from luma_mcp.core.errors import SourceNotFound, TaskNotFound
from luma_mcp.core.models import SANDBOX_ORIGIN, Clock, Status, Task, UploadTicket
from luma_mcp.core.uris import UPLOADS_PATH, VIDEOS_PATH, upload_uri
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.clips import MAX_CLIP_BYTES, Clip
from luma_mcp.media.received import ReceivedClips
from luma_mcp.media.uploads import Uploads
from luma_mcp.runapi.client import RunAPI

TICKET_SECONDS = 3600.0
SIGNATURE_BYTES = 16
ID_BYTES = 12
VIDEO = struct.Struct(">16sI")  # the task's key, and when the ticket expires (POSIX seconds)
MAX_TICKET_LENGTH = 100
RELEASE_SECONDS = 5.0
NO_TICKET = "There is nothing at this address."
TicketKind = Literal["upload", "video"]


class TicketUnknown(SourceNotFound):
    """Nobody was given this ticket, or its time is long over."""

    def __init__(self) -> None:
        super().__init__(NO_TICKET, hint="Ask for a new address.")


class TicketSpent(SourceNotFound):
    """A ticket has expired, was used, or is being used."""

    def __init__(self) -> None:
        words = "This address has expired, was used before, or is in use."
        super().__init__(words, hint="Ask for a new address.")


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs what a ticket says, and reads what was signed."""

    ledger: Ledger
    runapi: RunAPI

    async def sign(self, kind: TicketKind, content: bytes) -> str:
        """Give a ticket for an address; raise `LedgerUnusable`."""
        signed = content + await self._signature(kind, content)
        return base64.urlsafe_b64encode(signed).decode().rstrip("=")

    async def read(self, kind: TicketKind, ticket: str, length: int) -> bytes:
        """Give the `length` bytes that a ticket says; raise `TicketUnknown` or `LedgerUnusable`."""
        signed = b""
        if len(ticket) <= MAX_TICKET_LENGTH and ticket.isascii():
            with suppress(binascii.Error):
                signed = base64.b64decode(ticket + "=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
        content, signature = signed[:length], signed[length:]
        if not hmac.compare_digest(signature, await self._signature(kind, content)):
            raise TicketUnknown
        return content

    async def secret(self, purpose: str) -> bytes:
        """Give a secret for one purpose that the account's servers on this ledger share; raise `LedgerUnusable`."""
        self.runapi.look_for_key()
        shared = await self.ledger.tickets.secret()
        return hmac.digest(self.runapi.derive_secret(purpose), shared.encode(), "sha256")

    async def _signature(self, kind: TicketKind, content: bytes) -> bytes:
        secret = await self.secret("tickets")
        return hmac.digest(secret, kind.encode() + b"\0" + content, "sha256")[:SIGNATURE_BYTES]


class UploadOffer(NamedTuple):
    """Where a clip may be sent, once, and what names it then."""

    path: str  # below this server's address
    source: str
    expires_at: float  # POSIX seconds
    most: int  # bytes


@dataclass(frozen=True, slots=True)
class UploadDesk:
    """Gives tickets to callers, and takes the clips that come by them."""

    signer: Signer
    ledger: Ledger
    runapi: RunAPI
    uploads: Uploads
    received: ReceivedClips
    now: Clock

    async def offer(self, caller: str) -> UploadOffer:
        """Let a caller send one clip within `TICKET_SECONDS`; raise `MissingApiKey` or `LedgerUnusable`."""
        self.runapi.check_ready()
        content, until = secrets.token_bytes(ID_BYTES), self.now() + TICKET_SECONDS
        upload_id = id_of(content)
        await self.ledger.tickets.add(UploadTicket(upload_id, caller, "open", until), self.now())
        path = f"{UPLOADS_PATH}/{await self.signer.sign('upload', content)}"
        return UploadOffer(path, upload_uri(upload_id), until, MAX_CLIP_BYTES)

    async def find(self, ticket: str) -> UploadTicket:
        """Give what a ticket stands for; raise `TicketUnknown`, `TicketSpent` or `LedgerUnusable`."""
        found = await self.ledger.tickets.find(id_of(await self.signer.read("upload", ticket, ID_BYTES)))
        if found is None:
            raise TicketUnknown
        if found.state != "open" or found.expires_at <= self.now():
            raise TicketSpent
        return found

    async def receive(self, ticket: UploadTicket, pieces: AsyncIterable[bytes], size: int | None) -> Clip:
        """Pass a clip on to RunAPI; only then the ticket is used up, after any failure it is good for another try.

        Raises `TicketSpent`, `SourceNotFound` for what is no video that is taken, `OutputNotWritable`, the failures of
        uploads, and what `pieces` raises.
        """
        self.runapi.check_ready()
        if not await self.ledger.tickets.claim(ticket.id, self.now()):
            raise TicketSpent
        try:
            async with self.received.received(pieces, size) as path:
                clip = await self.uploads.bring_received(path, ticket.caller)
            await self.ledger.tickets.use(ticket.id, clip.digest, clip.seconds)
        finally:
            with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                await self.ledger.tickets.release(ticket.id)
        return clip


def id_of(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode()


class VideoLink(NamedTuple):
    """An address of this server's at which a saved video is given."""

    url: str
    expires_at: float  # POSIX seconds


class LinkedVideoElsewhere(SourceNotFound):
    """A saved video lies where another server of this account has put it, or nowhere any more."""

    def __init__(self, task: Task) -> None:
        super().__init__(
            f"RunAPI does not keep this video any more, and this server does not have its file. It was saved as"
            f" {Path(task.video_path).name} by the server that saved it."
            if task.video_path
            else "RunAPI does not keep this video any more, and nobody saved it.",
            hint="Ask whoever runs this server: its servers need one output folder together (LUMA_MCP_OUTPUT_DIR).",
        )


@dataclass(frozen=True, slots=True)
class VideoLinks:
    """Gives links to saved videos in place of RunAPI's own that lead nowhere any more."""

    signer: Signer
    ledger: Ledger
    public_url: str  # of this server; empty where none is known
    now: Clock

    async def link(self, task: Task) -> VideoLink | None:
        """Give a link to a task's saved video; None where there is no file, or where RunAPI's link still works."""
        saved = self.public_url and task.status is Status.COMPLETED and task.video_path
        if not saved or works_at_runapi(task, self.now()):
            return None
        until = int(self.now() + TICKET_SECONDS)
        ticket = await self.signer.sign("video", VIDEO.pack(uuid.UUID(task.key).bytes, until))
        return VideoLink(f"{self.public_url}{VIDEOS_PATH}/{ticket}", float(until))

    async def read(self, ticket: str) -> Task:
        """Give the task that a ticket lets its video be seen of.

        Raises `TicketUnknown`, `TicketSpent` or `LedgerUnusable`.
        """
        key, until = VIDEO.unpack(await self.signer.read("video", ticket, VIDEO.size))
        if until <= self.now():
            raise TicketSpent
        try:
            return await self.ledger.get(str(uuid.UUID(bytes=key)))
        except TaskNotFound:
            raise TicketUnknown from None


def works_at_runapi(task: Task, now: float) -> bool:
    """Tell whether RunAPI's link to a finished video leads somewhere, as far as is known; the sandbox's never does."""
    return bool(task.video_urls) and task.is_available(now) and task.origin != SANDBOX_ORIGIN
