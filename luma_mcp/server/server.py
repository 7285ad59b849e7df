"""The MCP server around an open app: which handler answers what, and what holds for all requests."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import mcp.types as wire
from mcp.server import CacheHint, NotificationOptions, Server
from mcp.server.caching import CacheableMethod
from mcp.server.context import CallNext, HandlerResult
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError

from luma_mcp import __version__
from luma_mcp.app.app import App
from luma_mcp.core.concurrency import background_work, cancel_after
from luma_mcp.core.errors import LumaError
from luma_mcp.core.settings import Settings
from luma_mcp.core.text import SURROGATE_MESSAGE, has_valid_unicode, is_object, replace_surrogates
from luma_mcp.server.apps import EXTENSIONS
from luma_mcp.server.completions import Completions
from luma_mcp.server.context import CACHE_TTL_MS, RequestContext, caller_of, disconnect_event, protocol_error
from luma_mcp.server.legacy_tasks import LegacyTasks
from luma_mcp.server.prompts import PromptHandlers, luma_prompts
from luma_mcp.server.resources import list_templates
from luma_mcp.server.results import error_code_in, text_fields
from luma_mcp.server.skills import add_skills
from luma_mcp.server.subscriptions import Subscriptions
from luma_mcp.server.tasks import add_tasks
from luma_mcp.server.tools import ToolHandlers
from luma_mcp.server.video_tasks import VideoTasks

SERVER_NAME = "luma"
TITLE = "Luma video modification by RunAPI"
WEBSITE = "https://runapi.ai/models/luma"
CACHEABLE_METHODS: tuple[CacheableMethod, ...] = (
    "server/discover",
    "prompts/list",
    "resources/templates/list",
)
PROBE_METHODS = frozenset({"initialize", "server/discover", "ping", "notifications/initialized"})
INSTRUCTIONS = """\
This server modifies existing videos with Luma at RunAPI: a prompt and a source clip in, the re-rendered clip out{kept}.

Order of calls:
1. modify_video with prompt and source_video_url. It submits the task and answers within about {bound} seconds. It is \
the only tool that costs money: {price} for each new task that succeeds, so say so to the user before several takes.
2. Do what next_step says. While done is false that is usually get_task with the task_id and wait_seconds {wait}. Most \
tasks take 30 to 120 seconds, some 20 minutes. The work goes on in the background whatever the host does; nothing is \
lost by a time-out.
3. When nothing is left to do, tell the user where the video is, as next_step says: video_path, or the link in \
video_urls, which works until expires_at. save_video puts it on disk if it is not there. preview_video shows you \
frames of it: look before you say that it worked.

Never call modify_video again to wait or to check, unless next_step says so. If a call was cut off, repeating it with \
the same arguments joins its task or gives its result, at any time, and costs nothing: the same request is the same \
task, unless that failed and cost nothing. take (2, 3, …) is only for a user who wants another version of the same \
request, which is paid for; it is no attempt counter. To continue from a result, pass luma://tasks/<task_id> as \
source_video_url. After a restart or when a task_id is lost, call list_tasks, or read luma://tasks. check_account \
tells prices, balance and limits.

Every failure has error.code, error.charged (no, yes, unknown), error.retry_safe and error.hint, and every answer \
has next_step (of a listed task, get_task has it): follow it, and tell the user about charges truthfully."""

SAVED_CLAUSE = ", saved on the user's disk"
LINK_CLAUSE = ", given as a link that works for seven days"
SANDBOX_NOTE = "Sandbox: nothing is charged, and results are stand-ins. Tell the user so.\n\n"


class LumaServer(Server[App]):
    """The SDK's server with true capabilities: resources change, tools and prompts never do."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Announce changes of the list of resources to clients of the handshake era."""
        told = notification_options or NotificationOptions(resources_changed=True)
        return super().create_initialization_options(told, experimental_capabilities, extensions)

    def get_capabilities(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
        *,
        protocol_version: str | None = None,
    ) -> wire.ServerCapabilities:
        """Correct the SDK's rule, which announces changes of all lists for whoever serves `subscriptions/listen`."""
        given = super().get_capabilities(
            notification_options, experimental_capabilities, extensions, protocol_version=protocol_version
        )
        tools, prompts = wire.ToolsCapability(list_changed=False), wire.PromptsCapability(list_changed=False)
        return given.model_copy(update={"tools": tools, "prompts": prompts})


