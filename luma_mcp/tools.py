"""The tools, as plain functions. Models read their docstrings: when to use it, cost and time, what to do next."""

from collections.abc import Mapping
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ResourceLink, TextContent
from pydantic import Field
from pydantic.config import JsonDict

from luma_mcp import crash_points
from luma_mcp.account_answers import AccountObject, account_object
from luma_mcp.answers import (
    TaskList,
    TaskObject,
    advised_wait,
    as_text,
    failure_object,
    is_failure,
    task_list,
    task_object,
)
from luma_mcp.app import App
from luma_mcp.errors import LumaError
from luma_mcp.models import MODEL, Status, Task, VideoRequest
from luma_mcp.progress import Progress
from luma_mcp.protocol import caller_of, way_of
from luma_mcp.resources import task_entry
from luma_mcp.settings import LONGEST_WAIT_SECONDS

LINKS_SINCE = "2025-06-18"  # the first version of MCP with resource links
WAIT_BOUNDS: JsonDict = {"minimum": -1, "maximum": LONGEST_WAIT_SECONDS}

Prompt = Annotated[
    str,
    Field(
        description="How the video should look, in English, as one description of the result: setting, light, weather,"
        " style, and what must stay as it is.",
        json_schema_extra={"minLength": 1},
    ),
]
SourceVideo = Annotated[
    str,
    Field(
        description="The clip to modify, MP4 or MOV: an http(s) URL that anyone on the internet can open, an absolute"
        " path, ~ path or file:// URI in an allowed folder (uploaded first), or luma://tasks/<task_id> to continue from"
        " an earlier result.",
        json_schema_extra={"minLength": 1},
    ),
]
SOURCE_WITHOUT_FILES = (
    "The clip to modify, MP4 or MOV: an http(s) URL that anyone on the internet can open, or luma://tasks/<task_id> to"
    " continue from an earlier result. This server reads no files; ask the user for a public link."
)
Model = Annotated[str, Field(description=f"The model; {MODEL} is the only one.")]
Watermark = Annotated[bool, Field(description="True adds RunAPI's watermark.")]
CallbackUrl = Annotated[str, Field(description="A URL of the user's own that RunAPI calls when the task ends.")]
NewTake = Annotated[
    bool,
    Field(
        description="True pays for another result although the same request is unfinished or was never delivered. Leave"
        " it out when you repeat a call that was cut off or has no task_id yet: then it joins, and costs nothing more."
        " Once a result was delivered, the same call is a new task even without it."
    ),
]
Wait = Annotated[
    int,
    Field(
        description="How many seconds to wait for the end before answering; -1 means the setting (40 by default). Hosts"
        " often cut a call at 60. With 0 it answers as soon as RunAPI has named the task, after 5 seconds at most.",
        json_schema_extra=WAIT_BOUNDS,
    ),
]
WaitForEnd = Annotated[
    int,
    Field(
        description="How many seconds to wait for the end before answering; -1 means the setting (40 by default), 0 not"
        " at all. Hosts often cut a call at 60.",
        json_schema_extra=WAIT_BOUNDS,
    ),
]
TaskId = Annotated[str, Field(description="The task_id that modify_video or list_tasks gave.")]
SavedTaskId = Annotated[str, Field(description="The task_id of a completed task.")]
FileName = Annotated[
    str,
    Field(
        description="A plain file name for the video, such as foggy-morning.mp4 (.mp4 is added if it lacks that); empty"
        " for one made of date, prompt and id. It always goes into the output folder, and never over another file."
    ),
]
NAME_ON_SERVER = (
    "A plain file name for the video, such as foggy-morning.mp4; empty for one made of date, prompt and id. The file"
    " stays on the server's machine, one for each task: once there is one, another name is ignored."
)
StatusFilter = Annotated[
    str, Field(description="Only tasks in this state; empty for all.", json_schema_extra={"enum": ["", *Status]})
]
Limit = Annotated[int, Field(description="How many tasks, 1 to 100.", json_schema_extra={"minimum": 1, "maximum": 100})]
Cursor = Annotated[str, Field(description="next_cursor of the page before; empty for the first page.")]


