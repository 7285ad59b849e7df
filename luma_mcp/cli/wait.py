"""Waiting for tasks from the command line, however long it takes, and telling how they ended."""

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from luma_mcp.app.app import App, Outcome, open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.console import (
    EXIT_CODES,
    ExitCode,
    exit_code,
    print_json,
    print_message,
    print_path,
    print_result,
    stdout_is_terminal,
)
from luma_mcp.cli.explanations import print_error
from luma_mcp.cli.progress_bar import TaskDisplay, TaskWords, display_on
from luma_mcp.cli.summary import print_summary, sandbox_flag
from luma_mcp.core.concurrency import background_work
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import LOCAL_CALLER, PRICE_USD, RUNNING, SANDBOX_ORIGIN, Status, Task
from luma_mcp.core.settings import Settings
from luma_mcp.hosts.entries import typed_command
from luma_mcp.server.results import TaskObject, advised_wait, failure_object, json_text, task_object
from luma_mcp.transports.shutdown import interrupt_on_signal

UNREACHED_SECONDS = 6.0  # a person is there, who can mend the network
MAX_LISTED = 100
NOTHING_RUNS = "No task is running. luma-mcp tasks lists the earlier ones."
NOT_SENT = "Interrupted. If anything was sent by then, the same command goes on with it: nothing is paid twice."


End = Outcome | LumaError
"""How a job ended: with a task at its end, or with the error that kept it from one."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is waited for: `ask` gives a task's outcome, and reports its progress to what it is given."""

    ask: Callable[[App, Progress], Awaitable[Outcome]]
    title: str  # which of several it is


def run_wait(settings: Settings, task_id: str, *, as_json: bool) -> int:
    """Wait for a task, or for all that are under way, and tell how they ended."""
    tasks = anyio.run(tasks_to_wait_for, settings, task_id)
    if not tasks and not as_json:
        print_message(NOTHING_RUNS)
    jobs = [Job(partial(known_outcome, task=task), task.request.prompt) for task in tasks]
    return run_jobs(settings, jobs, as_json=as_json, single=bool(task_id))


async def tasks_to_wait_for(settings: Settings, task_id: str) -> list[Task]:
    """Give the task of an id, or, without one, those that are not at their end; raise `TaskNotFound`."""
    async with open_app(settings) as app:
        if task_id:
            return [await app.find(task_id, LOCAL_CALLER)]
        running = await app.search_tasks(LOCAL_CALLER, "", RUNNING, MAX_LISTED)
        completed = await app.search_tasks(LOCAL_CALLER, "", [Status.COMPLETED], MAX_LISTED)
        return [*running, *(task for task in completed if task.needs_saving)]


async def known_outcome(app: App, progress: Progress, *, task: Task) -> Outcome:
    """Give a task as it stands, after another look at what is not at its end."""
    del progress
    await app.ensure_followed(task.key)
    return await app.outcome(task)


def run_jobs(settings: Settings, jobs: Sequence[Job], *, as_json: bool, single: bool) -> int:
    """Do all jobs at once, as many as may run, and give the exit code of the first that did not end well.

    JSON is one object if there can be but one (`single`), else a list in the order of the jobs.
    """
    ends = anyio.run(partial(finish_all, settings, jobs, as_json=as_json))
    if as_json:
        described = [described_end(end, settings) for end in ends]
        print_json(json_text(described[0] if single else described))
    return next(filter(None, map(code_of_end, ends)), ExitCode.DONE)


async def finish_all(settings: Settings, jobs: Sequence[Job], *, as_json: bool) -> list[End]:
    """Do jobs to the ends of their tasks, and tell of each when it is there; unless as JSON, stdout has the paths."""
    ends: dict[int, End] = {}
    words = [TaskWords() for _ in jobs]
    display = TaskDisplay(display_on(sys.stderr), len(jobs))
    places = anyio.CapacityLimiter(settings.max_active)
    arrive, arrived = anyio.create_memory_object_stream[int](len(jobs))

    async def do(number: int, job: Job) -> None:
        async with places:
            ends[number] = await end_of(app, job, display.progress(number, words[number].describe))
        await arrive.send(number)

    def interrupted() -> None:
        display.clear()
        print_interrupted([shown.task for shown in words if shown.task])

    async with (
        arrive,
        arrived,
        open_app(settings, unreached_seconds=UNREACHED_SECONDS) as app,
        interrupt_on_signal(interrupted),
        background_work() as group,
    ):
        for number, job in enumerate(jobs):
            group.start_soon(do, number, job)
        for _ in jobs:
            number = await arrived.receive()
            display.end(number)
            if len(jobs) > 1:
                print_message(f"-- {jobs[number].title}")
            await print_end(ends[number], app.now(), as_json=as_json)
    return [ends[number] for number in range(len(jobs))]


async def end_of(app: App, job: Job, progress: Progress) -> End:
    """Do one job to its task's end, or to the error that keeps it from one."""
    try:
        return await follow_to_end(app, await job.ask(app, progress), progress)
    except LumaError as error:
        return error


def code_of_end(end: End) -> ExitCode:
    return EXIT_CODES[end.code] if isinstance(end, LumaError) else exit_code(end.task)


def described_end(end: End, settings: Settings) -> TaskObject:
    if isinstance(end, LumaError):
        return failure_object(end)
    return task_object(end, time.time(), wait=advised_wait(settings))


async def follow_to_end(app: App, outcome: Outcome, progress: Progress) -> Outcome:
    """Wait until a task has ended, however long that takes, and give what is known of it then."""
    while not (outcome.task.is_settled or outcome.task.is_lost(app.now())):
        await app.ensure_followed(outcome.task.key)
        task = await app.wait(outcome.task.key, app.settings.max_wait_seconds, progress)
        latest = await app.outcome(task)
        outcome = replace(outcome, task=latest.task, next_take=latest.next_take)
    return outcome


async def print_end(end: End, now: float, *, as_json: bool) -> None:
    """Tell how a job ended; unless as JSON, put on stdout where its video is."""
    if isinstance(end, LumaError):
        print_error(end)
        return
    path = end.task.video_path
    size = await anyio.to_thread.run_sync(file_size, path) if path else None
    if not as_json and not stdout_is_terminal():  # where the summary has it
        if path:
            print_path(path)
        elif not end.task.error:
            print_result("\n".join(end.task.video_urls))
    print_summary(end, now, size)


def file_size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def print_interrupted(tasks: Sequence[Task]) -> None:
    """Tell what goes on after Ctrl-C, what it may cost, and how to come back to it."""
    under_way = [task for task in tasks if task.task_id and not (task.is_settled and not task.needs_saving)]
    for task in under_way:
        sandbox = task.origin == SANDBOX_ORIGIN
        price = "costs nothing in the sandbox" if sandbox else f"costs {PRICE_USD:.2f} USD if it succeeds"
        back = typed_command("wait", task.task_id, *sandbox_flag(task))
        print_message(f"Interrupted. Task {task.task_id} goes on at RunAPI, which cannot cancel it; it {price}.")
        print_message(f"  To come back: {back}")
    if not under_way:
        print_message(NOT_SENT)
