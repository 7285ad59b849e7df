"""Progress that is never invented: rising, timely, and silent after the end (design 2.3)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from luma_mcp.models import Status, Task
from luma_mcp.pace import Usual, share_finished

HEARTBEAT_SECONDS = 5.0
TOTAL = 100.0
CEILING = 99.0

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
    return "saving the video" if task.awaits_file else task.status.value


def describe(task: Task, known: Usual, now: float) -> str:
    """Say state, seconds elapsed and the usual range in one line."""
    line = f"{stage(task)}, {task.elapsed(now):.0f} s elapsed"
    return line if task.status.done else f"{line}, usually {known.low:.0f} to {known.high:.0f} s"


def reached(task: Task, known: Usual, now: float) -> float:
    """Give the progress of a task, 0..99 until all is done."""
    if task.status is Status.COMPLETED:
        return CEILING if task.awaits_file else TOTAL
    return share_finished(task.elapsed(now), known)


class Progress:
    """Tells one caller about one task: at each change of state, and as a heartbeat between."""

    def __init__(self, report: Report, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._report = report
        self._heartbeat_seconds = heartbeat_seconds
        self._last: Moment | None = None

    async def tell(self, task: Task, known: Usual, now: float) -> None:
        """Report if the state changed or the heartbeat is due, and only with a higher value."""
        last = self._last
        if last and last.stage == stage(task) and now - last.at < self._heartbeat_seconds:
            return
        value = reached(task, known, now)
        if last and value <= last.value:
            ceiling = TOTAL if task.status.done else CEILING
            value = last.value + (ceiling - last.value) / 100
        self._last = Moment(value, stage(task), now)
        await self._report(value, TOTAL, describe(task, known, now))