def build_server(app: App) -> Server[App]:
    """Assemble the server around an open app."""

    @asynccontextmanager
    async def lifespan(_: Server[App]) -> AsyncGenerator[App]:
        yield app

    forms = luma_prompts()
    tools, prompts = ToolHandlers(app.settings), PromptHandlers(forms)
    tasks = VideoTasks()
    subscriptions = Subscriptions(app, tasks)
    server = LumaServer(
        SERVER_NAME,
        title=TITLE,
        version=__version__,
        website_url=WEBSITE,
        instructions=instructions(app.settings),
        lifespan=lifespan,
        cache_hints=cache_hints(),
        on_list_tools=tools.list_tools,
        get_tool_input_schema=tools.input_schema,
        on_list_resources=subscriptions.list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=subscriptions.read_resource,
        on_subscribe_resource=subscriptions.subscribe,
        on_unsubscribe_resource=subscriptions.unsubscribe,
        on_subscriptions_listen=subscriptions.listen,
        on_list_prompts=prompts.list_prompts,
        on_get_prompt=prompts.get_prompt,
        on_completion=Completions(forms).complete,
    )
    server.add_request_handler("tools/call", wire.CallToolRequestParams, tools.call_tool)
    server.extensions.update(EXTENSIONS)
    add_skills(server)
    server.middleware.extend([track_request, enforce_unicode, cancel_on_disconnect])
    server.middleware.extend([resume_on_first_request, convert_luma_errors, drop_null_arguments, observe_call])
    if app.settings.legacy_tasks:
        server.middleware.append(LegacyTasks(tools.run_tool, tasks).answer)
    add_tasks(server, tasks)
    return server


def cache_hints() -> dict[CacheableMethod, CacheHint]:
    """Say what clients may keep; the list of tools is not the same for all of them, so it is for its reader alone."""
    shared = dict.fromkeys(CACHEABLE_METHODS, CacheHint(ttl_ms=CACHE_TTL_MS, scope="public"))
    return {**shared, "tools/list": CacheHint(ttl_ms=CACHE_TTL_MS, scope="private")}


def instructions(settings: Settings) -> str:
    note = SANDBOX_NOTE if settings.sandbox else ""
    saved = SAVED_CLAUSE if settings.saves and not settings.serves_http else LINK_CLAUSE
    return note + INSTRUCTIONS.format(kept=saved, **text_fields(settings))


async def resume_on_first_request(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Go on with unfinished tasks at the first real request: a host that only probes must cause no work."""
    if ctx.method not in PROBE_METHODS:
        ctx.lifespan_context.start_tracker()
    return await call_next(ctx)


async def track_request(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    with ctx.lifespan_context.track_request():
        return await call_next(ctx)


async def cancel_on_disconnect(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Stop working on an answer when the connection that it goes back on is gone.

    The SDK does so everywhere but for streamable HTTP in the handshake era.
    """
    gone = disconnect_event(ctx.request.scope) if ctx.request and ctx.request_id is not None else None
    if gone is None:
        return await call_next(ctx)
    async with background_work() as group:
        group.start_soon(cancel_after, gone, group.cancel_scope)
        return await call_next(ctx)
    raise MCPError(wire.INTERNAL_ERROR, "The connection is gone.")


async def convert_luma_errors(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    try:
        return await call_next(ctx)
    except LumaError as error:
        raise protocol_error(error) from error


async def observe_call(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Let each tool call be seen from outside, and the error code of one that failed."""
    if ctx.method != "tools/call":
        return await call_next(ctx)
    with ctx.lifespan_context.observe_call(caller_of(ctx)) as fail:
        answer = await call_next(ctx)
        if is_object(answer) and answer.get("isError") is True:
            fail(error_code_in(answer))
    return answer


async def drop_null_arguments(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Treat null for a field of a prompt's form as left out: MCP allows only text there."""
    given: object = (ctx.params or {}).get("arguments")
    if ctx.method == "prompts/get" and is_object(given):
        form = {name: value for name, value in given.items() if value is not None}
        ctx = replace(ctx, params={**(ctx.params or {}), "arguments": form})
    return await call_next(ctx)


async def enforce_unicode(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Refuse half surrogate pairs in requests and replace them in answers: they cannot be sent as UTF-8."""
    if not has_valid_unicode(ctx.params):
        raise MCPError(wire.INVALID_PARAMS, SURROGATE_MESSAGE)
    try:
        answer: HandlerResult = replace_surrogates(await call_next(ctx))
    except MCPError as error:
        found = error.error
        raise MCPError(found.code, *replace_surrogates([found.message, found.data])) from error
    return answer
