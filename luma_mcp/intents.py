"""From a request to a written intent: all checks that cost nothing, then the task to join or a new one (design 3.1)."""

from dataclasses import dataclass

import anyio
import anyio.to_thread

from luma_mcp.arguments import check_request
from luma_mcp.callbacks import callback_address
from luma_mcp.deliveries import Deliveries
from luma_mcp.errors import InvalidRequest
from luma_mcp.ledger import Ledger
from luma_mcp.models import Clock, Limits, Task, VideoRequest, new_key
from luma_mcp.runapi import RunAPI
from luma_mcp.saved_files import check_writable
from luma_mcp.settings import Settings
from luma_mcp.uploads import CheckedSource, Uploads


@dataclass(frozen=True, slots=True)
class Intents:
    """Writes down what callers want."""

    settings: Settings
    ledger: Ledger
    deliveries: Deliveries
    runapi: RunAPI
    uploads: Uploads
    now: Clock

    async def join_or_add(
        self, request: VideoRequest, caller: str, *, new_take: bool, seconds: float
    ) -> tuple[Task, bool]:
        """Check a request within some seconds, and give the task that it joins or makes; tell whether it joined.

        Raises a `LumaError`, charged "no".
        """
        source, fingerprint, read = await self._check_in_time(request, caller, seconds, new_take=new_take)
        limits = Limits(self.settings.max_active, self.settings.daily_limit)
        draft = self._draft(request, caller, source)
        found = await self.ledger.join_or_add(draft, fingerprint, limits, new_take=new_take, delivered=read)
        self.deliveries.forget(read)
        return found

    async def _check_in_time(
        self, request: VideoRequest, caller: str, seconds: float, *, new_take: bool
    ) -> tuple[CheckedSource, str, list[str]]:
        with anyio.move_on_after(seconds):
            source = await self._check(request, caller)
            fingerprint = request.fingerprint(caller, self.runapi.origin, source.digest)
            read = self.deliveries.sent_to(caller)
            if new_take or not await self._will_join(caller, fingerprint, read):
                await self._check_room(source)
            return source, fingerprint, read
        raise InvalidRequest(
            f"The source file or the output folder could not be read within {seconds:.0f} seconds.",
            hint="Repeat the call: reading goes on meanwhile. Or give a smaller file, or a longer wait_seconds.",
        )

    async def _check(self, request: VideoRequest, caller: str) -> CheckedSource:
        """Check all that can be checked without money; give what is known of the source."""
        check_request(request, self.settings.callback_hosts)
        self.runapi.check_ready()
        return await self.uploads.check(request.source, caller)

    async def _will_join(self, caller: str, fingerprint: str, read: list[str]) -> bool:
        """Tell whether a request is a repetition, which costs nothing and so needs no room for another video."""
        found = await self.ledger.joinable(caller, fingerprint)
        return found is not None and not (found.status.done and found.key in read)

    async def _check_room(self, source: CheckedSource) -> None:
        """Check that a video about as large as its source can be saved, before any money is spent."""
        if self.settings.saves:
            size = source.clip.size if source.clip else 0
            folder = self.settings.output_dir
            await anyio.to_thread.run_sync(check_writable, folder, size, abandon_on_cancel=True)

    def _draft(self, request: VideoRequest, caller: str, source: CheckedSource) -> Task:
        return Task(
            key=new_key(),
            caller=caller,
            request=request,
            created_at=self.now(),
            updated_at=self.now(),
            origin=self.runapi.origin,
            key_id=self.runapi.key_id,
            callback="" if request.callback_url else callback_address(self.settings.called_at),
            wants_file=self.settings.saves,
            source_digest=source.clip.digest if source.clip else "",
            source_bytes=source.clip.size if source.clip else None,
            source_seconds=source.clip.seconds if source.clip else None,
        )
