"""The suite's prompts that answer at once, and the values offered for their arguments."""

import mcp.types as wire

from luma_mcp.server.context import RequestContext
from tests.system.conformance.fixture_kinds import Call, Fixtures, prompt
from tests.system.conformance.fixture_resources import IMAGE, embedded, text_contents

OFFERED = ("paris", "park", "party", "test")

fixtures = Fixtures()


@fixtures.prompt("test_simple_prompt")
async def one_sentence(_: Call) -> wire.GetPromptResult:
    """Say one sentence."""
    return prompt("This is a simple prompt for testing.")


@fixtures.prompt("test_prompt_with_arguments", "arg1", "arg2")
async def two_arguments(call: Call) -> wire.GetPromptResult:
    """Repeat two arguments."""
    return prompt(f"Prompt with arguments: arg1={call.arguments['arg1']!r}, arg2={call.arguments['arg2']!r}")


@fixtures.prompt("test_prompt_with_embedded_resource", "resourceUri")
async def embedded_resource(call: Call) -> wire.GetPromptResult:
    """Embed a resource of the URI given."""
    contents = text_contents(call.arguments["resourceUri"], "Embedded resource content for testing.")
    return prompt("Please process the embedded resource above.", embedded(contents))


@fixtures.prompt("test_prompt_with_image")
async def image(_: Call) -> wire.GetPromptResult:
    """Show an image."""
    return prompt("Please analyze the image above.", IMAGE)


async def complete(_: RequestContext, params: wire.CompleteRequestParams) -> wire.CompleteResult:
    """Offer the words that begin as typed, for any argument of any fixture."""
    words = [word for word in OFFERED if word.startswith(params.argument.value)]
    return wire.CompleteResult(completion=wire.Completion(values=words, total=len(words), has_more=False))