async def modify_video(
    prompt: Prompt,
    source_video_url: SourceVideo,
    ctx: Context[App],
    model: Model = MODEL,
    watermark: Watermark = False,  # noqa: FBT002 - an argument of the wire, always named
    callback_url: CallbackUrl = "",
    wait_seconds: Wait = -1,
    new_take: NewTake = False,  # noqa: FBT002 - an argument of the wire, always named
) -> Annotated[CallToolResult, TaskObject]:
    """Use this when the user wants an existing video changed: weather, light, season, style, setting or materials, \
while the motion stays. Luma re-renders the clip from a prompt; it does not cut, trim, subtitle, or make video from \
nothing.

Each new task costs 0.50 USD, charged only if it succeeds, and takes 30 seconds to 20 minutes. Repeating the same \
call, without new_take, while its task is unfinished or undelivered joins that task and costs nothing more.

The answer comes within about 40 seconds. If done is false, the work goes on: do what next_step says, usually get_task \
with the task_id and wait_seconds 40 until done is true. When it is done, tell the user where the video is, \
as next_step says: video_path (the saved file), or the link in video_urls."""
    app = app_of(ctx)
    request = VideoRequest(
        prompt=prompt.strip(),
        source=source_video_url.strip(),
        model=model.strip(),
        watermark=watermark,
        callback_url=callback_url.strip(),
    )
    task, joined = await app.modify_video(
        request,
        caller_of(ctx.request_context),
        wait_seconds=wait_seconds,
        new_take=new_take,
        progress=Progress(ctx.report_progress),
    )
    return deliver(ctx, task, joined=joined)


async def get_task(
    task_id: TaskId, ctx: Context[App], wait_seconds: WaitForEnd = 0
) -> Annotated[CallToolResult, TaskObject]:
    """Use this to see how a modify_video task is doing, or to wait for its end. It costs nothing.

With wait_seconds 40 it answers as soon as the task ends and at the latest after 40 seconds, which saves calls; with 0 \
it answers at once. If done is false, call it again."""
    app = app_of(ctx)
    task = await app.get_task(
        task_id, caller_of(ctx.request_context), wait_seconds=wait_seconds, progress=Progress(ctx.report_progress)
    )
    return deliver(ctx, task)


async def list_tasks(
    ctx: Context[App], status: StatusFilter = "", limit: Limit = 20, cursor: Cursor = ""
) -> Annotated[CallToolResult, TaskList]:
    """Use this to find earlier modify_video tasks, newest first: after a restart, when a task_id was lost, or to see \
what was made. It costs nothing and asks nobody: the list is kept by this server."""
    app = app_of(ctx)
    app.wake()
    tasks, next_cursor = await app.list_tasks(caller_of(ctx.request_context), status.strip(), limit, cursor.strip())
    remote, wait = app.settings.serves_http, advised_wait(app.settings)
    return result(task_list(tasks, next_cursor, app.now(), remote=remote, wait=wait))


async def save_video(
    task_id: SavedTaskId, ctx: Context[App], filename: FileName = ""
) -> Annotated[CallToolResult, TaskObject]:
    """Use this to put the finished video of a task on disk: when video_path is empty, when the saved file was moved \
or deleted, or when the user wants it under another name. Only completed tasks have one.

It costs nothing and takes seconds to minutes. RunAPI deletes videos 7 days after they are finished, so save before \
expires_at. Saving a video again under the same name, or without one, gives the same file.

The answer comes within about 40 seconds. video_path is where the file is, in the output folder; if it is empty, do \
what next_step says."""
    app = app_of(ctx)
    caller, progress = caller_of(ctx.request_context), Progress(ctx.report_progress)
    return deliver(ctx, await app.save_video(task_id, caller, filename, progress=progress))


async def check_account(ctx: Context[App]) -> Annotated[CallToolResult, AccountObject]:
    """Use this before many tasks, or when the user asks what a video costs, what is left, or what was spent. It tells \
the price of one task, the balance of the RunAPI account, what was spent, and how many tasks the limits still allow.

It costs nothing and takes a second. Without a RunAPI key it tells the price. Then do what next_step says."""
    app = app_of(ctx)
    account = await app.check_account(caller_of(ctx.request_context))
    told = account_object(account, app.runapi.origin, shared=bool(app.settings.callers))
    return result(told, failed=account.failure is not None)


def app_of(ctx: Context[App]) -> App:
    """Find the application behind a request."""
    return ctx.request_context.lifespan_context


def deliver(ctx: Context[App], task: Task, *, joined: bool = False) -> CallToolResult:
    """Hand a task to the caller, and remember it; a finished one comes with a link to it as a resource."""
    app = app_of(ctx)
    call = ctx.request_context
    app.deliveries.handed(task, way_of(call), call.request_id)
    crash_points.reach("answer.handed")
    remote, wait = app.settings.serves_http, advised_wait(app.settings)
    told = task_object(task, app.now(), joined=joined, remote=remote, wait=wait)
    answer = result(told, failed=is_failure(task))
    if task.status.done and task.task_id and call.protocol_version >= LINKS_SINCE:
        answer.content.append(ResourceLink(**task_entry(task, app.now())))
    return answer


def refuse(error: LumaError) -> CallToolResult:
    """Hand a failure that concerns no task to the caller."""
    return result(failure_object(error), failed=True)


def result(answer: Mapping[str, Any], *, failed: bool = False) -> CallToolResult:
    """Give an answer in both forms, because hosts show the model one or the other."""
    return CallToolResult(
        content=[TextContent(type="text", text=as_text(answer))], structured_content=dict(answer), is_error=failed
    )
