"""What a person is told when a task has ended: where the video is, what it took and cost, what to type next."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luma_mcp.app.app import Outcome
from luma_mcp.cli.console import local_time, print_message
from luma_mcp.cli.explanations import print_task_failure
from luma_mcp.cli.setting_flags import flag_name
from luma_mcp.core.models import PRICE_USD, SANDBOX_ORIGIN, Status, Task
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.hosts.entries import quote_command, typed_command
from luma_mcp.server.results import has_take_offer

LOOK_COMMANDS = {"darwin": ["open"], "win32": ["start", ""]}
PLAY = "nothing: the sandbox is free, and the video is a stand-in"
OWN_CLIP = "nothing: the sandbox is free, and the video is your own clip, unchanged"
LABEL_WIDTH = 11
OF_FILE = ("Saved", "Link", "Cost", "Open")


@dataclass(frozen=True, slots=True)
class Telling:
    """What a summary depends on besides its task."""

    begun: float = 0.0  # when the command began (POSIX seconds)
    flags: Sequence[str] = ()  # which a command to type has to repeat
    brief: bool = False  # only about the file


def print_summary(outcome: Outcome, now: float, size: int | None, telling: Telling) -> None:
    """Tell how a task ended; `size` is that of its saved file in bytes, None if there is none."""
    task = outcome.task
    if outcome.joined:
        print_message(joined_line(outcome, telling.begun))
    if task.error:
        unpaid, left = task.status is not Status.COMPLETED, outcome.left_to_others
        print_task_failure(task.error, task.task_id, lost=task.is_lost(now), charge=unpaid, never_sent=left)
    for label, told in summary_lines(outcome, now, size, telling.flags):
        if not telling.brief or label in OF_FILE:
            print_message(f"{label:<{LABEL_WIDTH}}{told}")


def joined_line(outcome: Outcome, begun: float) -> str:
    """Say that a request was there before, and whether this command itself made it."""
    task = outcome.task
    if task.created_at >= begun:
        return "The same as another of these: it is made only once."
    ended = "here is the result" if task.status is Status.COMPLETED and not task.error else "this is how it stands"
    return f"Already asked for on {local_time(task.created_at)}: {ended}."


def summary_lines(outcome: Outcome, now: float, size: int | None, flags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give what is to be told, each with its label."""
    task = outcome.task
    if task.video_path:
        yield "Saved", task.video_path + (f"  ({size_words(size)})" if size else "")
    elif task.status is Status.COMPLETED and task.video_urls and task.is_available(now) and not task.error:
        until = f"  (until {local_time(task.expires_at)})" if task.expires_at else ""
        yield "Link", f"{task.video_urls[0]}{until}"
        yield "Keep it", typed_command("save", task.task_id, *flags)
    if task.status is Status.COMPLETED:
        yield "Took", duration_words(task.elapsed_seconds(now))
        yield "Cost", cost_words(outcome)
    if task.video_path:
        yield "Open", quote_command([*LOOK_COMMANDS.get(sys.platform, ["xdg-open"]), task.video_path])
    if outcome.next_take and (task.status is Status.COMPLETED or has_take_offer(outcome, now)):
        yield "Next take", take_command(task, outcome.next_take, flags)


def cost_words(outcome: Outcome) -> str:
    """Say what a finished task cost, and that a repeated request adds nothing to that."""
    task = outcome.task
    if task.origin == SANDBOX_ORIGIN:
        return OWN_CLIP if outcome.own_clip else PLAY
    usd = f"{PRICE_USD if task.cost_usd is None else task.cost_usd:.2f} USD"
    paid = f"{usd}, by RunAPI's price" if task.cost_usd is None else usd
    return f"nothing now; {paid} when it was made" if outcome.nothing_sent else paid


def take_command(task: Task, take: int, flags: Sequence[str]) -> str:
    """Give the command for another take of a task's request, and its price."""
    source, prompt = task.request.source, " ".join(task.request.prompt.split())
    typed = prompt if " " in prompt and not prompt.startswith("-") else f"--prompt={prompt}"
    words = ["modify", source, typed, "--take", str(take), *flags]
    price = "" if task.origin == SANDBOX_ORIGIN else f"  ({PRICE_USD:.2f} USD)"
    return f"{typed_command(*words)}{price}"


def repeated_flags(settings: Settings) -> list[str]:
    """Give the flags without which a command to type would mean another ledger, address or account, or would pay."""
    without = load_settings()
    flags = ["--sandbox"] if settings.sandbox and not without.sandbox else []
    for name in ("data_dir", "env_file", "base_url"):
        if (value := getattr(settings, name)) and value != getattr(without, name):
            flags += [flag_name(name), str(value)]
    return flags


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
