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
from luma_mcp.cli.summary import Telling, print_summary, repeated_flags
from luma_mcp.core.concurrency import background_work
from luma_mcp.core.errors import InvalidApiKey, LumaError, TaskNotFound
from luma_mcp.core.models import LOCAL_CALLER, PRICE_USD, RUNNING, SANDBOX_ORIGIN, Status, Task
from luma_mcp.core.settings import Settings
from luma_mcp.hosts.entries import typed_command
from luma_mcp.server.results import TaskObject, advised_wait, failure_object, json_text, task_object
from luma_mcp.transports.shutdown import interrupt_on_signal

UNREACHED_SECONDS = 6.0  # a person is there, who can fix the network
MAX_LISTED = 100
SHORTEST_ID = 4  # characters of an id that is not typed whole
NOTHING_RUNS = "No task is running. luma-mcp tasks lists the earlier ones."
NOT_SENT = "If anything was being sent just now, the same command goes on with it: nothing is paid twice."


End = Outcome | LumaError
"""How a job ended: with a task at its end, or with the error that kept it from one."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is waited for: `ask` gives a task's outcome, and reports its progress to what it is given."""

    ask: Callable[[App, Progress], Awaitable[Outcome]]
    title: str  # which of several it is
    brief: bool = False  # whether only the file matters, not the task


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
            return [await find_typed(app, task_id)]
        listed = [await app.find_tasks(LOCAL_CALLER, "", state, MAX_LISTED) for state in (*RUNNING, Status.COMPLETED)]
        return [task for tasks in listed for task in tasks if task.needs_saving or not task.status.done]


async def find_typed(app: App, typed: str) -> Task:
    """Find the task of an id, or of the only id that begins as typed; raise `TaskNotFound`, or another `LumaError`."""
    try:
        return await app.find(typed, LOCAL_CALLER)
    except TaskNotFound:
        found = await app.search_tasks(LOCAL_CALLER, typed, [*Status], MAX_LISTED)
        alike = [task for task in found if task.task_id.startswith(typed)]
        if len(typed) < SHORTEST_ID or len(alike) != 1:
            raise
        return alike[0]


async def known_outcome(app: App, progress: Progress, *, task: Task) -> Outcome:
    """Give a task as it stands, after another look at what is not at its end."""
    del progress
    app.check_can_follow(task)
    await app.ensure_followed(task.key)
    return await app.outcome(task)


def run_jobs(settings: Settings, jobs: Sequence[Job], *, as_json: bool, single: bool) -> int:
    """Do all jobs at once, as many as may run, and give the exit code of the first that did not end well.

    JSON is one object if there can be but one (`single`), else a list in the order of the jobs.
    """
    ends = anyio.run(partial(finish_all, settings, jobs))
    if len(ends) > 1:
        print_message(total_line(ends))
    if not as_json and not stdout_is_terminal():  # where the summaries have them
        print_places(ends)
    if as_json:
        described = [described_end(end, settings) for end in ends]
        print_json(json_text(described[0] if single else described))
    return next(filter(None, map(code_of_end, ends)), ExitCode.DONE)


async def finish_all(settings: Settings, jobs: Sequence[Job]) -> list[End]:
    """Do jobs to the ends of their tasks, and tell of each when it is there."""
    ends: dict[int, End] = {}
    begun, flags = time.time(), repeated_flags(settings)
    words = [TaskWords() for _ in jobs]
    display = TaskDisplay(display_on(sys.stderr), len(jobs))
    places = anyio.CapacityLimiter(settings.max_active)
    arrive, arrived = anyio.create_memory_object_stream[int](len(jobs))

    async def do(number: int, job: Job) -> None:
        async with places:
            ends[number] = await end_of(app, job, display.progress(number, words[number].describe))
        await arrive.send(number)

    def interrupted() -> None:
        display.close()
        print_interrupted([shown.task for shown in words], flags)

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
            await print_end(ends[number], app.now(), Telling(begun, flags, brief=jobs[number].brief))
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
    """Wait until a task has ended, however long that takes, and give what is known of it then.

    A refused key ends the waiting: nothing is learnt of the task until there is another.
    """
    while not (outcome.task.is_settled or outcome.task.is_lost(app.now()) or is_refused(outcome.task)):
        await app.ensure_followed(outcome.task.key)
        task = await app.wait(outcome.task.key, app.settings.max_wait_seconds, progress)
        latest = await app.outcome(task)
        outcome = replace(outcome, task=latest.task, next_take=latest.next_take)
    return outcome


def is_refused(task: Task) -> bool:
    return task.error is not None and task.error.code == InvalidApiKey.code


async def print_end(end: End, now: float, telling: Telling) -> None:
    """Tell how a job ended."""
    if isinstance(end, LumaError):
        print_error(end)
        return
    path = end.task.video_path
    size = await anyio.to_thread.run_sync(file_size, path) if path else None
    print_summary(end, now, size, telling)


def print_places(ends: Sequence[End]) -> None:
    """Put on stdout where the videos are, in the order of the jobs: those of failed ones are left out."""
    for end in ends:
        if isinstance(end, LumaError):
            continue
        if end.task.video_path:
            print_path(end.task.video_path)
        elif not end.task.error:
            print_result("\n".join(end.task.video_urls))


def total_line(ends: Sequence[End]) -> str:
    """Say how many of several ended well, and what those cost that were made now."""
    made = [end for end in ends if not isinstance(end, LumaError) and end.task.status is Status.COMPLETED]
    new = [end.task for end in made if end.is_new and end.task.origin != SANDBOX_ORIGIN]
    usd = sum(PRICE_USD if task.cost_usd is None else task.cost_usd for task in new)
    return f"{len(made)} of {len(ends)} finished, {usd:.2f} USD."


def file_size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def print_interrupted(tasks: Sequence[Task | None], flags: Sequence[str]) -> None:
    """Tell what goes on after Ctrl-C, what it may cost, and how to come back to it; None is a task not yet seen."""
    known = [task for task in tasks if task]
    running = [task for task in known if task.task_id and not task.status.done]
    saving = [task for task in known if task.needs_saving]
    print_message("Interrupted.")
    if running:
        free = running[0].origin == SANDBOX_ORIGIN
        price = "nothing is charged in the sandbox" if free else f"each costs {PRICE_USD:.2f} USD if it succeeds"
        what = f"Task {running[0].task_id} goes" if len(running) == 1 else f"{len(running)} tasks go"
        print_message(f"  {what} on at RunAPI, which cannot cancel tasks; {price}.")
    if saving:
        print_message("  A finished video was still being saved: that goes on when you come back, and costs nothing.")
    if running or saving:
        only = [(running or saving)[0].task_id] if len(running) + len(saving) == 1 else []
        print_message(f"  To come back: {typed_command('wait', *only, *flags)}")
    if len(known) < len(tasks) or any(not task.task_id and not task.status.done for task in known):
        print_message(f"  {NOT_SENT}")
