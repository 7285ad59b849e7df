"""What each command does, and the only places where an event loop starts."""

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any

import anyio

from luma_mcp.app.app import Outcome, open_app
from luma_mcp.cli.console import (
    format_tasks,
    print_json,
    print_message,
    print_result,
)
from luma_mcp.cli.logs import configure_logging
from luma_mcp.core.models import LOCAL_CALLER, Task
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.server.results import (
    advised_wait,
    json_text,
    task_object,
)
from luma_mcp.transports.auth import ensure_local_token, with_local_token
from luma_mcp.transports.http import serve_http
from luma_mcp.transports.sockets import uvicorn_config
from luma_mcp.transports.stdio import serve_stdio


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
