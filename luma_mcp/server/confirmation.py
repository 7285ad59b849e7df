"""A person's yes before each charge, asked for in the host's own way (MCP elicitation), in both protocol eras.

In 2026-07-28 the question is the answer to the call, and the client calls again with what the person said and with the
state that it was given: a signature over the question, so that a yes counts for that request and price, and for nothing
else. Before, the question is a request to the client while the call waits. A yes that is played again finds its task;
it counts in no other ledger than that of the server that asked, as only there the task is found.
"""

import base64
import hmac
import json
import logging
from collections.abc import Mapping

import mcp.types as wire
from mcp.shared.exceptions import MCPError, NoBackChannelError
from pydantic import ValidationError

from luma_mcp.app.submit import Charge, Confirm
from luma_mcp.core.errors import ConfirmationDeclined, ConfirmationUnavailable
from luma_mcp.core.models import CLOCK_STEP_SECONDS, format_usd
from luma_mcp.core.uris import clip_digest_of, upload_id_of
from luma_mcp.server.context import PERSON_SECONDS, RequestContext, ToolContext, can_ask, is_modern, waiting_within
from luma_mcp.server.prompts import quote_user_text

STATE_SECONDS = 3600  # between two calls
QUESTION = "charge"  # its name among the questions of a call, and what its state begins with
PAY = "pay"
MAX_SHOWN_PROMPT = 1_000
MAX_SHOWN_SOURCE = 300
ANSWERED_OTHERWISE = "Nobody agreed to the charge, so nothing was sent: the host's answer was {action}."
NOT_ANSWERED = f"Nobody agreed to the charge in the {PERSON_SECONDS:.0f} seconds that calls wait, so nothing was sent."
SERVER_ENDED = "This server ended before anybody agreed to the charge, so nothing was sent."
ELSEWHERE_HINT = (
    "Use a host that can ask (MCP elicitation), or have whoever runs this server set LUMA_MCP_CONFIRM to never."
)
UNUSABLE_ANSWER = "The host's answer to the question about the charge cannot be used, so nothing was sent."
OTHER_QUESTION = (
    "The host's answer is to a question about another request, price, RunAPI key or ledger, or came after an hour, so"
    " nothing was sent."
)

logger = logging.getLogger(__name__)


class QuestionPending(Exception):
    """The call ends here: `result` asks the client, which calls again with the answer."""

    def __init__(self, result: wire.InputRequiredResult) -> None:
        super().__init__("a person is to be asked")
        self.result = result


def confirmation_by(ctx: ToolContext) -> Confirm:
    """Give what asks the person at the client of a call before a charge.

    It raises `ConfirmationDeclined`, `ConfirmationUnavailable`, or `QuestionPending` if the client is to call again.
    """

    async def confirm(charge: Charge) -> None:
        if not can_ask(ctx.request_context, "form"):
            raise confirmation_unavailable(ctx.request_context)
        if is_modern(ctx.request_context):
            check_answer(await answer_between_calls(ctx, charge))
        else:
            check_answer(await answer_during_call(ctx.request_context, charge, ctx.person_seconds))

    return confirm


def confirmation_unavailable(ctx: RequestContext) -> ConfirmationUnavailable:
    """Make the error for a host that cannot ask; a caller from elsewhere has no terminal on this machine."""
    error = ConfirmationUnavailable()
    if ctx.lifespan_context.settings.names_callers:
        error.hint = ELSEWHERE_HINT
    return error


def check_answer(answer: wire.ElicitResult) -> None:
    """Raise `ConfirmationDeclined` for anything but a form that was accepted with a yes in it."""
    if answer.action != "accept":
        raise ConfirmationDeclined(ANSWERED_OTHERWISE.format(action=answer.action))
    if (answer.content or {}).get(PAY) is not True:
        raise ConfirmationDeclined(ANSWERED_OTHERWISE.format(action="no"))


