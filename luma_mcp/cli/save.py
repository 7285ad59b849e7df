"""`luma-mcp save`: the result of a finished task once more on disk, where the person wants it."""

from dataclasses import replace
from functools import partial

from luma_mcp.app.app import App, Outcome
from luma_mcp.app.progress import Progress
from luma_mcp.cli.explanations import WrongArguments
from luma_mcp.cli.output import Output, read_output
from luma_mcp.cli.wait import Job, find_typed, follow_to_end, run_jobs
from luma_mcp.core.errors import DownloadFailed, VideoNotWritten
from luma_mcp.core.models import LOCAL_CALLER, Status
from luma_mcp.core.settings import Settings


def run_save(settings: Settings, task_id: str, *, output: str, as_json: bool) -> int:
    """Save a finished task's video again, or a copy elsewhere, and tell where it is."""
    job = Job(partial(save, task_id=task_id, output=read_output(output)), task_id, brief=True)
    return run_jobs(settings, [job], as_json=as_json, single=True)


async def save(app: App, progress: Progress, *, task_id: str, output: Output | None) -> Outcome:
    """Have a video saved, however long that takes; raise `WrongArguments` for a task that is not finished."""
    task = await find_typed(app, task_id)
    if not (task.status.done or task.status is Status.UNCONFIRMED):
        raise WrongArguments(
            f"Task {task_id} is not finished yet: it is {task.status}.", hint=f"Wait for it: luma-mcp wait {task_id}"
        )
    asked = await app.save_video(task.task_id, LOCAL_CALLER, "", progress=progress)
    saved = await follow_to_end(app, asked, progress)
    return replace(await with_copy(app, saved, output), nothing_sent=True)


async def with_copy(app: App, outcome: Outcome, output: Output | None) -> Outcome:
    """Copy a saved video where it is wanted, and give the outcome with that path; one that is not saved stays so.

    Where no copy can be made, the outcome has the path of the saved video, and the error.
    """
    if output is None or not outcome.task.video_path:
        return outcome
    try:
        return replace(outcome, task=await app.copy_video(outcome.task, output.folder, output.name))
    except VideoNotWritten as error:
        message = f"The video is saved, but could not be copied into {output.folder}: {error.message}"
        failure = replace(error.failure(), code=DownloadFailed.code, message=message)
        return replace(outcome, task=replace(outcome.task, error=failure))
