"""`luma-mcp tasks`: earlier tasks as a table that fits the terminal, or as plain lines where there is none."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio

from luma_mcp.app.app import Outcome, open_app
from luma_mcp.cli.console import print_json, print_message, stdout_is_terminal, write_stdout
from luma_mcp.cli.printable import fit, printable, text_width
from luma_mcp.core.models import DAY_SECONDS, LOCAL_CALLER, SANDBOX_ORIGIN, Status, Task
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import refuses_colour
from luma_mcp.server.results import advised_wait, json_text, task_object

HEADER = ("AGE", "STATUS", "COST", "TASK ID", "PROMPT", "WHERE")
GAP = "  "
INDENT = "  "
LEAST_BESIDE = 48  # columns for prompt and place; with fewer, they get a line of their own
LEAST_PROMPT = 20
BOLD, RESET = "\x1b[1m", "\x1b[0m"
COLOURS = {  # of those that can be read on dark and on light
    Status.COMPLETED: "\x1b[32m",
    Status.FAILED: "\x1b[31m",
    Status.UNCONFIRMED: "\x1b[35m",
}
NONE_YET = 'There are no tasks yet. Make the first: luma-mcp modify CLIP.mp4 "in snow"{sandbox}'
NONE_FOUND = "No matching tasks. All of them: luma-mcp tasks{sandbox}"
MORE = "These are the newest {limit}; there may be more: --limit 100, or words to search for."
IN_SANDBOX = "Tasks in the sandbox: {count}. To list them: luma-mcp tasks --sandbox"


@dataclass(frozen=True, slots=True)
class Row:
    """What the table tells of a task, cell by cell, fit for a terminal."""

    cells: tuple[str, ...]
    status: Status


def run_tasks(settings: Settings, words: list[str], *, status: str, limit: int, as_json: bool) -> int:
    now, tasks, cursor, in_sandbox = anyio.run(read_tasks, settings, " ".join(words), status, limit)
    if as_json:
        wait = advised_wait(settings)
        page = {"tasks": [task_object(Outcome(task), now, wait=wait) for task in tasks], "next_cursor": cursor}
        print_json(json_text(page))
        return 0
    if tasks:
        write_table(tasks, now, more=MORE.format(limit=limit) if len(tasks) == limit else "")
    else:
        none = NONE_FOUND if words or status else NONE_YET
        print_message(none.format(sandbox=" --sandbox" if settings.sandbox else ""))
    if in_sandbox and (stdout_is_terminal() or not tasks):
        print_message(IN_SANDBOX.format(count=in_sandbox))
    return 0


def write_table(tasks: Sequence[Task], now: float, *, more: str) -> None:
    """Write the table to stdout, and at a terminal what to do about `more` tasks below it."""
    on_terminal = stdout_is_terminal()
    rows = [task_cells(task, now, whole_path=not on_terminal) for task in tasks]
    columns = shutil.get_terminal_size().columns if on_terminal else None
    write_stdout("\n".join(format_table(rows, columns, colour=on_terminal and has_colours())))
    if more and on_terminal:
        print_message(more)


def has_colours() -> bool:
    """Tell whether a terminal shows colours, and the person wants them; old consoles of Windows show the codes."""
    return sys.platform != "win32" and not refuses_colour()


async def read_tasks(settings: Settings, words: str, status: str, limit: int) -> tuple[float, list[Task], str, int]:
    """Give the time, the tasks asked for, the cursor of further ones, and how many there are in the sandbox."""
    async with open_app(settings) as app:
        in_sandbox = await app.count_sandbox_tasks(LOCAL_CALLER)
        if words.strip():
            return app.now(), await app.find_tasks(LOCAL_CALLER, words, status, limit), "", in_sandbox
        return app.now(), *await app.list_tasks(LOCAL_CALLER, status, limit, ""), in_sandbox


def task_cells(task: Task, now: float, *, whole_path: bool) -> Row:
    take = f"(take {task.request.take}) " if task.request.take > 1 else ""
    cells = (
        age_text(now - task.created_at),
        task.status.value,
        cost_text(task),
        task.task_id or "-",
        take + " ".join(task.request.prompt.split()),
        place_text(task, now, whole_path=whole_path),
    )
    return Row(tuple(printable(cell) for cell in cells), task.status)


def age_text(seconds: float) -> str:
    if seconds < 60:
        return f"{max(0, seconds):.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min"
    return f"{seconds // 3600:.0f} h" if seconds < DAY_SECONDS else f"{seconds // DAY_SECONDS:.0f} d"


def cost_text(task: Task) -> str:
    """Say what a task cost: what RunAPI reported, and what is known where it did not."""
    if task.origin == SANDBOX_ORIGIN or (task.status.done and task.charged == "no"):
        return "nothing"
    if task.cost_usd is not None:
        return f"{task.cost_usd:.2f} USD"
    if not task.status.done and task.status is not Status.UNCONFIRMED:
        return "-"
    return "charged" if task.charged == "yes" else "unknown"


def place_text(task: Task, now: float, *, whole_path: bool) -> str:
    """Say where the video is, or why there is none."""
    if task.video_path:
        return task.video_path if whole_path else Path(task.video_path).name
    if task.error:
        return task.error.message
    if task.status is not Status.COMPLETED:
        return "being uploaded" if task.is_uploading else "not finished"
    if task.needs_saving:
        return "being saved"
    until = datetime.fromtimestamp(task.expires_at, UTC).astimezone() if task.expires_at else None
    return f"not saved, kept until {until:%Y-%m-%d}" if until and task.is_available(now) else "not saved"


def format_table(rows: Sequence[Row], columns: int | None, *, colour: bool) -> list[str]:
    """Lay out a header and a line for each task, or two where `columns` are few; without a number, nothing is cut."""
    widths = [max(map(text_width, column)) for column in zip(HEADER, *(row.cells for row in rows), strict=True)]
    first = sum(widths[:4]) + 4 * len(GAP)
    beside = columns is None or columns - first >= LEAST_BESIDE
    room = None if columns is None else columns - (first if beside else len(INDENT))
    prompt, place = share(room, widths[4], widths[5])
    widths = [*widths[:4], prompt, place]
    header = [f"{BOLD}{line}{RESET}" if colour else line for line in layout(HEADER, widths, beside=beside)]
    return [*header, *(line for row in rows for line in task_lines(row, widths, beside=beside, colour=colour))]


def share(room: int | None, prompt: int, place: int) -> tuple[int, int]:
    """Share columns between prompt and place: each gets what it needs, the prompt half of them at least."""
    if room is None or prompt + len(GAP) + place <= room:
        return prompt, place
    half = max(LEAST_PROMPT, (room - len(GAP)) // 2)
    given = min(prompt, max(half, room - len(GAP) - place))
    return given, max(1, min(place, room - len(GAP) - given))


def task_lines(row: Row, widths: Sequence[int], *, beside: bool, colour: bool) -> list[str]:
    lines = layout(row.cells, widths, beside=beside)
    mark = COLOURS.get(row.status) if colour else None
    if mark:
        begin = widths[0] + len(GAP)
        end = begin + len(row.cells[1])
        lines[0] = f"{lines[0][:begin]}{mark}{lines[0][begin:end]}{RESET}{lines[0][end:]}"
    return lines


def layout(cells: Sequence[str], widths: Sequence[int], *, beside: bool) -> list[str]:
    fitted = [fit(cell, width) for cell, width in zip(cells, widths, strict=True)]
    if beside:
        return [GAP.join(fitted).rstrip()]
    return [GAP.join(fitted[:4]).rstrip(), f"{INDENT}{GAP.join(fitted[4:])}".rstrip()]
