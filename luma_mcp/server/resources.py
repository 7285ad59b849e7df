"""The tasks as resources: the list, one task, and the newest ones by name for a host's picker."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import mcp.types as wire
from mcp.shared.exceptions import MCPError

from luma_mcp.app.arguments import LONGEST_ID
from luma_mcp.core.addresses import LONGEST_URL
from luma_mcp.core.errors import InvalidRequest, TaskNotFound
from luma_mcp.core.models import Status, Task
from luma_mcp.core.uris import TASK_TEMPLATE, TASKS_URI, task_id_of, task_uri
from luma_mcp.server.context import Page, Request, caller_of, only_page
from luma_mcp.server.results import TaskList, advised_wait, as_text, task_object, task_page

JSON = "application/json"
NEWEST = 20
LISTED = 100
TITLE_LENGTH = 60
LONGEST_WORD = 59  # with "task-" before it, 64 characters, more than which no tool may be called
OLDER = "For older tasks call list_tasks with this next_cursor as cursor."
SETTLED_FRESH_MS = 60_000
AGES = ((86_400, "day"), (3600, "hour"), (60, "minute"))

TASKS = wire.Resource(
    uri=TASKS_URI,
    name="tasks",
    title="Video tasks",
    description="The newest modify_video tasks as JSON, newest first, from this server's ledger: state, first words of"
    " the prompt, where the video is, what it cost. Older ones: the tool list_tasks with next_cursor.",
    mime_type=JSON,
)
TEMPLATE = wire.ResourceTemplate(
    uri_template=TASK_TEMPLATE,
    name="task",
    title="One video task",
    description="One modify_video task as JSON, from this server's ledger: the object that the tool get_task returns."
    " Reading it costs nothing and asks nobody.",
    mime_type=JSON,
)


async def list_resources(ctx: Request) -> wire.ListResourcesResult:
    """Answer `resources/list`: the task list, and each of the newest tasks."""
    app = ctx.lifespan_context
    newest = await app.ledger.matching(caller_of(ctx), "", list(Status), NEWEST)
    return wire.ListResourcesResult(resources=[TASKS, *(task_entry(task, app.now()) for task in newest)])


async def list_templates(_: Request, params: Page) -> wire.ListResourceTemplatesResult:
    """Answer `resources/templates/list`."""
    only_page(params)
    return wire.ListResourceTemplatesResult(resource_templates=[TEMPLATE])


async def read_resource(ctx: Request, params: wire.ReadResourceRequestParams) -> wire.ReadResourceResult:
    """Answer `resources/read`; a settled task may be kept for a minute, everything else changes at any time."""
    app = ctx.lifespan_context
    if params.uri == TASKS_URI:
        tasks, next_cursor = await app.ledger.page(caller_of(ctx), "", LISTED, "")
        tasks = await app.saving.as_they_are(tasks)
        return contents(params.uri, newest_tasks(tasks, next_cursor))
    outcome = await app.outcome(await find(ctx, params.uri))
    settled = outcome.task.settled and not outcome.task.awaits_file
    told = task_object(outcome, app.now(), remote=app.settings.serves_http, wait=advised_wait(app.settings))
    return contents(params.uri, told, fresh_ms=SETTLED_FRESH_MS if settled else 0)


async def find(ctx: Request, uri: str) -> Task:
    """Look up the task that a URI names; raise the protocol's error for an unknown resource."""
    try:
        task = await ctx.lifespan_context.find(task_id_of(uri), caller_of(ctx))
    except (InvalidRequest, TaskNotFound):
        raise unknown(uri) from None
    if task_uri(task.task_id) != uri:
        raise unknown(uri)  # what is told of a task has its one URI, and no other
    return task


def unknown(uri: str) -> MCPError:
    """Say that there is no such resource, as MCP 2026-07-28 has it (SEP-2164)."""
    known = f"There are {TASKS_URI} and, for each task in this server's ledger, {TASK_TEMPLATE}."
    return MCPError(
        wire.INVALID_PARAMS, f"Resource not found: {uri[:LONGEST_ID]!r}. {known}", {"uri": uri[:LONGEST_URL]}
    )


def contents(uri: str, answer: Any, *, fresh_ms: int = 0) -> wire.ReadResourceResult:
    """Give JSON as a resource's contents, which may be kept by one caller for some milliseconds."""
    text = wire.TextResourceContents(uri=uri, mime_type=JSON, text=as_text(answer))
    return wire.ReadResourceResult(contents=[text], ttl_ms=fresh_ms, cache_scope="private")


def newest_tasks(tasks: Sequence[Task], next_cursor: str) -> TaskList:
    """Describe the newest tasks as `list_tasks` does, and say how to get at older ones."""
    page = task_page(tasks, next_cursor)
    return page | {"next_step": OLDER} if page["next_cursor"] else page


def task_entry(task: Task, now: float) -> wire.Resource:
    """Describe a task so that a person recognises it in a picker, by prompt, state and age."""
    prompt = " ".join("".join(filter(is_visible, task.request.prompt)).split())
    words = prompt if len(prompt) <= TITLE_LENGTH else f"{prompt[: TITLE_LENGTH - 1].rstrip()}…"
    take = f"take {task.request.take}, " if task.request.take > 1 else ""
    return wire.Resource(
        uri=task_uri(task.task_id),
        name=plain_name(task.task_id),
        title=f"{words} ({task.status.value}, {take}{age(now - task.created_at)})",
        description="A modify_video task, as JSON: state, where the video is, what it cost.",
        mime_type=JSON,
    )


def plain_name(task_id: str) -> str:
    """Name a task's resource in a word of letters, digits, `_` and `-`: some frameworks make tools of it."""
    word = re.sub(r"[^A-Za-z0-9_-]", "", task_id)
    if word != task_id or len(word) > LONGEST_WORD:
        word = f"{word[: LONGEST_WORD - 17]}-{hashlib.sha256(task_id.encode()).hexdigest()[:16]}"
    return f"task-{word}"


def is_visible(character: str) -> bool:
    """Tell whether a character has a place in one line of text: blanks of all kinds, but nothing that directs it."""
    return character.isprintable() or character.isspace()


def age(seconds: float) -> str:
    """Say roughly how long ago something was."""
    for length, unit in AGES:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
