"""The prompts as the protocol sees them."""

import mcp.types as wire

from luma_mcp.answers import advised_wait
from luma_mcp.app import App
from luma_mcp.errors import InvalidRequest
from luma_mcp.models import Status, Task
from luma_mcp.prompts import SOURCE, TASK_ID, Given, LumaPrompt, filled_in
from luma_mcp.protocol import Page, Request, caller_of, only_page
from luma_mcp.sources import TaskOutput, parse_source
from luma_mcp.task_uris import task_uri


class PromptHandlers:
    """Answers `prompts/list` and `prompts/get`."""

    def __init__(self, prompts: dict[str, LumaPrompt]) -> None:
        self._prompts = prompts

    async def list(self, _: Request, params: Page) -> wire.ListPromptsResult:
        """Describe all prompts."""
        only_page(params)
        return wire.ListPromptsResult(prompts=[described(prompt) for prompt in self._prompts.values()])

    async def get(self, ctx: Request, params: wire.GetPromptRequestParams) -> wire.GetPromptResult:
        """Fill one prompt in."""
        prompt = self._prompts.get(params.name)
        if prompt is None:
            known = ", ".join(self._prompts)
            raise InvalidRequest(f"There is no prompt {params.name[:80]!r}; there are {known}.")
        app = ctx.lifespan_context
        values = filled_in(prompt, params.arguments or {})
        earlier = await app.find(values[TASK_ID], caller_of(ctx)) if TASK_ID in values else None
        await check_clip(app, caller_of(ctx), values.get(SOURCE, ""), earlier)
        text = prompt.text(Given(values, app.settings.sandbox, earlier, advised_wait(app.settings)))
        message = wire.PromptMessage(role="user", content=wire.TextContent(type="text", text=text))
        return wire.GetPromptResult(description=prompt.description, messages=[message])


async def check_clip(app: App, caller: str, source: str, earlier: Task | None) -> None:
    """Refuse at once what would be refused only after a person has agreed to the cost."""
    if earlier and earlier.status is Status.COMPLETED:
        await app.check_source(task_uri(earlier.task_id), caller)
    if source and isinstance(parse_source(source), TaskOutput):
        await app.check_source(source, caller)


def described(prompt: LumaPrompt) -> wire.Prompt:
    """Describe a prompt to a client."""
    arguments = [
        wire.PromptArgument(
            name=argument.name, title=argument.title, description=argument.description, required=argument.required
        )
        for argument in prompt.arguments
    ]
    return wire.Prompt(name=prompt.name, title=prompt.title, description=prompt.description, arguments=arguments)
