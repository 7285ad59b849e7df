"""`luma-mcp save`: the result of a finished task once more on disk, where the person wants it."""

import sys
from functools import partial
from pathlib import Path

import anyio

from luma_mcp.app.app import App, Outcome, open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.console import ExitCode, exit_code, print_failure, print_json, print_message, print_path
from luma_mcp.cli.output import with_output
from luma_mcp.cli.progress_bar import ProgressBar
from luma_mcp.core.errors import InvalidRequest, LumaError
from luma_mcp.core.models import LOCAL_CALLER, SANDBOX_ORIGIN, Status
from luma_mcp.core.settings import Settings
from luma_mcp.server.results import advised_wait, failure_object, json_text, task_object
from luma_mcp.transports.shutdown import interrupt_on_signal

BAR_SECONDS = 0.5
SAVED = "Saved; that cost nothing."
SANDBOX = "It is a stand-in: the sandbox makes no videos."


def run_save(settings: Settings, task_id: str, *, output: str, as_json: bool) -> int:
    """Save a finished task's video; raise a `LumaError` if there is none to save."""
    try:
        return anyio.run(partial(save_and_tell, settings, task_id, output, as_json=as_json))
    except LumaError as error:
        if as_json:
            print_json(json_text(failure_object(error)))
        raise


async def save_and_tell(settings: Settings, task_id: str, output: str, *, as_json: bool) -> ExitCode:
    there, name = with_output(settings, output)
    bar = ProgressBar(sys.stderr)
    shown = Progress(bar.report, heartbeat_seconds=BAR_SECONDS, strictly=False)
    async with open_app(there) as app, interrupt_on_signal():
        try:
            outcome = await save_until_settled(app, task_id, name, shown)
            if output and outcome.task.video_path:  # it may have been saved elsewhere before, or by a server just now
                outcome = await app.save_video(
                    task_id, LOCAL_CALLER, name or Path(outcome.task.video_path).name, progress=silent_progress()
                )
        finally:
            bar.clear()
        if as_json:
            print_json(json_text(task_object(outcome, app.now(), wait=advised_wait(settings))))
    return exit_code(outcome.task) if as_json else tell(outcome)


async def save_until_settled(app: App, task_id: str, name: str, progress: Progress) -> Outcome:
    """Have a video saved, however long that takes; raise `InvalidRequest` for a task that still runs."""
    task = (await app.get_task(task_id, LOCAL_CALLER, wait_seconds=0, progress=silent_progress())).task
    if not (task.status.done or task.status is Status.UNCONFIRMED):
        raise InvalidRequest(
            f"Task {task_id} is not finished yet: it is {task.status}.", hint=f"Wait for it: luma-mcp wait {task_id}"
        )
    outcome = await app.save_video(task_id, LOCAL_CALLER, name, progress=progress)
    while not (outcome.task.is_settled or outcome.task.is_lost(app.now())):
        await app.ensure_followed(outcome.task.key)
        outcome = await app.outcome(await app.wait(outcome.task.key, app.settings.max_wait_seconds, progress))
    return outcome


def silent_progress() -> Progress:
    async def report(progress: float, total: float, message: str) -> None:
        """Report to nobody."""

    return Progress(report)


def tell(outcome: Outcome) -> ExitCode:
    """Print the path, or why there is none."""
    task = outcome.task
    if not task.video_path:
        if task.error:
            print_failure(task.error)
        return exit_code(task) if task.error else ExitCode.NOT_SAVED
    print_message(f"{SAVED} {SANDBOX}" if task.origin == SANDBOX_ORIGIN else SAVED)
    print_path(task.video_path)
    return ExitCode.DONE
