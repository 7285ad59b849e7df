"""The command line: what each command needs, and the only places where an event loop starts."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

import anyio

from luma_mcp import __version__
from luma_mcp.answers import as_text, task_list, task_object
from luma_mcp.app import open_app
from luma_mcp.console import EXIT_CODES, EXIT_HELP, ProgressBar, exit_code, table
from luma_mcp.errors import Failure, LumaError
from luma_mcp.http import serve_http
from luma_mcp.logs import configure_logging
from luma_mcp.models import LOCAL_CALLER, Task, VideoRequest
from luma_mcp.progress import Progress
from luma_mcp.setting_values import BadSetting
from luma_mcp.settings import Settings, load_settings, variable_of
from luma_mcp.sources import file_uri_path, real_path
from luma_mcp.stdio import serve_stdio

ABOUT = """\
Modify videos with Luma at RunAPI: a prompt and a clip in, the re-rendered clip out, saved on disk.

Without a command, luma-mcp is an MCP server on stdin and stdout: hosts such as Claude Desktop
start it by themselves. With --transport http it serves many of them on a port. To try the whole
job without a key, network or cost:

  luma-mcp modify CLIP.mp4 "a foggy autumn morning" --sandbox"""
MODIFY_ABOUT = """\
Modify one clip: submits it, shows progress, saves the result, and prints the path of the saved
file on stdout. Costs 0.50 USD when it succeeds (nothing with --sandbox). Interrupting it leaves
the task alive: the same command joins it again and is not charged twice."""
SECRET: frozenset[str] = frozenset({"api_key", "auth_tokens"})
HTTP_ONLY = frozenset({"transport", "host", "port", "allowed_hosts", "public_url"})
BAR_SECONDS = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    for stream in (sys.stdout, sys.stderr):  # noqa: TID251 - only its encoding is set
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    arguments = vars(parser().parse_args(argv))
    run = cast("Callable[..., int]", arguments.pop("run"))
    own = {name: arguments.pop(name) for name in list(arguments) if name not in Settings.model_fields}
    try:
        settings = load_settings(**arguments)
        configure_logging(settings)
        return run(settings, **own)
    except BadSetting as error:
        say(error.message)
        return EXIT_CODES["missing_api_key"]
    except LumaError as error:
        explain(error.failure())
        return EXIT_CODES[error.code]
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing is flushed into the closed pipe at exit
        return 141
    except KeyboardInterrupt:
        say("Interrupted. A submitted task goes on; the same command joins it again.")
        return 130


def parser() -> argparse.ArgumentParser:
    """Describe commands and flags."""
    top = argparse.ArgumentParser(
        prog="luma-mcp", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"runapi-luma-mcp {__version__}")
    top.set_defaults(run=serve)
    add_setting_flags(top, hidden=SECRET)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    command = partial(add_command, commands)

    modify = command("modify", run_modify, "modify one clip and save the result", MODIFY_ABOUT)
    modify.add_argument("source", metavar="SOURCE", help="the clip: a file, an http(s) URL, or luma://tasks/TASK_ID")
    modify.add_argument("prompt", metavar="PROMPT", help="how it should look")
    modify.add_argument("--new-take", action="store_true", help="pay for another result of the same request")
    modify.add_argument("--json", action="store_true", dest="as_json", help="print the whole task as JSON")

    tasks = command("tasks", run_tasks, "list earlier tasks, newest first")
    tasks.add_argument("--status", default="", metavar="STATUS", help="only tasks in this state")
    tasks.add_argument("--limit", type=int, default=20, metavar="N", help="how many, 1 to 100 (default 20)")
    tasks.add_argument("--json", action="store_true", dest="as_json", help="print the list as JSON")

    sandbox = command("sandbox", run_sandbox, "serve the sandbox RunAPI on a port of this machine")
    sandbox.add_argument("--listen", type=port_number, default=8788, metavar="PORT", help="the port (default 8788)")
    sandbox.add_argument("--seconds", type=float, default=8, metavar="S", help="how long a task takes (default 8)")
    return top


def port_number(value: str) -> int:
    """Read a port; 0 means any that is free."""
    if not 0 <= int(value) <= 65535:
        raise ValueError(value)
    return int(value)


def add_command(
    commands: Any, name: str, run: Callable[..., int], summary: str, about: str = ""
) -> argparse.ArgumentParser:
    """Add a command with the flags that all share."""
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=about or f"{summary[:1].upper()}{summary[1:]}.",
        epilog=EXIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_setting_flags(added, hidden=SECRET | HTTP_ONLY)
    added.set_defaults(run=run)
    return added


def add_setting_flags(to: argparse.ArgumentParser, *, hidden: frozenset[str]) -> None:
    """Add a flag for each setting; secrets are never flags, because others on the machine can read command lines."""
    group = to.add_argument_group("settings", "each can also be given as the environment variable named")
    for name, field in Settings.model_fields.items():
        if name in hidden:
            continue
        more: dict[str, Any] = {"action": "store_true"} if field.annotation is bool else {"metavar": "VALUE"}
        about = f"{field.description} [{variable_of(field, name)}]".replace("%", "%%")
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, default=argparse.SUPPRESS, help=about, **more)


def serve(settings: Settings) -> int:
    """Be an MCP server."""
    if settings.serves_http:
        anyio.run(serve_http, settings, say)
    else:
        anyio.run(serve_stdio, settings)
    return 0


def run_modify(settings: Settings, source: str, prompt: str, *, new_take: bool, as_json: bool) -> int:
    """Modify one clip and print where the result is."""
    settings = settings.model_copy(update={"transport": "stdio"})  # a person is here, whatever a server would speak
    if source.startswith("file:"):
        source = str(file_uri_path(source, "SOURCE"))
    if source.strip() and "://" not in source:
        path = real_path(Path(os.path.expanduser(source)))
        source = str(path)
        settings = settings.model_copy(update={"media_roots": (*settings.readable_folders, path.parent)})
    request = VideoRequest(prompt=prompt.strip(), source=source.strip())
    task = anyio.run(partial(modify_until_settled, settings, request, new_take=new_take, as_json=as_json))
    if task.error:
        explain(task.error)
        if task.video_urls and not task.video_path:
            say(f"The video is at {task.video_urls[0]}")
    return exit_code(task)


async def modify_until_settled(settings: Settings, request: VideoRequest, *, new_take: bool, as_json: bool) -> Task:
    """Submit or join a request, wait for its end, however long it takes, and print it: only then is it delivered."""
    bar = ProgressBar(sys.stderr)
    progress = Progress(bar.report, heartbeat_seconds=BAR_SECONDS)
    async with open_app(settings) as app:
        try:
            task, joined = await app.modify_video(
                request, LOCAL_CALLER, wait_seconds=settings.max_wait_seconds, new_take=new_take, progress=progress
            )
            while not task.settled:
                await app.follow(task.key)
                task = await app.wait(task.key, settings.max_wait_seconds, progress)
        finally:
            bar.clear()
        if as_json:
            show(as_text(task_object(task, app.now(), joined=joined)))
        elif task.error is None:
            show(task.video_path or "\n".join(task.video_urls))
        if task.status.done:
            await app.deliveries.deliver([task.key])
        return task


def run_tasks(settings: Settings, status: str, limit: int, *, as_json: bool) -> int:
    """List earlier tasks."""
    now, tasks, cursor = anyio.run(read_tasks, settings, status, limit)
    show(as_text(task_list(tasks, cursor, now)) if as_json else table(tasks))
    return 0


async def read_tasks(settings: Settings, status: str, limit: int) -> tuple[float, list[Task], str]:
    """Read a page of the ledger."""
    async with open_app(settings) as app:
        return app.now(), *await app.list_tasks(LOCAL_CALLER, status, limit, "")


def run_sandbox(settings: Settings, listen: int, seconds: float) -> int:
    """Serve the sandbox until interrupted."""
    from luma_mcp.sandbox.serve import serve_sandbox  # noqa: PLC0415 - brings a web server, which nothing else needs

    try:
        anyio.run(serve_sandbox, settings.data_dir / "sandbox", listen, seconds, say)
    except OSError as error:
        raise BadSetting("--listen", f"port {listen} cannot be used: {error}") from error
    return 0


def explain(failure: Failure) -> None:
    """Say on stderr what went wrong, whether it cost money, and what to do."""
    say(f"{failure.code}: {failure.message}")
    say(f"charged: {failure.charged}. {failure.hint}".rstrip())


def show(result: str) -> None:
    """Put a command's result on stdout."""
    print(result, flush=True)  # noqa: T201 - the result of a command line call; no protocol is served then


def say(line: str) -> None:
    """Tell a person something on stderr."""
    print(line, file=sys.stderr)  # noqa: T201 - stderr, for people


if __name__ == "__main__":
    sys.exit(main())
