"""The tools: what each does with its arguments, and how they are described and called in the protocol.

What models read about them is in `tool_texts`.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import anyio
import mcp.types as wire
from mcp.server.context import HandlerResult
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ImageContent, TextContent
from pydantic import Field
from pydantic.config import JsonDict

from luma_mcp.app.app import App
from luma_mcp.app.progress import Progress
from luma_mcp.core.concurrency import guarded
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import MAX_TAKES, MODEL, VideoRequest
from luma_mcp.core.settings import WAIT_LIMIT_SECONDS, Settings
from luma_mcp.core.text import Json, is_object
from luma_mcp.server import tool_texts
from luma_mcp.server.apps import FOR_PAGE_ALONE, PIECE_BYTES, SHOWS_PAGE, shows_pages
from luma_mcp.server.confirmation import QuestionPending, confirmation_by
from luma_mcp.server.context import PageParams, RequestContext, ToolContext, caller_of, reject_cursor, unknown_name
from luma_mcp.server.file_parameters import (
    FILE_PARAMETERS,
    attached_url,
    fills_file_parameters,
    with_file_parameter,
)
from luma_mcp.server.key_request import lacks_key, offer_login
from luma_mcp.server.legacy_tasks import asks_for_task, may_ask_for_tasks, offer_task
from luma_mcp.server.results import (
    SANDBOX_TASKS_STEP,
    AccountObject,
    TaskList,
    TaskObject,
    UploadObject,
    VideoPiece,
    account_object,
    task_page,
    text_fields,
    upload_object,
)
from luma_mcp.server.scopes import SPEND_SCOPE, allows
from luma_mcp.server.tasks import StartedTask, create_task_result, knows_tasks
from luma_mcp.server.tool_arguments import check_misspellings, coerce_arguments, ignored_names
from luma_mcp.server.tool_results import Answer, failure_result, task_result, tool_result
from luma_mcp.server.tool_schemas import input_schema, output_schema
from luma_mcp.server.video_tasks import started_task

NO_WAIT: Json = {"wait_seconds": 0}
WAIT_BOUNDS: JsonDict = {"minimum": -1, "maximum": WAIT_LIMIT_SECONDS}
NOT_EMPTY: JsonDict = {"minLength": 1}
Prompt = Annotated[str, Field(description=tool_texts.PROMPT, json_schema_extra=NOT_EMPTY)]
SourceVideo = Annotated[str, Field(description=tool_texts.SOURCE, json_schema_extra=NOT_EMPTY)]
Model = Annotated[str, Field(description=tool_texts.MODEL_NAME)]
Watermark = Annotated[bool, Field(description=tool_texts.WATERMARK)]
CallbackUrl = Annotated[str, Field(description=tool_texts.CALLBACK_URL)]
Take = Annotated[int, Field(description=tool_texts.TAKE, json_schema_extra={"minimum": 1, "maximum": MAX_TAKES})]
Wait = Annotated[int, Field(description=tool_texts.WAIT, json_schema_extra=WAIT_BOUNDS)]
WaitForEnd = Annotated[int, Field(description=tool_texts.WAIT_FOR_END, json_schema_extra=WAIT_BOUNDS)]
TaskId = Annotated[str, Field(description=tool_texts.TASK_ID)]
SavedTaskId = Annotated[str, Field(description=tool_texts.SAVED_TASK_ID)]
FileName = Annotated[str, Field(description=tool_texts.FILE_NAME)]
StatusFilter = Annotated[str, Field(description=tool_texts.STATUS)]  # no enum: "" in one is refused by Gemini's API
Limit = Annotated[int, Field(description=tool_texts.LIMIT, json_schema_extra={"minimum": 1, "maximum": 100})]
Cursor = Annotated[str, Field(description=tool_texts.CURSOR)]
Which = Annotated[str, Field(description=tool_texts.WHICH)]
Offset = Annotated[int, Field(description=tool_texts.OFFSET, json_schema_extra={"minimum": 0})]
READS = wire.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
READS_LOCALLY = wire.ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
WRITES = wire.ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
ASKS_PERSON: Mapping[str, Any] = {"anthropic/requiresUserInteraction": True}  # Claude Code asks before each call


async def modify_video(
    prompt: Prompt,
    source_video_url: SourceVideo,
    ctx: ToolContext,
    take: Take = 1,
    model: Model = MODEL,
    watermark: Watermark = False,  # noqa: FBT002 - an argument of the wire, always named
    callback_url: CallbackUrl = "",
    wait_seconds: Wait = -1,
) -> Annotated[CallToolResult, TaskObject]:
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
    asks = asks_for_task(ctx.request_context)
    outcome = await app.modify_video(
        request,
        caller,
        wait_seconds=wait_seconds,
        progress=progress,
        confirm=confirmation_by(ctx) if app.settings.confirm == "ask" else None,
        in_background=asks or knows_tasks(ctx.request_context),
    )
    answer = task_result(app, outcome)
    return await started_task(app, outcome, answer) if asks or outcome.in_background else answer


async def modify_attached_video(
    prompt: Prompt,
    ctx: ToolContext,
    source_video: Mapping[str, Any] | None = None,
    source_video_url: str = "",
    take: Take = 1,
    model: Model = MODEL,
    watermark: Watermark = False,  # noqa: FBT002 - an argument of the wire, always named
    callback_url: CallbackUrl = "",
    wait_seconds: Wait = -1,
) -> Annotated[CallToolResult, TaskObject]:
    """Do what `modify_video` does, for hosts that hand over an attached video."""
    more = (take, model, watermark, callback_url)
    url = attached_url(source_video, source_video_url)
    if not url:
        return await modify_video(prompt, source_video_url, ctx, *more, wait_seconds)
    app, begun = app_of(ctx), anyio.current_time()
    bound = app.wait_bound(wait_seconds)
    async with app.attached(url) as source:
        left = bound - (anyio.current_time() - begun)
        return await modify_video(prompt, source, ctx, *more, max(0, int(left)))


async def get_task(
    task_id: TaskId, ctx: Context[App], wait_seconds: WaitForEnd = 0
) -> Annotated[CallToolResult, TaskObject]:
    app = app_of(ctx)
    caller, progress = caller_of(ctx.request_context), progress_for(ctx, wait_seconds)
    return task_result(app, await app.get_task(task_id, caller, wait_seconds=wait_seconds, progress=progress))


async def list_tasks(
    ctx: Context[App], status: StatusFilter = "", limit: Limit = 20, cursor: Cursor = ""
) -> Annotated[CallToolResult, TaskList]:
    app = app_of(ctx)
    app.start_tracker()
    caller = caller_of(ctx.request_context)
    tasks, next_cursor = await app.list_tasks(caller, status.strip(), limit, cursor.strip())
    page = task_page(tasks, next_cursor)
    if not tasks and (in_sandbox := await app.count_sandbox_tasks(caller)):
        page["next_step"] = SANDBOX_TASKS_STEP.format(count=in_sandbox)
    return tool_result(page)


async def save_video(
    task_id: SavedTaskId, ctx: Context[App], filename: FileName = ""
) -> Annotated[CallToolResult, TaskObject]:
    app = app_of(ctx)
    caller, progress = caller_of(ctx.request_context), Progress(ctx.report_progress)
    return task_result(app, await app.save_video(task_id, caller, filename, progress=progress))


async def preview_video(task_id: SavedTaskId, ctx: Context[App]) -> CallToolResult:
    app = app_of(ctx)
    preview = await app.preview(task_id, caller_of(ctx.request_context))
    words = TextContent(type="text", text="\n".join((*preview.lines, preview.advice)))
    picture = ImageContent(type="image", data=base64.b64encode(preview.jpeg).decode(), mime_type="image/jpeg")
    return CallToolResult(content=[words, picture])  # and no structure: some hosts drop pictures beside it


async def check_account(ctx: Context[App]) -> Annotated[CallToolResult, AccountObject]:
    app = app_of(ctx)
    account = await app.check_account(caller_of(ctx.request_context))
    answer = account_object(account, app.origin, shared=app.settings.names_callers)
    return tool_result(answer, failed=account.failure is not None)


async def request_upload(ctx: Context[App]) -> Annotated[CallToolResult, UploadObject]:
    app = app_of(ctx)
    offer = await app.offer_upload(caller_of(ctx.request_context))
    return tool_result(upload_object(offer, app.settings.callback_base_url))


async def read_video_bytes(
    task_id: TaskId, ctx: Context[App], which: Which = "result", offset: Offset = 0
) -> Annotated[CallToolResult, VideoPiece]:
    app = app_of(ctx)
    video = await app.open_video(task_id, caller_of(ctx.request_context), which.strip())
    piece = await app.read_video(video, offset, PIECE_BYTES)
    end = offset + len(piece)
    answer: VideoPiece = {
        "bytes": base64.b64encode(piece).decode(),
        "offset": offset,
        "byte_count": len(piece),
        "total_bytes": video.size,
        "has_more": end < video.size,
        "mime_type": video.mime_type,
    }
    told = TextContent(type="text", text=f"Bytes {offset} to {end} of {video.size}.")  # the bytes themselves once only
    return CallToolResult(content=[told], structured_content=dict(answer))


class ToolHandlers:
    """Answers `tools/list` and `tools/call`.

    The tool that only the page calls is listed for clients that can show pages: others would offer it to their model.
    """

    def __init__(self, settings: Settings) -> None:
        meta = {**SHOWS_PAGE, **(ASKS_PERSON if settings.confirm == "ask" else {})}
        modify = luma_tool(modify_video, "Modify a video", WRITES, settings, kind=SpendingTool, meta=meta)
        modify.arguments["source_video_url"]["description"] = source_text(settings)
        save = luma_tool(save_video, "Save a video", WRITES, settings)
        if settings.names_callers:
            save.arguments["filename"]["description"] = tool_texts.NAME_ON_SERVER
        made = (
            modify,
            luma_tool(get_task, "See or await a task", READS, settings),
            luma_tool(list_tasks, "List tasks", READS_LOCALLY, settings),
            save,
            luma_tool(preview_video, "Look at a video", READS, settings),
            luma_tool(check_account, "Check price, balance and limits", READS, settings),
            *([luma_tool(request_upload, "Upload a clip", READS_LOCALLY, settings)] if settings.takes_uploads else ()),
        )
        self._tools = {tool.described.name: tool for tool in made}
        reader = luma_tool(read_video_bytes, "Read a video", READS_LOCALLY, settings, meta=FOR_PAGE_ALONE)
        self._page_tools = {reader.described.name: reader}
        taking_files = {
            "input_schema": with_file_parameter(modify.described.input_schema),
            "meta": {**meta, **FILE_PARAMETERS},
        }
        attaching = SpendingTool(modify_attached_video, modify.described.model_copy(update=taking_files))
        self._attaching = {**self._tools, modify.described.name: attaching}

    def wire_tools(self) -> Sequence[wire.Tool]:
        """Describe all tools as `tools/list` does, without a request."""
        return [tool.described for tool in self._tools.values()]

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """Give what a tool takes, for the SDK to hold headers to: without this it lists all tools at each call."""
        tool = self._tools.get(name) or self._page_tools.get(name)
        return tool.described.input_schema if tool else None

    def _tools_for(self, ctx: RequestContext) -> Mapping[str, "LumaTool"]:
        return self._attaching if fills_file_parameters(ctx) else self._tools

    async def list_tools(self, ctx: RequestContext, params: PageParams) -> wire.ListToolsResult:
        """Answer `tools/list`; raise `InvalidRequest` for a cursor."""
        reject_cursor(params)
        page_tools = self._page_tools.values() if shows_pages(ctx) else ()
        tools = [tool.described for tool in (*self._tools_for(ctx).values(), *page_tools)]
        return wire.ListToolsResult(tools=[*map(offer_task, tools)] if may_ask_for_tasks(ctx) else tools)

    async def call_tool(self, ctx: RequestContext, params: wire.CallToolRequestParams) -> HandlerResult:
        """Answer `tools/call`; failures are results, never raised. A call that goes on is answered by its task."""
        answer = await self.run_tool(ctx, params)
        return create_task_result(answer.state) if isinstance(answer, StartedTask) else answer

    async def run_tool(self, ctx: RequestContext, params: wire.CallToolRequestParams) -> Answer:
        """Run a tool, and give its answer; failures are answers, never raised, and a question to a person is one."""
        tool = self._tools_for(ctx).get(params.name) or self._page_tools.get(params.name)
        if tool is None:
            return failure_result(unknown_name("tool", params.name, self._tools))
        arguments, context = params.arguments or {}, ToolContext(ctx, params)
        answer = await tool.run(arguments, context)
        if not lacks_key(answer):
            return answer
        again = partial(tool.run, arguments | NO_WAIT, context)  # the person was waited for
        return await offer_login(context, answer, again)


@dataclass(frozen=True, slots=True)
class LumaTool:
    """A tool whose every failure, wrong arguments included, is an answer in our own form."""

    function: Callable[..., Awaitable[CallToolResult]]
    described: wire.Tool  # as `tools/list` tells it

    @property
    def arguments(self) -> Json:
        """Give the schemas of the arguments, by name."""
        properties: Json = self.described.input_schema["properties"]
        return properties

    async def run(self, arguments: Json, context: Context[App]) -> Answer:
        """Call the function with the arguments that the tool has.

        Failures are answers, and so are questions to a person; only what the protocol has an error of its own for is
        raised, as `MCPError`.
        """
        unexpected: Answer | MCPError = self._unexpected()
        work = partial(self._answer, arguments, context)
        answer = await guarded(work, otherwise=unexpected, what=self.described.name)
        if isinstance(answer, MCPError):
            raise answer
        return answer

    async def _answer(self, arguments: Json, context: Context[App]) -> Answer | MCPError:
        try:
            known = coerce_arguments(self.described.name, self.described.input_schema, arguments)
            return await self.function(ctx=context, **known)
        except LumaError as error:
            return failure_result(error, structured=self.described.output_schema is not None)
        except QuestionPending as question:
            return question.result
        except MCPError as error:
            return error

    def _unexpected(self) -> CallToolResult:
        text = TextContent(type="text", text=f"Error executing tool {self.described.name}")
        return CallToolResult(content=[text], is_error=True)


class SpendingTool(LumaTool):
    """A tool that costs money: arguments that were perhaps meant are not ignored silently."""

    async def run(self, arguments: Json, context: Context[App]) -> Answer:
        """Refuse misspelt names, and list the ignored ones in the answer; raise `MCPError` for a token that may not."""
        request = context.request_context.request
        if request is not None and not allows(request.scope.get("user"), SPEND_SCOPE):
            raise MCPError(wire.INVALID_REQUEST, f"This needs the scope {SPEND_SCOPE}.")
        try:
            check_misspellings(self.described.name, arguments, self.arguments)
        except LumaError as error:
            return failure_result(error)
        answer = await super().run(arguments, context)
        if not isinstance(answer, CallToolResult):
            return answer
        return add_ignored_arguments(answer, ignored_names(arguments, self.arguments))


def luma_tool(
    function: Callable[..., Awaitable[CallToolResult]],
    title: str,
    hints: wire.ToolAnnotations,
    settings: Settings,
    *,
    kind: type[LumaTool] = LumaTool,
    meta: Mapping[str, Any] | None = None,
) -> LumaTool:
    """Make a tool of a function: its text from `tool_texts`, its schemas flat and open to what hosts add."""
    described = wire.Tool(
        name=function.__name__,
        title=title,
        description=tool_texts.TOOLS[function.__name__].format(**text_fields(settings)),
        input_schema=input_schema(function),
        output_schema=output_schema(function),
        annotations=hints.model_copy(update={"title": title}),
        _meta=dict(meta) if meta else None,
    )
    return kind(function, described)


def source_text(settings: Settings) -> str:
    """Describe what may be a source of this server's."""
    if settings.takes_uploads:
        others = tool_texts.SOURCE if settings.readable_folders else tool_texts.REMOTE_SOURCE
        return others + tool_texts.SOURCE_UPLOADED
    return tool_texts.SOURCE if settings.readable_folders else tool_texts.SOURCE_WITHOUT_FILES


def app_of(ctx: Context[App]) -> App:
    return ctx.request_context.lifespan_context


def progress_for(ctx: Context[App], wait_seconds: int) -> Progress | None:
    """Give the progress of a call; None for one that waits for nothing and has no token.

    A client of 2026-07-28 in this process needs no token, so that one who waits may want progress without it.
    """
    meta = ctx.request_context.meta or {}
    return Progress(ctx.report_progress) if wait_seconds or meta.get("progress_token") is not None else None


def add_ignored_arguments(answer: CallToolResult, names: Sequence[str]) -> CallToolResult:
    """Add the names of ignored arguments to an answer; `next_step` stays last."""
    given: object = answer.structured_content
    if not names or not is_object(given):
        return answer
    if isinstance(answer, StartedTask):
        return answer.with_note(f"Arguments that modify_video does not have, and ignored: {', '.join(names)}.")
    step = {"next_step": given["next_step"]} if "next_step" in given else {}
    return tool_result({**given, "ignored_arguments": [*names], **step}, failed=answer.is_error is True)
