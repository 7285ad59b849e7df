"""What a host offers while a person types: earlier tasks, newest first, and ideas for looks."""

from collections.abc import Sequence
from urllib.parse import unquote

import mcp.types as wire

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import Status
from luma_mcp.core.uris import PREVIEW_TEMPLATE, TASK_PREFIX, TASK_TEMPLATE, task_uri
from luma_mcp.server.context import MAX_SHOWN_NAME, RequestContext, caller_of
from luma_mcp.server.prompts import SOURCE_FIELD, TASK_ID_FIELD, Argument, LumaPrompt, find_prompt

MAX_VALUES = 100  # MCP allows no more
MAX_TYPED_LENGTH = 200  # more than a person types; each word is searched for in every prompt
TEMPLATES = {TASK_TEMPLATE: tuple(Status), PREVIEW_TEMPLATE: (Status.COMPLETED,)}
CONTINUABLE = (Status.PENDING, Status.PROCESSING, Status.COMPLETED)


class Completions:
    """Answers `completion/complete`."""

    def __init__(self, prompts: dict[str, LumaPrompt]) -> None:
        self._prompts = prompts

    async def complete(self, ctx: RequestContext, params: wire.CompleteRequestParams) -> wire.CompleteResult:
        typed = params.argument.value[:MAX_TYPED_LENGTH].strip()
        if isinstance(params.ref, wire.ResourceTemplateReference):
            states = TEMPLATES.get(params.ref.uri)
            if states is None or params.argument.name != TASK_ID_FIELD:
                raise InvalidRequest(f"Only {TASK_ID_FIELD} of {' and '.join(TEMPLATES)} can be completed.")
            return completion_result(await matching_ids(ctx, typed, states))
        argument = self._argument(params.ref.name, params.argument.name)
        if argument.name == TASK_ID_FIELD:
            return completion_result(await matching_ids(ctx, typed, CONTINUABLE))
        if argument.name == SOURCE_FIELD:
            words = "" if TASK_PREFIX.startswith(typed) else typed  # only the beginning of a URI
            return completion_result(
                [task_uri(task_id) for task_id in await matching_ids(ctx, words, [Status.COMPLETED])]
            )
        return completion_result([idea for idea in argument.suggestions if typed.casefold() in idea.casefold()])

    def _argument(self, prompt_name: str, name: str) -> Argument:
        prompt = find_prompt(self._prompts, prompt_name)
        for argument in prompt.arguments:
            if argument.name == name:
                return argument
        raise InvalidRequest(f"{prompt.name} has no argument {name[:MAX_SHOWN_NAME]!r}.")


async def matching_ids(ctx: RequestContext, typed: str, states: Sequence[Status]) -> list[str]:
    """Give the ids of the tasks that fit what was typed, newest first: up to one more than can be offered."""
    words = unquote(typed.removeprefix(TASK_PREFIX)) if typed.startswith(TASK_PREFIX) else typed
    tasks = await ctx.lifespan_context.search_tasks(caller_of(ctx), words, states, MAX_VALUES + 1)
    return [task.task_id for task in tasks]


def completion_result(values: list[str]) -> wire.CompleteResult:
    """Offer as many values as MCP allows; the total is given only if it is known."""
    more = len(values) > MAX_VALUES
    completion = wire.Completion(values=values[:MAX_VALUES], total=None if more else len(values), has_more=more)
    return wire.CompleteResult(completion=completion)
