"""The prompts as the protocol sees them."""

import mcp.types as wire

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.server.context import Page, Request, caller_of, only_page
from luma_mcp.server.prompts import SOURCE, TASK_ID, Given, LumaPrompt, filled_in
from luma_mcp.server.results import advised_wait


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
        await app.check_clip(values.get(SOURCE, ""), earlier, caller_of(ctx))
        text = prompt.text(Given(values, app.settings.sandbox, earlier, advised_wait(app.settings)))
        message = wire.PromptMessage(role="user", content=wire.TextContent(type="text", text=text))
        return wire.GetPromptResult(description=prompt.description, messages=[message])


def described(prompt: LumaPrompt) -> wire.Prompt:
    """Describe a prompt to a client."""
    arguments = [
        wire.PromptArgument(
            name=argument.name, title=argument.title, description=argument.description, required=argument.required
        )
        for argument in prompt.arguments
    ]
    return wire.Prompt(name=prompt.name, title=prompt.title, description=prompt.description, arguments=arguments)
