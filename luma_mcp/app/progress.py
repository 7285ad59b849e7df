"""Progress that is never invented: moved by bytes and by time spent generating, and by nothing else."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from luma_mcp.core.models import RUNNING, Status, Task
from luma_mcp.media.transfers import Transfer
from luma_mcp.worker.polling import DOCUMENTED, DurationProfile, estimate

HEARTBEAT_SECONDS = 5.0
DUE_SHARE = 0.9  # of a heartbeat: whoever waits for one waits by another clock than `now`
NUDGE = 0.01  # added where nothing moves: the protocol wants each value higher than the last
TOTAL = 100.0
CEILING = 99.0  # all bytes of the video are here, and it has not got its name yet
UPLOADED_PROGRESS = 10.0  # the clip is uploaded, if there is one to upload
GENERATED = 90.0  # the video is finished, and still to be saved
GENERATING = (Status.PENDING, Status.PROCESSING)
MAX_ERROR_LENGTH = 200

Report = Callable[[float, float, str], Awaitable[None]]
"""Takes progress, total and message."""
Describe = Callable[[Task, DurationProfile, float, Transfer | None], str]
"""Says how a task goes, given the usual durations, the time (POSIX seconds) and what is being moved."""


@dataclass(frozen=True, slots=True)
class LastReport:
    """What was last reported, and when (POSIX seconds)."""

    value: float
    stage: str
    at: float


def stage(task: Task) -> str:
    if task.is_uploading:
        return "uploading the clip"
    return "saving the video" if task.needs_saving else task.status.value


def describe(
    task: Task, known: DurationProfile, now: float, moved: Transfer | None = None, *, foretells: bool = False
) -> str:
    """Describe in one line the stage, its bytes and seconds, the number of the try, and what holds the task up.

    With `foretells` it says how long the generation usually takes also before that has begun.
    """
    told = [stage(task), *describe_amount(moved), describe_duration(task, now)]
    if task.failures and is_active(task):
        told.append(f"try {task.failures + 1}")
    line = ", ".join(told) + error_suffix(task, moved)
    if task.status in GENERATING:
        return f"{line}{'; ' if task.error else ', '}usually {known.range_text}"
    is_before = foretells and task.status is Status.SUBMITTING
    return f"{line}; a generation usually takes {known.range_text}" if is_before else line


def describe_amount(moved: Transfer | None) -> list[str]:
    if moved is None or not (moved.done or moved.total):
        return []
    done = f"{moved.done / 1e6:.1f}"
    return [f"{done} of {moved.total / 1e6:.1f} MB" if moved.total else f"{done} MB"]


def describe_duration(task: Task, now: float) -> str:
    took = "generation took " if task.task_id and not is_active(task) else ""
    return f"{took}{seconds_in_stage(task, now):.0f} s"


def error_suffix(task: Task, moved: Transfer | None) -> str:
    """Say what holds a task up; once bytes move again, its error is of the past."""
    if task.error is None or not is_active(task) or (moved and moved.done):
        return ""
    words = task.error.message.rstrip(".")
    return f": {words}" if len(words) <= MAX_ERROR_LENGTH else f": {words[:MAX_ERROR_LENGTH]}…"


def is_active(task: Task) -> bool:
    """Tell whether a task is on its way to a saved video, or to its end if it is not to be saved."""
    return task.status in RUNNING or task.needs_saving


def seconds_in_stage(task: Task, now: float) -> float:
    """Give the seconds since the present stage began; of what has ended, those of the generation."""
    if task.is_uploading:
        return max(0.0, now - task.created_at)
    if task.needs_saving:
        return max(
            0.0, now - max(task.finished_at or 0.0, task.updated_at)
        )  # it finished long ago if it is saved on request
    return task.generating_seconds(now)


def progress_of(task: Task, known: DurationProfile, now: float, moved: Transfer | None = None) -> float:
    """Give the progress, 0 to `TOTAL`: upload, generation and saving have a share of it each.

    While RunAPI cannot be asked (`task.error`), the generation counts no further than when that began.
    """
    share = moved.share if moved else 0.0
    has_clip = task.source_bytes is not None
    begin = UPLOADED_PROGRESS if has_clip else 0.0
    end = GENERATED if task.wants_file else TOTAL
    if task.needs_saving:
        return GENERATED + (CEILING - GENERATED) * share
    if task.status is Status.COMPLETED:
        return TOTAL
    if has_clip and not task.source_url:
        return begin * share
    if not task.task_id:
        return begin
    return begin + (end - begin) * estimate(task.generating_seconds(task.updated_at if task.error else now), known)


async def report_to_nobody(value: float, total: float, message: str) -> None:
    """Be the `Report` of a caller who wants no progress."""
    del value, total, message


class Progress:
    """Reports one task to one caller: at each change of stage, and as a heartbeat between.

    The protocol wants each value higher than the last: if `strictly`, a value that would stand still is nudged.
    """

    def __init__(
        self,
        report: Report,
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        strictly: bool = True,
        describe: Describe = describe,
    ) -> None:
        self.profile: DurationProfile | None = None  # set by whoever waits, once: it stays while the caller waits
        self._report = report
        self.heartbeat_seconds = heartbeat_seconds
        self._strictly = strictly
        self._describe = describe
        self._last: LastReport | None = None

    async def report_if_due(self, task: Task, now: float, moved: Transfer | None = None) -> None:
        """Report if the stage changed or the heartbeat is due; `now` is in POSIX seconds."""
        last, known = self._last, self.profile or DOCUMENTED
        if last and last.stage == stage(task) and 0 <= now - last.at < self.heartbeat_seconds * DUE_SHARE:
            return
        value = progress_of(task, known, now, moved)
        if last:
            value = rising_value(last.value, value, stands=task.error is not None and task.status in GENERATING)
            if self._strictly and value == last.value:
                value = nudged(value)
        self._last = LastReport(value, stage(task), now)
        if not (last and self._strictly and value == last.value):
            await self._report(value, TOTAL, self._describe(task, known, now, moved))

    async def report_standstill(self, why: str) -> None:
        """Report as a heartbeat, until cancelled, that nothing goes on, in the words `why`."""
        while True:
            await anyio.sleep(self.heartbeat_seconds)
            value = nudged(self._last.value) if self._last else 0.0
            self._last = LastReport(value, stage=why, at=0.0)
            await self._report(value, TOTAL, why)


def rising_value(last: float, value: float, *, stands: bool) -> float:
    return last if stands else max(last, value)


def nudged(value: float) -> float:
    """Add a little, but never up to the whole; the whole itself stays."""
    return value + min(NUDGE, (TOTAL - value) / 100)
