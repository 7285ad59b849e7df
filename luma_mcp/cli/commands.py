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
from luma_mcp.cli.console import ProgressBar, exit_code, explain, local_time, say, show, show_json, show_path, table
from luma_mcp.cli.logs import configure_logging
from luma_mcp.core.errors import InvalidRequest, LumaError
from luma_mcp.core.models import LOCAL_CALLER, Task, VideoRequest
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.media.sources import file_uri_path, typed_file
from luma_mcp.server.results import advised_wait, as_text, cost_of, failure_object, offers_take, priced, task_object
from luma_mcp.transports.http import serve_http
from luma_mcp.transports.local_token import local_token, with_local_token
from luma_mcp.transports.shutdown import interruptible
from luma_mcp.transports.sockets import uvicorn_config
from luma_mcp.transports.stdio import serve_stdio

BAR_SECONDS = 0.5
INSTEAD = "Another version of the same request is --take 2, 3, …; without, the same command joins its task."
UNREACHED_SECONDS = 6.0  # a person is there, who can mend the network


def with_settings(run: Callable[..., int]) -> Callable[..., int]:
    """Give a command its settings, made of the flags and of all other sources; `BadSetting` is for the caller."""

    def loaded(flags: Mapping[str, Any], **own: Any) -> int:
        settings = load_settings(**flags)
        configure_logging(settings)
        return run(settings, **own)

    return loaded


def serve(settings: Settings) -> int:
    """Be an MCP server."""
    if settings.serves_http:
        settings = with_local_token(settings)
        configure_logging(settings)
        with redirect_stdout(sys.stderr):  # what libraries print
            anyio.run(serve_http, settings, say)
    else:
        anyio.run(serve_stdio, settings)
    return 0


def run_modify(
    settings: Settings, source: str, prompt: str, *, take: int, as_json: bool, new_take: bool = False
) -> int:
    """Modify one clip and print where the result is."""
    if new_take:
        raise InvalidRequest("There is no --new-take any more.", hint=INSTEAD)
    settings = settings.model_copy(update={"transport": "stdio"})  # a person is here, whatever a server would speak
    source = source.strip() if source.strip().lower().startswith("file:") else source
    if source.lower().startswith("file:"):
        source = str(file_uri_path(source, "SOURCE"))
    if source.strip() and "://" not in source:
        path = typed_file(Path(os.path.expanduser(source)))
        source = str(path)
        settings = settings.model_copy(update={"media_roots": (*settings.readable_folders, path.parent)})
    request = VideoRequest(prompt=as_typed(prompt).strip(), source=source.strip(), take=take)
    try:
        return exit_code(anyio.run(partial(modify_until_settled, settings, request, as_json=as_json)))
    except LumaError as error:
        if as_json:
            show_json(as_text(failure_object(error)))
        raise


def as_typed(words: str) -> str:
    """Give words of the command line as they were typed, also where an old locale of Linux has no name for them."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return os.fsencode(words).decode("utf-8", "replace")
    return words


async def modify_until_settled(settings: Settings, request: VideoRequest, *, as_json: bool) -> Task:
    """Submit or join a request, wait for its end, however long it takes, and print it."""
    bar = ProgressBar(sys.stderr)
    progress = Progress(bar.report, heartbeat_seconds=BAR_SECONDS, strictly=False)
    async with open_app(settings, unreached_seconds=UNREACHED_SECONDS) as app, interruptible():
        try:
            outcome = await app.modify_video(
                request, LOCAL_CALLER, wait_seconds=settings.max_wait_seconds, progress=progress
            )
            while not (outcome.task.settled or outcome.task.is_lost(app.now())):
                await app.follow(outcome.task.key)
                task = await app.wait(outcome.task.key, settings.max_wait_seconds, progress)
                outcome = replace(await app.outcome(task), is_new=outcome.is_new, joined=outcome.joined)
        finally:
            bar.clear()
        show_outcome(outcome, app.now(), settings, as_json=as_json)
        return outcome.task


def show_outcome(outcome: Outcome, now: float, settings: Settings, *, as_json: bool) -> None:
    """Print what became of a request, and say what went wrong and what a person should know beside it."""
    task = outcome.task
    if as_json:
        show_json(as_text(task_object(outcome, now, wait=advised_wait(settings))))
    elif task.error is None and task.video_path:
        show_path(task.video_path)
    elif task.error is None:
        show("\n".join(task.video_urls))
    if task.error:
        explain(task.error)
        if task.video_urls and not task.video_path:
            say(f"The video is at {task.video_urls[0]}")
    say_takes(outcome, now)


def say_takes(outcome: Outcome, now: float) -> None:
    """Say what a repetition has cost, and which takes of its request there are not."""
    task = outcome.task
    if outcome.joined:
        say(f"{cost_of(outcome)}: the same request was made at {local_time(task.created_at)}.")
    if outcome.next_take and offers_take(outcome, now):
        say(f"Another version is --take {outcome.next_take}, which {priced(task)}.")
    elif outcome.is_new and 0 < outcome.next_take < task.request.take:
        say(f"--take {outcome.next_take} was never made: takes can be had in any order.")


def run_tasks(settings: Settings, status: str, limit: int, *, as_json: bool) -> int:
    """List earlier tasks."""
    now, tasks, cursor = anyio.run(read_tasks, settings, status, limit)
    if as_json:
        wait = advised_wait(settings)
        page = {"tasks": [task_object(Outcome(task), now, wait=wait) for task in tasks], "next_cursor": cursor}
        show_json(as_text(page))
    else:
        show(table(tasks))
    return 0


async def read_tasks(settings: Settings, status: str, limit: int) -> tuple[float, list[Task], str]:
    """Read a page of the ledger."""
    async with open_app(settings) as app:
        return app.now(), *await app.list_tasks(LOCAL_CALLER, status, limit, "")


def run_token(settings: Settings) -> int:
    """Show the token of this user's own clients."""
    show(local_token(settings.data_dir).get_secret_value())
    if settings.auth_tokens is not None:
        say(f"It is for servers without LUMA_MCP_AUTH_TOKENS, which is set here to {who_comes(settings)}.")
    return 0


def who_comes(settings: Settings) -> str:
    """Say who is let in, for a person."""
    return "none" if settings.needs_no_token else f"tokens of {', '.join(dict.fromkeys(dict(settings.callers)))}"


def run_sandbox(settings: Settings, listen: int, seconds: float) -> int:
    """Serve the sandbox until interrupted."""
    from luma_mcp.sandbox.serve import serve_sandbox  # noqa: PLC0415 - brings a web server, which nothing else needs

    try:
        anyio.run(serve_sandbox, settings.data_dir / "sandbox", listen, seconds, say, uvicorn_config)
    except OSError as error:
        raise BadSetting("--listen", f"port {listen} cannot be used: {error}") from error
    return 0
