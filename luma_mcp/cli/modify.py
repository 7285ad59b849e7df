"""Modifying a clip from the command line: submit it, show how it goes, and say what came of it."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from luma_mcp.app.app import Outcome, open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.console import (
    exit_code,
    local_time,
    print_failure,
    print_json,
    print_message,
    print_path,
    print_result,
)
from luma_mcp.cli.output import with_output
from luma_mcp.cli.progress_bar import ProgressBar
from luma_mcp.core.errors import InvalidRequest, LumaError
from luma_mcp.core.models import LOCAL_CALLER, Task, VideoRequest
from luma_mcp.core.settings import Settings
from luma_mcp.media.sources import file_uri_path, resolve_typed_file
from luma_mcp.server.results import (
    advised_wait,
    call_cost,
    failure_object,
    has_take_offer,
    json_text,
    take_cost,
    task_object,
)
from luma_mcp.transports.shutdown import interrupt_on_signal

BAR_SECONDS = 0.5
UNREACHED_SECONDS = 6.0  # a person is there, who can mend the network


def run_modify(
    settings: Settings,
    arguments: list[str],
    *,
    prompts: list[str],
    output: str,
    take: int,
    yes: bool,
    as_json: bool,
) -> int:
    del yes  # one video is never asked about
    settings, _ = with_output(settings, output)
    if len(arguments) + len(prompts) != 2:
        raise InvalidRequest("One clip and one prompt at a time.")
    source, prompt = (*arguments, *prompts)
    source = source.strip() if source.strip().lower().startswith("file:") else source
    if source.lower().startswith("file:"):
        source = str(file_uri_path(source, "SOURCE"))
    if source.strip() and "://" not in source:
        path = resolve_typed_file(Path(os.path.expanduser(source)))
        source = str(path)
        settings = settings.model_copy(update={"media_roots": (*settings.readable_folders, path.parent)})
    request = VideoRequest(prompt=as_typed(prompt).strip(), source=source.strip(), take=take)
    try:
        return exit_code(anyio.run(partial(modify_until_settled, settings, request, as_json=as_json)))
    except LumaError as error:
        if as_json:
            print_json(json_text(failure_object(error)))
        raise


def as_typed(words: str) -> str:
    """Give words of the command line as UTF-8, also where an old locale of Linux could not decode them."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return os.fsencode(words).decode("utf-8", "replace")
    return words


async def modify_until_settled(settings: Settings, request: VideoRequest, *, as_json: bool) -> Task:
    """Submit or join a request, wait for its end, however long it takes, and print it."""
    bar = ProgressBar(sys.stderr)
    progress = Progress(bar.report, heartbeat_seconds=BAR_SECONDS, strictly=False)
    async with open_app(settings, unreached_seconds=UNREACHED_SECONDS) as app, interrupt_on_signal():
        try:
            outcome = await app.modify_video(
                request, LOCAL_CALLER, wait_seconds=settings.max_wait_seconds, progress=progress
            )
            while not (outcome.task.is_settled or outcome.task.is_lost(app.now())):
                await app.ensure_followed(outcome.task.key)
                task = await app.wait(outcome.task.key, settings.max_wait_seconds, progress)
                outcome = replace(await app.outcome(task), is_new=outcome.is_new, joined=outcome.joined)
        finally:
            bar.clear()
        show_outcome(outcome, app.now(), settings, as_json=as_json)
        return outcome.task


def show_outcome(outcome: Outcome, now: float, settings: Settings, *, as_json: bool) -> None:
    task = outcome.task
    if as_json:
        print_json(json_text(task_object(outcome, now, wait=advised_wait(settings))))
    elif task.error is None and task.video_path:
        print_path(task.video_path)
    elif task.error is None:
        print_result("\n".join(task.video_urls))
    if task.error:
        print_failure(task.error)
        if task.video_urls and not task.video_path:
            print_message(f"The video is at {task.video_urls[0]}")
    print_takes(outcome, now)


def print_takes(outcome: Outcome, now: float) -> None:
    """Say whether a repetition was charged, and which take comes next."""
    task = outcome.task
    if outcome.joined:
        print_message(f"{call_cost(outcome)}: the same request was made at {local_time(task.created_at)}.")
    if outcome.next_take and has_take_offer(outcome, now):
        print_message(f"Another version is --take {outcome.next_take}, which {take_cost(task)}.")
    elif outcome.is_new and 0 < outcome.next_take < task.request.take:
        print_message(f"--take {outcome.next_take} was never made: takes can be had in any order.")
