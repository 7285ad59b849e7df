"""The tools, as plain functions; what models read about them is in `tool_texts`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, TextContent
from pydantic import Field
from pydantic.config import JsonDict

from luma_mcp.app.app import App, Outcome
from luma_mcp.app.progress import Progress
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import MODEL, MOST_TAKES, VideoRequest
from luma_mcp.core.settings import LONGEST_WAIT_SECONDS
from luma_mcp.core.text import is_object
from luma_mcp.server import tool_texts
from luma_mcp.server.account_results import AccountObject, account_object
from luma_mcp.server.context import caller_of
from luma_mcp.server.results import (
    TaskList,
    TaskObject,
    advised_wait,
    as_text,
    failure_object,
    is_failure,
    task_object,
    task_page,
)

WAIT_BOUNDS: JsonDict = {"minimum": -1, "maximum": LONGEST_WAIT_SECONDS}
NOT_EMPTY: JsonDict = {"minLength": 1}

Prompt = Annotated[str, Field(description=tool_texts.PROMPT, json_schema_extra=NOT_EMPTY)]
SourceVideo = Annotated[str, Field(description=tool_texts.SOURCE, json_schema_extra=NOT_EMPTY)]
Model = Annotated[str, Field(description=tool_texts.MODEL_NAME)]
Watermark = Annotated[bool, Field(description=tool_texts.WATERMARK)]
CallbackUrl = Annotated[str, Field(description=tool_texts.CALLBACK_URL)]
Take = Annotated[int, Field(description=tool_texts.TAKE, json_schema_extra={"minimum": 1, "maximum": MOST_TAKES})]
Wait = Annotated[int, Field(description=tool_texts.WAIT, json_schema_extra=WAIT_BOUNDS)]
WaitForEnd = Annotated[int, Field(description=tool_texts.WAIT_FOR_END, json_schema_extra=WAIT_BOUNDS)]
TaskId = Annotated[str, Field(description=tool_texts.TASK_ID)]
SavedTaskId = Annotated[str, Field(description=tool_texts.SAVED_TASK_ID)]
FileName = Annotated[str, Field(description=tool_texts.FILE_NAME)]
StatusFilter = Annotated[str, Field(description=tool_texts.STATUS)]  # no enum: "" in one is refused by Gemini's API
Limit = Annotated[int, Field(description=tool_texts.LIMIT, json_schema_extra={"minimum": 1, "maximum": 100})]
Cursor = Annotated[str, Field(description=tool_texts.CURSOR)]


async def modify_video(
    prompt: Prompt,
    source_video_url: SourceVideo,
    ctx: Context[App],
    take: Take = 1,
    model: Model = MODEL,
    watermark: Watermark = False,  # noqa: FBT002 - an argument of the wire, always named
    callback_url: CallbackUrl = "",
    wait_seconds: Wait = -1,
) -> Annotated[CallToolResult, TaskObject]:
    """Submit a request or join the task that it has, and answer within the bound."""
    app = app_of(ctx)
    request = VideoRequest(
        prompt=prompt.strip(),
        source=source_video_url.strip(),
        model=model.strip(),
        watermark=watermark,
        callback_url=callback_url.strip(),
        take=take,
    )
    caller, progress = caller_of(ctx.request_context), Progress(ctx.report_progress)
    return told(app, await app.modify_video(request, caller, wait_seconds=wait_seconds, progress=progress))


async def get_task(
    task_id: TaskId, ctx: Context[App], wait_seconds: WaitForEnd = 0
) -> Annotated[CallToolResult, TaskObject]:
    """Tell of one task, after waiting for its end if that is asked for."""
    app = app_of(ctx)
    caller, progress = caller_of(ctx.request_context), Progress(ctx.report_progress)
    return told(app, await app.get_task(task_id, caller, wait_seconds=wait_seconds, progress=progress))


async def list_tasks(
    ctx: Context[App], status: StatusFilter = "", limit: Limit = 20, cursor: Cursor = ""
) -> Annotated[CallToolResult, TaskList]:
    """Tell of a page of tasks in short, from the ledger alone."""
    app = app_of(ctx)
    app.wake()
    tasks, next_cursor = await app.list_tasks(caller_of(ctx.request_context), status.strip(), limit, cursor.strip())
    return result(task_page(tasks, next_cursor))


async def save_video(
    task_id: SavedTaskId, ctx: Context[App], filename: FileName = ""
) -> Annotated[CallToolResult, TaskObject]:
    """Save a finished task's video."""
    app = app_of(ctx)
    caller, progress = caller_of(ctx.request_context), Progress(ctx.report_progress)
    return told(app, await app.save_video(task_id, caller, filename, progress=progress))


async def check_account(ctx: Context[App]) -> Annotated[CallToolResult, AccountObject]:
    """Tell prices, balance and limits."""
    app = app_of(ctx)
    account = await app.check_account(caller_of(ctx.request_context))
    answer = account_object(account, app.runapi.origin, shared=bool(app.settings.callers))
    return result(answer, failed=account.failure is not None)


def app_of(ctx: Context[App]) -> App:
    """Find the application behind a request."""
    return ctx.request_context.lifespan_context


def told(app: App, outcome: Outcome) -> CallToolResult:
    """Tell the caller of a task."""
    now, remote, wait = app.now(), app.settings.serves_http, advised_wait(app.settings)
    return result(task_object(outcome, now, remote=remote, wait=wait), failed=is_failure(outcome.task, now))


def refuse(error: LumaError) -> CallToolResult:
    """Hand a failure that concerns no task to the caller."""
    return result(failure_object(error), failed=True)


def with_ignored(answer: CallToolResult, names: Sequence[str]) -> CallToolResult:
    """Add to an answer which of the call's arguments meant nothing, if any."""
    given: object = answer.structured_content
    if not names or not is_object(given):
        return answer
    step = {"next_step": given["next_step"]} if "next_step" in given else {}
    return result({**given, "ignored_arguments": [*names], **step}, failed=answer.is_error is True)


def result(answer: Mapping[str, Any], *, failed: bool = False) -> CallToolResult:
    """Give an answer in both forms, because hosts show the model one or the other; some fail on any third."""
    return CallToolResult(
        content=[TextContent(type="text", text=as_text(answer))], structured_content=dict(answer), is_error=failed
    )
