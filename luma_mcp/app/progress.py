"""Progress that is never invented: moved by bytes and by time spent generating, and by nothing else."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from luma_mcp.core.models import RUNNING, Status, Task
from luma_mcp.media.transfers import Transfer
from luma_mcp.worker.polling import DOCUMENTED, Usual, estimate

HEARTBEAT_SECONDS = 5.0
NUDGE = 0.01  # what the protocol, which wants each value to be higher than the last, makes us add where nothing moves
TOTAL = 100.0
CEILING = 99.0  # where the progress of a task stands whose video has arrived and has not got its name yet
UPLOADED = 10.0  # where the progress of a task with a clip to upload stands once it is uploaded
GENERATED = 90.0  # where the progress of a task whose video is to be saved stands once that is finished
GENERATING = (Status.PENDING, Status.PROCESSING)
LONGEST_TROUBLE = 200

Report = Callable[[float, float, str], Awaitable[None]]
"""Takes progress, total and message."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What was last told, and when (POSIX seconds)."""

    value: float
    stage: str
    at: float


def stage(task: Task) -> str:
    """Name what is happening to the task now."""
    if task.is_uploading:
        return "uploading the clip"
    return "saving the video" if task.awaits_file else task.status.value


def describe(task: Task, known: Usual, now: float, moved: Transfer | None = None) -> str:
    """Say in one line how far which stage is, which try this is, and what keeps it from going on, if anything does."""
    told = [stage(task), *amount(moved), duration(task, now)]
    if task.failures and goes_on(task):
        told.append(f"try {task.failures + 1}")
    line = ", ".join(told) + trouble(task, moved)
    if task.status not in GENERATING:
        return line
    return f"{line}{'; ' if task.error else ', '}usually {known.range}"


def amount(moved: Transfer | None) -> list[str]:
    """Say how much of a file has been moved, if one is."""
    if moved is None or not (moved.done or moved.total):
        return []
    done = f"{moved.done / 1e6:.1f}"
    return [f"{done} of {moved.total / 1e6:.1f} MB" if moved.total else f"{done} MB"]


def duration(task: Task, now: float) -> str:
    """Say how long this stage has lasted; of what has ended, how long the generation took."""
    took = "generation took " if task.task_id and not goes_on(task) else ""
    return f"{took}{seconds_in_stage(task, now):.0f} s"


def trouble(task: Task, moved: Transfer | None) -> str:
    """Say what keeps a task from going on, if anything does: not what did before bytes were moved again."""
    if task.error is None or not goes_on(task) or (moved and moved.done):
        return ""
    words = task.error.message.rstrip(".")
    return f": {words}" if len(words) <= LONGEST_TROUBLE else f": {words[:LONGEST_TROUBLE]}…"


def goes_on(task: Task) -> bool:
    """Tell whether something is still tried for a task."""
    return task.status in RUNNING or task.awaits_file


def seconds_in_stage(task: Task, now: float) -> float:
    """Give the seconds since the present stage began; of what has ended, those of the generation."""
    if task.is_uploading:
        return max(0.0, now - task.created_at)
    if task.awaits_file:
        return max(0.0, now - max(task.finished_at or 0.0, task.updated_at))  # long ago, if it is saved on request
    return task.generating(now)


def reached(task: Task, known: Usual, now: float, moved: Transfer | None = None) -> float:
    """Give the progress of a task, 0..99 until all is done: upload, generation, and saving have a part of it each.

    Of a generation that cannot be asked about, no more is counted than there was when that began.
    """
    share = moved.share if moved else 0.0
    has_clip = task.source_bytes is not None
    begin = UPLOADED if has_clip else 0.0
    end = GENERATED if task.wants_file else TOTAL
    if task.awaits_file:
        return GENERATED + (CEILING - GENERATED) * share
    if task.status is Status.COMPLETED:
        return TOTAL
    if has_clip and not task.source_url:
        return begin * share
    if not task.task_id:
        return begin
    return begin + (end - begin) * estimate(task.generating(task.updated_at if task.error else now), known)


class Progress:
    """Tells one caller about one task: at each change of state, and as a heartbeat between.

    `usual` is how long comparable tasks take, once somebody has looked; it stays the same as long as the caller waits.
    What is told rises `strictly`, or else stands where nothing moves.
    """

    def __init__(self, report: Report, *, heartbeat_seconds: float = HEARTBEAT_SECONDS, strictly: bool = True) -> None:
        self.usual: Usual | None = None
        self._report = report
        self._heartbeat_seconds = heartbeat_seconds
        self._strictly = strictly
        self._last: Moment | None = None

    async def tell(self, task: Task, now: float, moved: Transfer | None = None) -> None:
        """Report if the state changed or the heartbeat is due."""
        last, known = self._last, self.usual or DOCUMENTED
        if last and last.stage == stage(task) and 0 <= now - last.at < self._heartbeat_seconds:
            return
        value = reached(task, known, now, moved)
        if last:
            value = following(last.value, value, stands=task.error is not None and task.status in GENERATING)
            if self._strictly and value == last.value:
                value = nudged(value)
        self._last = Moment(value, stage(task), now)
        if not (last and self._strictly and value == last.value):
            await self._report(value, TOTAL, describe(task, known, now, moved))


def following(last: float, value: float, *, stands: bool) -> float:
    """Give what is told after `last`: never less, and the same while nothing can be known."""
    return last if stands else max(last, value)


def nudged(value: float) -> float:
    """Give a value that is a little higher and still below the whole; the whole stays what it is."""
    return value + min(NUDGE, (TOTAL - value) / 100)
