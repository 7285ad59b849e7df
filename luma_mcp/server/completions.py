"""What a host offers while a person types: earlier tasks, newest first, and ideas for looks."""

from collections.abc import Sequence
from urllib.parse import unquote

import mcp.types as wire

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import Status
from luma_mcp.core.uris import TASK_PREFIX, TASK_TEMPLATE, task_uri
from luma_mcp.server.context import Request, caller_of
from luma_mcp.server.prompts import SOURCE, TASK_ID, Argument, LumaPrompt

MOST_VALUES = 100  # MCP allows no more
LONGEST_TYPED = 200  # a person types; each word is looked for in every prompt
CONTINUABLE = (Status.PENDING, Status.PROCESSING, Status.COMPLETED)


class Completions:
    """Answers `completion/complete`."""

    def __init__(self, prompts: dict[str, LumaPrompt]) -> None:
        self._prompts = prompts

    async def complete(self, ctx: Request, params: wire.CompleteRequestParams) -> wire.CompleteResult:
        """Offer values for one argument of a prompt or of the task template."""
        typed = params.argument.value[:LONGEST_TYPED].strip()
        if isinstance(params.ref, wire.ResourceTemplateReference):
            if (params.ref.uri, params.argument.name) != (TASK_TEMPLATE, TASK_ID):
                raise InvalidRequest(f"Only {TASK_ID} of {TASK_TEMPLATE} can be completed.")
            return offer(await matching_ids(ctx, typed, list(Status)))
        argument = self._argument(params.ref.name, params.argument.name)
        if argument.name == TASK_ID:
            return offer(await matching_ids(ctx, typed, CONTINUABLE))
        if argument.name == SOURCE:
            words = "" if TASK_PREFIX.startswith(typed) else typed  # a URI that is only begun
            return offer([task_uri(task_id) for task_id in await matching_ids(ctx, words, [Status.COMPLETED])])
        return offer([idea for idea in argument.suggestions if typed.casefold() in idea.casefold()])

    def _argument(self, prompt_name: str, name: str) -> Argument:
        prompt = self._prompts.get(prompt_name)
        if prompt is None:
            raise InvalidRequest(f"There is no prompt {prompt_name[:80]!r}; there are {', '.join(self._prompts)}.")
        for argument in prompt.arguments:
            if argument.name == name:
                return argument
        raise InvalidRequest(f"{prompt.name} has no argument {name[:80]!r}.")


async def matching_ids(ctx: Request, typed: str, states: Sequence[Status]) -> list[str]:
    """Give the ids of the tasks that fit what was typed, newest first, and one more than can be offered."""
    words = unquote(typed.removeprefix(TASK_PREFIX)) if typed.startswith(TASK_PREFIX) else typed
    tasks = await ctx.lifespan_context.ledger.matching(caller_of(ctx), words, states, MOST_VALUES + 1)
    return [task.task_id for task in tasks]


def offer(values: list[str]) -> wire.CompleteResult:
    """Offer as many values as MCP allows; how many there are in all is told when it is known."""
    more = len(values) > MOST_VALUES
    completion = wire.Completion(values=values[:MOST_VALUES], total=None if more else len(values), has_more=more)
    return wire.CompleteResult(completion=completion)
