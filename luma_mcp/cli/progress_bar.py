"""The line on a terminal that shows how a task goes."""

import os
from typing import TextIO

from luma_mcp.cli.printable import printable

USUAL_COLUMNS = 80
BAR_WIDTH = 24
LEAST_BAR_WIDTH = 6
BESIDE_BAR = len("[] 100 %  ") + 1


class ProgressBar:
    """One line on a terminal that is drawn over itself; silent elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._alive = stream.isatty()
        self._drawn = 0

    async def report(self, progress: float, total: float, message: str) -> None:
        if self._alive:
            message = printable(message)
            columns = self._columns()
            width = max(LEAST_BAR_WIDTH, min(BAR_WIDTH, columns - len(message) - BESIDE_BAR))
            done = round(width * progress / total)
            line = f"[{'#' * done}{'-' * (width - done)}] {progress:3.0f} %  {message}"
            self._write(line[: columns - 1])

    def _columns(self) -> int:
        """Measure the terminal that is drawn on; stdout may be something else."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or USUAL_COLUMNS
        except (OSError, ValueError):
            return USUAL_COLUMNS

    def clear(self) -> None:
        if self._alive:
            self._write("")

    def _write(self, line: str) -> None:
        blanks = " " * max(0, self._drawn - len(line))  # old consoles of Windows know no command that clears a line
        self._stream.write(f"\r{line}{blanks}{'' if line else chr(13)}")
        self._stream.flush()
        self._drawn = len(line)
