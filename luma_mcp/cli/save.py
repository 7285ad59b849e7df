"""`luma-mcp save`: the result of a finished task once more on disk, where the person wants it."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from luma_mcp.app.app import App, Outcome
from luma_mcp.app.progress import Progress
from luma_mcp.cli.explanations import WrongArguments
from luma_mcp.cli.output import with_output
from luma_mcp.cli.wait import Job, follow_to_end, run_jobs
from luma_mcp.core.models import LOCAL_CALLER, Status
from luma_mcp.core.settings import Settings


def run_save(settings: Settings, task_id: str, *, output: str, as_json: bool) -> int:
    """Save a finished task's video again, or elsewhere, and tell where it is."""
    there, name = with_output(settings, output)
    job = Job(partial(save, task_id=task_id, name=name, elsewhere=bool(output)), task_id)
    return run_jobs(there, [job], as_json=as_json, single=True)


async def save(app: App, progress: Progress, *, task_id: str, name: str, elsewhere: bool) -> Outcome:
    """Have a video saved, however long that takes; raise `WrongArguments` for a task that is not finished."""
    task = await app.find(task_id, LOCAL_CALLER)
    if not (task.status.done or task.status is Status.UNCONFIRMED):
        raise WrongArguments(
            f"Task {task_id} is not finished yet: it is {task.status}.", hint=f"Wait for it: luma-mcp wait {task_id}"
        )
    return replace(await save_as(app, progress, task_id, name, elsewhere=elsewhere), nothing_sent=True)


async def save_as(app: App, progress: Progress, task_id: str, name: str, *, elsewhere: bool) -> Outcome:
    """Save a completed task's video; with `elsewhere`, also one that lies in another folder or has another name."""
    saved = await app.save_video(task_id, LOCAL_CALLER, name, progress=progress)
    outcome = await follow_to_end(app, saved, progress)
    if elsewhere and outcome.task.video_path:
        named = name or Path(outcome.task.video_path).name
        outcome = await app.save_video(task_id, LOCAL_CALLER, named, progress=progress)
    return outcome
