"""What a tool call is answered with, in the protocol's form: text and structure, failures too."""

from collections.abc import Mapping
from typing import Any

import mcp.types as wire

from luma_mcp.app.app import App, Outcome
from luma_mcp.core.errors import LumaError
from luma_mcp.server.results import advised_wait, failure_object, is_failure, json_text, task_object

Answer = wire.CallToolResult | wire.InputRequiredResult
"""What comes of a call: a result, or a question to the person at the client."""


def task_result(app: App, outcome: Outcome) -> wire.CallToolResult:
    """Give what is told of a task as a call leaves it."""
    now, remote, wait = app.now(), app.settings.serves_http, advised_wait(app.settings)
    return tool_result(task_object(outcome, now, remote=remote, wait=wait), failed=is_failure(outcome.task, now))


def failure_result(error: LumaError, *, structured: bool = True) -> wire.CallToolResult:
    """Give a failure; without structure for a tool that has no schema for it."""
    result = tool_result(failure_object(error), failed=True)
    return result if structured else wire.CallToolResult(content=result.content, is_error=True)


def tool_result(answer: Mapping[str, Any], *, failed: bool = False) -> wire.CallToolResult:
    """Give an answer as text and as structure: hosts show the model one or the other, and some fail on more."""
    text = wire.TextContent(type="text", text=json_text(answer))
    return wire.CallToolResult(content=[text], structured_content=dict(answer), is_error=failed)
