"""What each command does, and the only places where an event loop starts."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from luma_mcp.app.app import Outcome, open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.console import (
    ProgressBar,
    exit_code,
    format_tasks,
    local_time,
    print_failure,
    print_json,
    print_message,
    print_path,
    print_result,
)
from luma_mcp.cli.logs import configure_logging
from luma_mcp.core.errors import InvalidRequest, LumaError
from luma_mcp.core.models import LOCAL_CALLER, Task, VideoRequest
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.settings_sources import BadSetting
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
from luma_mcp.transports.auth import ensure_local_token, with_local_token
from luma_mcp.transports.http import serve_http
from luma_mcp.transports.shutdown import interrupt_on_signal
from luma_mcp.transports.sockets import uvicorn_config
from luma_mcp.transports.stdio import serve_stdio

BAR_SECONDS = 0.5
NEW_TAKE_HINT = "Another version of the same request is --take 2, 3, …; without, the same command joins its task."
UNREACHED_SECONDS = 6.0  # a person is there, who can mend the network


def with_settings(run: Callable[..., int]) -> Callable[..., int]:
    """Load a command's settings from the flags and all other sources; raise `BadSetting`."""

    def loaded(flags: Mapping[str, Any], **own: Any) -> int:
        settings = load_settings(**flags)
        configure_logging(settings)
        return run(settings, **own)

    return loaded


def serve(settings: Settings) -> int:
    if settings.serves_http:
        settings = with_local_token(settings)
        configure_logging(settings)
        with redirect_stdout(sys.stderr):  # what libraries print
            anyio.run(serve_http, settings, print_message)
    else:
        anyio.run(serve_stdio, settings)
    return 0


def run_modify(
    settings: Settings, source: str, prompt: str, *, take: int, as_json: bool, new_take: bool = False
) -> int:
    if new_take:
        raise InvalidRequest("There is no --new-take any more.", hint=NEW_TAKE_HINT)
    settings = settings.model_copy(update={"transport": "stdio"})  # a person is here, whatever a server would speak
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


def run_tasks(settings: Settings, status: str, limit: int, *, as_json: bool) -> int:
    now, tasks, cursor = anyio.run(read_tasks, settings, status, limit)
    if as_json:
        wait = advised_wait(settings)
        page = {"tasks": [task_object(Outcome(task), now, wait=wait) for task in tasks], "next_cursor": cursor}
        print_json(json_text(page))
    else:
        print_result(format_tasks(tasks))
    return 0


async def read_tasks(settings: Settings, status: str, limit: int) -> tuple[float, list[Task], str]:
    async with open_app(settings) as app:
        return app.now(), *await app.list_tasks(LOCAL_CALLER, status, limit, "")


def run_token(settings: Settings) -> int:
    print_result(ensure_local_token(settings.data_dir).get_secret_value())
    if settings.auth_tokens is not None:
        print_message(
            f"It is for servers without LUMA_MCP_AUTH_TOKENS, which is set here to {describe_callers(settings)}."
        )
    return 0


def describe_callers(settings: Settings) -> str:
    return "none" if settings.needs_no_token else f"tokens of {', '.join(dict.fromkeys(dict(settings.callers)))}"


def run_sandbox(settings: Settings, listen: int, seconds: float) -> int:
    from luma_mcp.sandbox.serve import serve_sandbox  # noqa: PLC0415 - brings a web server, which nothing else needs

    try:
        anyio.run(serve_sandbox, settings.sandbox_dir, listen, seconds, print_message, uvicorn_config)
    except OSError as error:
        raise BadSetting("--listen", f"port {listen} cannot be used: {error}") from error
    return 0
