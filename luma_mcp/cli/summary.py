"""What a person is told when a task has ended: where the video is, what it took and cost, what to type next."""

import sys
from collections.abc import Iterator

from luma_mcp.app.app import Outcome
from luma_mcp.cli.console import local_time, print_message
from luma_mcp.cli.explanations import print_task_failure
from luma_mcp.core.models import PRICE_USD, SANDBOX_ORIGIN, Status, Task
from luma_mcp.hosts.entries import quote_command, typed_command
from luma_mcp.server.results import has_take_offer

LOOK_COMMANDS = {"darwin": ["open"], "win32": ["start", ""]}
PLAY = "nothing: the sandbox is free, and the video is a stand-in"
OWN_CLIP = "nothing: the sandbox is free, and the video is your own clip, unchanged"
LABEL_WIDTH = 11
OF_FILE = ("Saved", "Link", "Cost", "Open")


def print_summary(outcome: Outcome, now: float, size: int | None, *, brief: bool = False) -> None:
    """Tell how a task ended; `size` is that of its saved file in bytes, None if there is none.

    In brief it is only about the file.
    """
    task = outcome.task
    if outcome.joined:
        print_message(f"Already asked for on {local_time(task.created_at)}: this is the result.")
    if task.error:
        print_task_failure(task.error, task.task_id, lost=task.is_lost(now))
    for label, told in summary_lines(outcome, now, size):
        if not brief or label in OF_FILE:
            print_message(f"{label:<{LABEL_WIDTH}}{told}")


def summary_lines(outcome: Outcome, now: float, size: int | None) -> Iterator[tuple[str, str]]:
    """Give what is to be told, each with its label."""
    task = outcome.task
    if task.video_path:
        yield "Saved", task.video_path + (f"  ({size_words(size)})" if size else "")
    elif task.status is Status.COMPLETED and task.video_urls and task.is_available(now):
        until = f"  (until {local_time(task.expires_at)})" if task.expires_at else ""
        yield "Link", f"{task.video_urls[0]}{until}"
        yield "Keep it", typed_command("save", task.task_id, *sandbox_flag(task))
    if task.status is Status.COMPLETED:
        yield "Took", duration_words(task.elapsed_seconds(now))
        yield "Cost", cost_words(outcome)
    if task.video_path:
        yield "Open", quote_command([*LOOK_COMMANDS.get(sys.platform, ["xdg-open"]), task.video_path])
    if outcome.next_take and (task.status is Status.COMPLETED or has_take_offer(outcome, now)):
        yield "Next take", take_command(task, outcome.next_take)


def cost_words(outcome: Outcome) -> str:
    """Say what a finished task cost, and that a repeated request adds nothing to that."""
    task = outcome.task
    if task.origin == SANDBOX_ORIGIN:
        return OWN_CLIP if outcome.own_clip else PLAY
    usd = f"{PRICE_USD if task.cost_usd is None else task.cost_usd:.2f} USD"
    paid = f"{usd}, by RunAPI's price" if task.cost_usd is None else usd
    return f"nothing now; {paid} when it was made" if outcome.nothing_sent else paid


def take_command(task: Task, take: int) -> str:
    """Give the command for another take of a task's request, and its price."""
    request = task.request
    words = ["modify", request.source, request.prompt, "--take", str(take), *sandbox_flag(task)]
    price = "" if task.origin == SANDBOX_ORIGIN else f"  ({PRICE_USD:.2f} USD)"
    return f"{typed_command(*words)}{price}"


def sandbox_flag(task: Task) -> list[str]:
    return ["--sandbox"] if task.origin == SANDBOX_ORIGIN else []


def duration_words(seconds: float) -> str:
    """Write a duration: `48 s`, `2 min 5 s`, `1 h 2 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size_words(size: int) -> str:
    """Write a number of bytes: `12.4 MB`, `26 KB`."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} KB"