async def answer_between_calls(ctx: ToolContext, charge: Charge) -> wire.ElicitResult:
    """Give the answer that came with a call to exactly this question; raise `QuestionPending` if it was not asked."""
    app = ctx.request_context.lifespan_context
    secret, now = await app.secret("confirmation"), app.now()
    answer, state = (ctx.input_responses or {}).get(QUESTION), ctx.request_state or ""
    if answer is None and not state.startswith(f"{QUESTION}."):
        asked = wire.ElicitRequest(params=question(charge))
        raise QuestionPending(
            wire.InputRequiredResult(input_requests={QUESTION: asked}, request_state=sign(charge, secret, now))
        )
    if not is_signed(state, charge, secret, now):
        raise ConfirmationDeclined(OTHER_QUESTION)
    if not isinstance(answer, wire.ElicitResult):
        raise ConfirmationDeclined(UNUSABLE_ANSWER)
    return answer


async def answer_during_call(ctx: RequestContext, charge: Charge, seconds: float) -> wire.ElicitResult:
    """Ask the client and wait for its answer, for some seconds at most or until the server ends."""
    asked = question(charge)
    try:
        async with waiting_within(ctx, seconds):
            return await ctx.session.elicit_form(asked.message, asked.requested_schema, ctx.request_id)
    except NoBackChannelError as error:
        raise confirmation_unavailable(ctx) from error
    except (MCPError, ValidationError) as error:
        logger.info("The client could not ask a person: %s", type(error).__name__)
        raise ConfirmationDeclined(UNUSABLE_ANSWER) from error
    raise ConfirmationDeclined(SERVER_ENDED if ctx.lifespan_context.draining.is_set() else NOT_ANSWERED)


def question(charge: Charge) -> wire.ElicitRequestFormParams:
    """Ask for one charge; the form is not empty, because some hosts accept an empty one by themselves."""
    price = f"{format_usd(charge.price)} USD"
    cost = f"{price}, charged by RunAPI only if it succeeds" + (" (simulated)" if charge.is_simulated else "")
    request = charge.request
    lines = [
        f"Modify this video with Luma for {price}?",
        f"Prompt: {shown(request.prompt, MAX_SHOWN_PROMPT)}",
        f"Clip: {clip_words(charge)}",
        f"Take: {request.take}",
        f"Price: {cost}",
    ]
    if request.callback_url:
        lines.append(f"The result is also sent to: {shown(request.callback_url, MAX_SHOWN_SOURCE)}")
    yes: Mapping[str, object] = {"type": "boolean", "title": f"Pay {price}", "description": "Yes makes one new video."}
    schema = {"type": "object", "properties": {PAY: yes}, "required": [PAY]}
    return wire.ElicitRequestFormParams(message="\n".join(lines), requested_schema=schema)


def clip_words(charge: Charge) -> str:
    source = charge.request.source
    if clip_digest_of(source):
        return f"the attached video ({charge.measures})"
    return f"the uploaded video ({charge.measures})" if upload_id_of(source) else shown(source, MAX_SHOWN_SOURCE)


def shown(words: str, length: int) -> str:
    """Quote a model's words in one line, and say how many are left out."""
    left_out = len(words) - length
    return quote_user_text(words[:length]) + (f" and {left_out} more characters" if left_out > 0 else "")


def sign(charge: Charge, secret: bytes, now: float) -> str:
    """Make the state of a question: until when it may be answered, and a signature."""
    until = str(round(now + STATE_SECONDS))
    return f"{QUESTION}.{until}.{signature(charge, secret, until)}"


def is_signed(state: str, charge: Charge, secret: bytes, now: float) -> bool:
    """Tell whether a state belongs to this question, account and ledger, and may still be answered."""
    until, _, signed = state.removeprefix(f"{QUESTION}.").partition(".")
    is_ours = hmac.compare_digest(signed.encode(), signature(charge, secret, until).encode())
    return is_ours and now <= int(until) <= now + STATE_SECONDS + CLOCK_STEP_SECONDS


def signature(charge: Charge, secret: bytes, until: str) -> str:
    """Sign what a person sees, and the request it stands for: its caller and the clip's content are in its name."""
    facts = [until, charge.name, charge.request.take, charge.price, question(charge).message]
    return base64.urlsafe_b64encode(hmac.digest(secret, json.dumps(facts).encode(), "sha256")).decode().rstrip("=")
