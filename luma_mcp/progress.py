"""Progress that is never invented: rising, timely, and silent after the end (design 2.3)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from luma_mcp.models import Status, Task
from luma_mcp.pace import Usual, share_finished
from luma_mcp.transfers import Transfer

HEARTBEAT_SECONDS = 5.0
TOTAL = 100.0
CEILING = 99.0
UPLOADED = 10.0  # where the progress of a task with a clip to upload stands once it is uploaded
GENERATED = 90.0  # where the progress of a task whose video is to be saved stands once that is finished

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
    """Say state, how much of a file has been moved, seconds elapsed and the usual range in one line.

    What has ended tells how long the generation took, which is less than what has elapsed when the video is saved.
    """
    if task.settled and task.status.done:
        return f"{stage(task)}, generation ended after {task.elapsed(now):.0f} s"
    elapsed = max(0.0, now - task.created_at) if task.awaits_file else task.elapsed(now)
    parts = [stage(task), *([amount(moved)] if moved else []), f"{elapsed:.0f} s elapsed"]
    if not (task.status.done or task.is_uploading):
        parts.append(f"usually {known.range}")
    return ", ".join(parts)


def amount(moved: Transfer) -> str:
    """Say how much of a file has been moved."""
    done = f"{moved.done / 1e6:.1f}"
    return f"{done} of {moved.total / 1e6:.1f} MB" if moved.total else f"{done} MB"


def reached(task: Task, known: Usual, now: float, moved: Transfer | None = None) -> float:
    """Give the progress of a task, 0..99 until all is done: upload, generation, and saving have a part of it each."""
    share = moved.share if moved else 0.0
    begin = UPLOADED if task.source_bytes is not None else 0.0
    end = GENERATED if task.wants_file else TOTAL
    if task.awaits_file:
        return GENERATED + (CEILING - GENERATED) * share
    if task.status is Status.COMPLETED:
        return TOTAL
    if task.is_uploading:
        return begin * share
    return begin + (end - begin) * share_finished(task.generating(now), known) / 100


class Progress:
    """Tells one caller about one task: at each change of state, and as a heartbeat between."""

    def __init__(self, report: Report, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._report = report
        self._heartbeat_seconds = heartbeat_seconds
        self._last: Moment | None = None

    async def tell(self, task: Task, known: Usual, now: float, moved: Transfer | None = None) -> None:
        """Report if the state changed or the heartbeat is due, and only with a higher value."""
        last = self._last
        if last and last.stage == stage(task) and now - last.at < self._heartbeat_seconds:
            return
        value = reached(task, known, now, moved)
        if last and value <= last.value:
            ceiling = TOTAL if task.status.done and not task.awaits_file else CEILING
            value = last.value + (ceiling - last.value) / 100
        self._last = Moment(value, stage(task), now)
        await self._report(value, TOTAL, describe(task, known, now, moved))
