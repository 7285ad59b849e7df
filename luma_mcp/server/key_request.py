"""The first key, asked for where it is missing: RunAPI's page, offered in the host's own way (MCP elicitation by URL).

A call that would answer `missing_api_key` offers the page instead, in hosts that declare this, and goes on once the key
is in RunAPI's own file. In 2026-07-28 the offer is the answer to the call, and the client calls again when the person
has agreed to open the page; before, it is a request to the client while the call waits. The key itself passes by
neither: RunAPI's page leaves a code on a port of this machine. Only the user of this machine is asked, and no model
learns the address. In all other cases the answer is what it is without this module.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeGuard

import mcp.types as wire
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from luma_mcp.app.login import PendingLogin
from luma_mcp.core.errors import LumaError, MissingApiKey
from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.core.settings import Settings
from luma_mcp.core.text import is_object
from luma_mcp.server.context import RequestContext, ToolContext, caller_of, can_ask, is_modern, waiting_within
from luma_mcp.server.tool_results import Answer, failure_result

QUESTION = "runapi_key"  # its name among the questions of a call
MESSAGE = (
    "A RunAPI key is needed, and there is none yet. Get one on RunAPI's page, which should show the code {code}. It is"
    " kept on this machine, in RunAPI's own file, for this and every other host."
)
STILL_OPEN = "RunAPI's page is open, and nobody has finished there yet, so nothing was submitted."
FINISH_HINT = "Have the user finish on RunAPI's page, then repeat the call: it goes on with the key."

Again = Callable[[], Awaitable[Answer]]

logger = logging.getLogger(__name__)


def lacks_key(answer: Answer) -> TypeGuard[wire.CallToolResult]:
    """Tell whether an answer says that a call was refused because there is no RunAPI key."""
    told = (isinstance(answer, wire.CallToolResult) and answer.structured_content) or {}
    error = told.get("error")
    return is_object(error) and error["code"] == MissingApiKey.code and "task_id" not in told


async def offer_login(call: ToolContext, refused: wire.CallToolResult, again: Again) -> Answer:
    """Offer RunAPI's page to the person at the client of a refused call.

    Gives the answer of `again`, which repeats the call, once there is a key; `refused` as it is where nobody can be
    asked or agrees; and the failure where the page led to another one.
    """
    ctx = call.request_context
    if not may_offer(ctx):
        return refused
    try:
        login = await (offered_between_calls if is_modern(ctx) else offered_during_call)(call)
    except (LumaError, OSError) as error:
        logger.warning("RunAPI's page cannot be offered: %s", error)
        return refused
    if login is None or isinstance(login, wire.InputRequiredResult):
        return login or refused
    answer = await again()
    if not lacks_key(answer):  # the key may have come by another way meanwhile, too
        return answer
    if not login.ended.is_set():
        return failure_result(login_pending_error())
    return refused if isinstance(login.failure, MissingApiKey | None) else failure_result(login.failure)


def login_pending_error() -> MissingApiKey:
    error = MissingApiKey()
    error.message, error.hint, error.retry_safe = STILL_OPEN, FINISH_HINT, True
    return error


def may_offer(ctx: RequestContext) -> bool:
    """Tell whether a key may be set for whoever asks, and whether the client can show a page."""
    is_user_here = serves_one_user(ctx.lifespan_context.settings) and caller_of(ctx) == LOCAL_CALLER
    return is_user_here and can_ask(ctx, "url")


def serves_one_user(settings: Settings) -> bool:
    """Tell whether nobody but the user of this machine can be at the other end.

    Over HTTP that is so on loopback with this user's own token: without named callers nothing else is listened on.
    """
    shared = settings.names_callers or settings.needs_no_token or settings.allowed_hosts or settings.public_url
    return not (settings.serves_http and shared)


async def offered_between_calls(call: ToolContext) -> PendingLogin | wire.InputRequiredResult | None:
    """Give the login that a call says was opened, the question if none was, None if the person did not agree."""
    app, answer = call.request_context.lifespan_context, (call.input_responses or {}).get(QUESTION)
    if answer is not None and not (isinstance(answer, wire.ElicitResult) and answer.action == "accept"):
        return None
    if answer is not None and (login := app.find_login(call.request_state or "")):
        await wait_for_end(call, login)
        return login
    login = await app.open_login()  # also where the one that was opened ended with its process
    asked = wire.ElicitRequest(params=question(login))
    return wire.InputRequiredResult(input_requests={QUESTION: asked}, request_state=login.name)


async def offered_during_call(call: ToolContext) -> PendingLogin | None:
    """Ask the client and wait for the end of the login; None if the person did not agree in time."""
    ctx = call.request_context
    login = await ctx.lifespan_context.open_login()
    asked, question_id = question(login), secrets.token_urlsafe(16)
    answer = None
    try:
        async with waiting_within(call.request_context, call.person_seconds):
            answer = await ctx.session.elicit_url(asked.message, asked.url, question_id, ctx.request_id)
    except (MCPError, ValidationError) as error:
        logger.info("The client could not show RunAPI's page: %s", type(error).__name__)
    if answer is None or answer.action != "accept":
        return None
    await wait_for_end(call, login)
    if login.ended.is_set():
        await ctx.session.send_elicit_complete(question_id, ctx.request_id)
    return login


async def wait_for_end(call: ToolContext, login: PendingLogin) -> None:
    async with waiting_within(call.request_context, call.person_seconds):
        await login.ended.wait()


def question(login: PendingLogin) -> wire.ElicitRequestURLParams:
    return wire.ElicitRequestURLParams(message=MESSAGE.format(code=login.display_code), url=login.url)
