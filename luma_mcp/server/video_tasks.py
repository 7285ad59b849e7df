"""The tasks of `modify_video` as MCP clients see tasks, whichever server on the ledger they ask."""

from collections.abc import Mapping
from typing import Any

import mcp.types as wire

from luma_mcp.app.app import App, Outcome
from luma_mcp.app.progress import is_active
from luma_mcp.core.models import SANDBOX_ORIGIN, Task
from luma_mcp.server.context import RequestContext, caller_of
from luma_mcp.server.results import OTHER_CALLBACK_NOTE, PRICE
from luma_mcp.server.tasks import StartedTask, TaskState
from luma_mcp.server.tool_results import task_result

JOINED_NOTE = "This call joined it and adds no cost of its own."
CANNOT_CANCEL = "RunAPI cannot cancel it"
UNNAMED = "Task that RunAPI has not named yet"


class VideoTasks:
    """The source of the ledger's tasks. A task's id is its key there, which nobody can guess."""

    async def read(self, ctx: RequestContext, task_id: str) -> TaskState:
        """Give a task as it stands, and have it followed here: whoever followed it may be gone."""
        app = ctx.lifespan_context
        return await self.state(app, await app.follow_task(task_id, caller_of(ctx)))

    async def state(self, app: App, task: Task) -> TaskState:
        """Give a task of the caller's as it stands, with what `get_task` answers once it is over."""
        if not app.is_over(task):
            return task_state(task, await app.describe(task))
        outcome = await app.outcome(app.as_left(task), only_lost_need_take=True)
        return task_state(outcome.task, await app.describe(outcome.task), task_result(app, outcome))

    async def answer(self, ctx: RequestContext, task_id: str, responses: Mapping[str, Any]) -> None:
        """Ignore the answers: a video task asks for nothing."""
        del responses
        await ctx.lifespan_context.follow_task(task_id, caller_of(ctx))

    async def cancel(self, ctx: RequestContext, task_id: str) -> None:
        """Leave the task as it is: RunAPI has no way to cancel, as every message about a running task says."""
        await ctx.lifespan_context.follow_task(task_id, caller_of(ctx))


async def started_task(app: App, outcome: Outcome, answer: wire.CallToolResult) -> StartedTask:
    """Give the answer to a call of `modify_video` whose task goes on; `answer` is what other clients would get."""
    task = outcome.task
    state = task_state(task, await app.describe(task), answer if app.is_over(task) else None)
    started = StartedTask(**dict(answer), state=state)
    if outcome.joined:
        started = started.with_note(JOINED_NOTE)
    return started.with_note(OTHER_CALLBACK_NOTE) if outcome.other_callback else started


def task_state(task: Task, line: str, result: wire.CallToolResult | None = None) -> TaskState:
    """Describe a task to clients; `line` says how it goes, and one that is over has a result."""
    return TaskState(
        task_id=task.key,
        status="working" if result is None else "completed",
        message=status_message(task, line, over=result is not None),
        created_at=task.created_at,
        updated_at=task.updated_at,
        result=result,
        change_id=task.task_id,
    )


def status_message(task: Task, line: str, *, over: bool) -> str:
    """Say in a sentence which task it is, how it goes, and what it costs."""
    name = f"RunAPI task {task.task_id}" if task.task_id else UNNAMED
    in_line = is_active(task)  # then `line` says what is wrong
    reason = f": {task.error.message.rstrip('.')}" if task.error and not in_line else ""
    saved = ", saved" if task.video_path else ""
    return f"{name}: {line}{saved}{reason}; {cost_text(task, over=over)}."


def cost_text(task: Task, *, over: bool) -> str:
    """Say what a task costs, and of one that runs that it cannot be stopped."""
    if task.origin == SANDBOX_ORIGIN:
        return "free in the sandbox" if over else f"free in the sandbox; {CANNOT_CANCEL}"
    match task.charged:
        case "yes":
            return f"{PRICE} charged" if task.cost_usd is None else f"{task.cost_usd:.2f} USD charged"
        case "no" if over:
            return "nothing was charged"
        case "unknown" if over:
            return "whether it was charged is not known"
        case _:
            return f"{PRICE} if it succeeds; {CANNOT_CANCEL}"
