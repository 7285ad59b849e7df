"""From a request to its task: the one that it has, or a new intent after all checks that cost nothing."""

from dataclasses import dataclass

import anyio
import anyio.to_thread

from luma_mcp.app.arguments import check_callback, check_words
from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import Clock, Limits, Task, VideoRequest, new_key
from luma_mcp.core.settings import Settings
from luma_mcp.core.storage_errors import TaskUnreadable
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.clips import Clip
from luma_mcp.media.files import check_writable
from luma_mcp.media.uploads import Uploads
from luma_mcp.runapi.client import RunAPI
from luma_mcp.worker.callbacks import callback_address


@dataclass(frozen=True, slots=True)
class Intents:
    """Writes down what callers want: the same request is the same task."""

    settings: Settings
    ledger: Ledger
    runapi: RunAPI
    uploads: Uploads
    now: Clock

    async def join_or_add(self, request: VideoRequest, caller: str, *, seconds: float) -> tuple[Task, bool]:
        """Give the task of a request, or write down a new one after checks within some seconds; tell whether it joined.

        A repetition needs no key, no room on the disk, no place within the limits, and its callback does not matter.
        Raises a `LumaError`, charged "no".
        """
        check_words(request)
        name, task, joined = await self._find_or_draft(request, caller, seconds)
        if not joined:
            limits = Limits(self.settings.max_active, self.settings.daily_limit)
            task, joined = await self.ledger.join_or_add(task, name, limits)
        check_name(task, name, request.take)
        return task, joined

    async def _find_or_draft(self, request: VideoRequest, caller: str, seconds: float) -> tuple[str, Task, bool]:
        """Name a request, and give the task that it has or a new one; tell whether it has one."""
        with anyio.move_on_after(seconds):
            clip = await self.uploads.named_clip(request.source)
            name = request.name(caller, self.runapi.origin, clip.digest if clip else "")
            found = await self.ledger.of_request(caller, name, request.take)
            return name, found or await self._draft(request, caller, clip), found is not None
        raise InvalidRequest(
            f"The source file or the output folder could not be read within {seconds:.0f} seconds.",
            hint="Repeat the call: reading goes on meanwhile. Or give a smaller file, or a longer wait_seconds.",
        )

    async def _draft(self, request: VideoRequest, caller: str, named: Clip | None) -> Task:
        """Make a new task, after all checks that cost nothing; its source may be a clip that names it."""
        check_callback(request, self.settings.callback_hosts)
        self.runapi.check_ready()
        clip = named or await self.uploads.kept_output(request.source, caller)
        await self._check_room(clip.size if clip else 0)
        return Task(
            key=new_key(),
            caller=caller,
            request=request,
            created_at=self.now(),
            updated_at=self.now(),
            wanted_at=self.now(),
            origin=self.runapi.origin,
            key_id=self.runapi.key_id,
            callback="" if request.callback_url else callback_address(self.settings.called_at),
            wants_file=self.settings.saves,
            source_digest=clip.digest if clip else "",
            source_bytes=clip.size if clip else None,
            source_seconds=clip.seconds if clip else None,
        )

    async def _check_room(self, size: int) -> None:
        """Check that a video about as large as its source can be saved, before any money is spent."""
        if self.settings.saves:
            folder = self.settings.output_dir
            await anyio.to_thread.run_sync(check_writable, folder, size, abandon_on_cancel=True)


def check_name(task: Task, name: str, take: int) -> None:
    """Raise `TaskUnreadable` for a task that the ledger holds under the name of another request."""
    if (task.request.name(task.caller, task.origin, task.source_digest), task.request.take) != (name, take):
        raise TaskUnreadable(f"The ledger holds task {task.task_id or task.key} under the name of another request.")
