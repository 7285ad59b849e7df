"""The tasks as resources: the list, one task, and the newest ones in a host's picker."""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import mcp.types as wire
from mcp.shared.exceptions import MCPError

from luma_mcp.core.addresses import MAX_URL_LENGTH
from luma_mcp.core.errors import InvalidRequest, TaskNotFound
from luma_mcp.core.models import Status, Task
from luma_mcp.core.uris import (
    MAX_TASK_ID_LENGTH,
    PREVIEW_SUFFIX,
    PREVIEW_TEMPLATE,
    TASK_TEMPLATE,
    TASKS_URI,
    task_id_of,
    task_uri,
)
from luma_mcp.server.context import PageParams, RequestContext, caller_of, reject_cursor
from luma_mcp.server.results import TaskList, advised_wait, json_text, task_object, task_page

JSON_MIME_TYPE = "application/json"
JPEG_MIME_TYPE = "image/jpeg"
MAX_TASK_RESOURCES = 20
TASKS_PAGE_SIZE = 100
TITLE_LENGTH = 60
MAX_NAME_SUFFIX = 59  # with "task-" 64 characters, the longest name that a tool may have
OLDER_TASKS_STEP = "For older tasks call list_tasks with this next_cursor as cursor."
SETTLED_TTL_MS = 60_000
AGES = ((86_400, "day"), (3600, "hour"), (60, "minute"))

TASKS_RESOURCE = wire.Resource(
    uri=TASKS_URI,
    name="tasks",
    title="Video tasks",
    description="The newest modify_video tasks as JSON, newest first, from this server's ledger: state, first words of"
    " the prompt, where the video is, what it cost. Older ones: the tool list_tasks with next_cursor.",
    mime_type=JSON_MIME_TYPE,
)
TEMPLATE = wire.ResourceTemplate(
    uri_template=TASK_TEMPLATE,
    name="task",
    title="One video task",
    description="One modify_video task as JSON, from this server's ledger: the object that the tool get_task returns."
    " Reading it costs nothing and asks nobody.",
    mime_type=JSON_MIME_TYPE,
)
PREVIEW = wire.ResourceTemplate(
    uri_template=PREVIEW_TEMPLATE,
    name="preview",
    title="Frames of a result",
    description="A picture of a completed task's video: its frames below those of the source at the same moments, as"
    " the tool preview_video returns it. Reading it costs nothing.",
    mime_type=JPEG_MIME_TYPE,
)


async def list_resources(ctx: RequestContext) -> wire.ListResourcesResult:
    app = ctx.lifespan_context
    newest = await app.search_tasks(caller_of(ctx), "", list(Status), MAX_TASK_RESOURCES)
    return wire.ListResourcesResult(resources=[TASKS_RESOURCE, *(task_resource(task, app.now()) for task in newest)])


async def list_templates(_: RequestContext, params: PageParams) -> wire.ListResourceTemplatesResult:
    reject_cursor(params)
    return wire.ListResourceTemplatesResult(resource_templates=[TEMPLATE, PREVIEW])


async def read_resource(ctx: RequestContext, params: wire.ReadResourceRequestParams) -> wire.ReadResourceResult:
    """Answer `resources/read`; clients may cache a settled task for a minute, and nothing else."""
    app = ctx.lifespan_context
    if params.uri == TASKS_URI:
        tasks, next_cursor = await app.newest_tasks(caller_of(ctx), TASKS_PAGE_SIZE)
        return contents(params.uri, newest_tasks(tasks, next_cursor))
    if params.uri.endswith(PREVIEW_SUFFIX):
        return await read_preview(ctx, params.uri)
    outcome = await app.outcome(await find_task(ctx, params.uri))
    settled = outcome.task.is_settled and not outcome.task.needs_saving
    told = task_object(outcome, app.now(), remote=app.settings.serves_http, wait=advised_wait(app.settings))
    return contents(params.uri, told, fresh_ms=SETTLED_TTL_MS if settled else 0)


async def read_preview(ctx: RequestContext, uri: str) -> wire.ReadResourceResult:
    """Give the picture of a task's result; raise the protocol's error for an unknown task, else a `LumaError`."""
    task = await find_task(ctx, uri.removesuffix(PREVIEW_SUFFIX))
    preview = await ctx.lifespan_context.preview(task.task_id, caller_of(ctx))
    blob = base64.b64encode(preview.jpeg).decode()
    picture = wire.BlobResourceContents(uri=uri, mime_type=JPEG_MIME_TYPE, blob=blob)
    return wire.ReadResourceResult(contents=[picture], ttl_ms=SETTLED_TTL_MS, cache_scope="private")


async def find_task(ctx: RequestContext, uri: str) -> Task:
    """Look up the task that a URI names; raise the protocol's error for an unknown resource."""
    try:
        task = await ctx.lifespan_context.find(task_id_of(uri), caller_of(ctx))
    except (InvalidRequest, TaskNotFound):
        raise resource_not_found(uri) from None
    if task_uri(task.task_id) != uri:
        raise resource_not_found(uri)  # a task has one URI, and is notified under no other
    return task


def resource_not_found(uri: str) -> MCPError:
    """Make the error for an unknown resource, in the form of MCP 2026-07-28 (SEP-2164)."""
    known = f"There are {TASKS_URI} and, for each task in this server's ledger, {TASK_TEMPLATE}."
    return MCPError(
        wire.INVALID_PARAMS, f"Resource not found: {uri[:MAX_TASK_ID_LENGTH]!r}. {known}", {"uri": uri[:MAX_URL_LENGTH]}
    )


def contents(uri: str, answer: Any, *, fresh_ms: int = 0) -> wire.ReadResourceResult:
    """Give JSON as the contents of a resource, which one client may cache for `fresh_ms`."""
    text = wire.TextResourceContents(uri=uri, mime_type=JSON_MIME_TYPE, text=json_text(answer))
    return wire.ReadResourceResult(contents=[text], ttl_ms=fresh_ms, cache_scope="private")


def newest_tasks(tasks: Sequence[Task], next_cursor: str) -> TaskList:
    page = task_page(tasks, next_cursor)
    return page | {"next_step": OLDER_TASKS_STEP} if page["next_cursor"] else page


def task_resource(task: Task, now: float) -> wire.Resource:
    """Describe a task so that a person recognises it in a picker, by prompt, state and age."""
    prompt = " ".join("".join(filter(is_visible, task.request.prompt)).split())
    words = prompt if len(prompt) <= TITLE_LENGTH else f"{prompt[: TITLE_LENGTH - 1].rstrip()}…"
    take = f"take {task.request.take}, " if task.request.take > 1 else ""
    return wire.Resource(
        uri=task_uri(task.task_id),
        name=resource_name(task.task_id),
        title=f"{words} ({task.status.value}, {take}{format_age(now - task.created_at)})",
        description="A modify_video task, as JSON: state, where the video is, what it cost.",
        mime_type=JSON_MIME_TYPE,
    )


def resource_name(task_id: str) -> str:
    """Make a name of letters, digits, `_` and `-`: some frameworks turn resources into tools of that name."""
    word = re.sub(r"[^A-Za-z0-9_-]", "", task_id)
    if word != task_id or len(word) > MAX_NAME_SUFFIX:
        word = f"{word[: MAX_NAME_SUFFIX - 17]}-{hashlib.sha256(task_id.encode()).hexdigest()[:16]}"
    return f"task-{word}"


def is_visible(character: str) -> bool:
    """Tell whether a character may stand in one line: blanks of any kind, but no control or direction marks."""
    return character.isprintable() or character.isspace()


def format_age(seconds: float) -> str:
    for length, unit in AGES:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
