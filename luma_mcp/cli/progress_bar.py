"""How a task goes, for a person: a bar on a terminal, a line every half minute elsewhere."""

import os
from typing import Protocol, TextIO

import anyio

from luma_mcp.app.progress import TOTAL, Describe, Progress, error_suffix, is_active, seconds_in_stage
from luma_mcp.cli.printable import fit, printable, text_width
from luma_mcp.core.models import Status, Task
from luma_mcp.media.files import megabytes
from luma_mcp.media.transfers import Transfer
from luma_mcp.worker.polling import DurationProfile

BAR_SECONDS = 0.5
LINE_SECONDS = 30.0
USUAL_COLUMNS = 80
MAX_COLUMNS = 100
BAR_WIDTH = 24
LEAST_BAR_WIDTH = 6
BESIDE_BAR = len("[] 100 %  ") + 1
MEASURED_SECONDS = 1.0  # a speed over less than this says nothing


class Display(Protocol):
    """Where progress is shown."""

    async def report(self, progress: float, total: float, message: str) -> None:
        """Show how things go."""

    def clear(self) -> None:
        """Make room for other lines."""


class ProgressBar:
    """One line on a terminal that is drawn over itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0

    async def report(self, progress: float, total: float, message: str) -> None:
        message = printable(message)
        columns = self._columns()
        width = max(LEAST_BAR_WIDTH, min(BAR_WIDTH, columns - text_width(message) - BESIDE_BAR))
        done = round(width * progress / total)
        line = f"[{'#' * done}{'-' * (width - done)}] {100 * progress / total:3.0f} %  {message}"
        self._write(fit(line, columns - 1).rstrip(), columns)

    def _columns(self) -> int:
        """Measure the terminal that is drawn on, which may be resized at any time; stdout may be something else."""
        try:
            return min(os.get_terminal_size(self._stream.fileno()).columns or USUAL_COLUMNS, MAX_COLUMNS)
        except (OSError, ValueError):
            return USUAL_COLUMNS

    def clear(self) -> None:
        self._write("", self._columns())

    def _write(self, line: str, columns: int) -> None:
        if self._drawn >= columns:  # the terminal became narrower: what was drawn takes several lines, and stays
            self._stream.write("\n")
            self._drawn = 0
        blanks = " " * max(
            0, self._drawn - text_width(line)
        )  # old consoles of Windows know no command that clears a line
        self._stream.write(f"\r{line}{blanks}{'' if line else chr(13)}")
        self._stream.flush()
        self._drawn = text_width(line)


class ProgressLines:
    """A line every half minute, for logs of jobs that nobody watches; what is over sooner shows none."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = anyio.current_time()

    async def report(self, progress: float, total: float, message: str) -> None:
        if anyio.current_time() >= self._last + LINE_SECONDS:
            self._last = anyio.current_time()
            print(printable(message), file=self._stream, flush=True)

    def clear(self) -> None:
        """Leave the lines as they are."""


def display_on(stream: TextIO) -> Display:
    return ProgressBar(stream) if stream.isatty() else ProgressLines(stream)


class TaskDisplay:
    """Shows how one or several tasks go, the first that is under way in words."""

    def __init__(self, display: Display, count: int) -> None:
        self._display = display
        self._values = [0.0] * count
        self._messages = [""] * count
        self._ended: set[int] = set()
        self._closed = False

    def progress(self, number: int, describe: Describe) -> Progress:
        """Give what the call that waits for a task reports to."""

        async def report(value: float, total: float, message: str) -> None:
            self._values[number], self._messages[number] = value, message
            if self._closed:
                return
            await self._display.report(sum(self._values), TOTAL * len(self._values), self._message())

        return Progress(report, heartbeat_seconds=BAR_SECONDS, strictly=False, describe=describe)

    def end(self, number: int) -> None:
        """Count a task as ended, however, and make room for what is said of it."""
        self._values[number] = TOTAL
        self._ended.add(number)
        self._display.clear()

    def close(self) -> None:
        """Show nothing more."""
        self._closed = True
        self._display.clear()

    def _message(self) -> str:
        under_way = [words for number, words in enumerate(self._messages) if words and number not in self._ended]
        first = under_way[0] if under_way else ""
        return first if len(self._values) == 1 else f"{len(self._ended)} of {len(self._values)} done  {first}".rstrip()


class Speed:
    """How fast a transfer goes: bytes a second since it was first seen."""

    def __init__(self) -> None:
        self._begun: tuple[Transfer, float, int] | None = None

    def of(self, moved: Transfer, now: float) -> float | None:
        """Give bytes a second; None while that is not known yet."""
        if self._begun is None or self._begun[0] is not moved or moved.done < self._begun[2]:
            self._begun = moved, now, moved.done
        _, since, done = self._begun
        return (moved.done - done) / (now - since) if now - since >= MEASURED_SECONDS else None


class TaskWords:
    """Says in a person's words how a task goes, and keeps the task as it was last seen."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self._speed = Speed()

    def describe(self, task: Task, known: DurationProfile, now: float, moved: Transfer | None = None) -> str:
        self.task = task
        told = [self._stage(task, known, now, moved)]
        if task.failures and is_active(task):
            told.append(f"try {task.failures + 1}")
        return ", ".join(told) + error_suffix(task, moved)

    def _stage(self, task: Task, known: DurationProfile, now: float, moved: Transfer | None) -> str:
        if task.is_uploading or task.needs_saving:
            amount = f" {self._amount(moved, now)}" if moved and (moved.done or moved.total) else ""
            return ("Uploading" if task.is_uploading else "Saving") + amount
        if task.status in (Status.PENDING, Status.PROCESSING):
            usual = "" if task.error else f", usually {clock_time(known.low)} to {clock_time(known.high)}"
            return f"Generating {clock_time(seconds_in_stage(task, now))}{usual}"
        return STAGES[task.status]

    def _amount(self, moved: Transfer, now: float) -> str:
        speed = self._speed.of(moved, now)
        done = f"{moved.done / 1e6:.1f} of {megabytes(moved.total)}" if moved.total else megabytes(moved.done)
        return done if speed is None else f"{done}, {speed / 1e6:.1f} MB/s"


STAGES = {
    Status.SUBMITTING: "Sending the request",
    Status.COMPLETED: "Finished",
    Status.FAILED: "Failed",
    Status.UNCONFIRMED: "Not confirmed",
}


def clock_time(seconds: float) -> str:
    """Write seconds as clocks do: `0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
