"""The suite's tools that go on as tasks, from a source of their own; the protocol around them is the server's."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import mcp.types as wire
from mcp.server.context import HandlerResult

from luma_mcp.app.app import App
from luma_mcp.core.errors import TaskNotFound
from luma_mcp.core.models import new_key
from luma_mcp.server.context import RequestContext
from luma_mcp.server.tasks import (
    TaskHandlers,
    TaskIdParams,
    TaskState,
    create_task_result,
    knows_tasks,
    require_extension,
)
from tests.system.conformance.fixture_kinds import Call, Fixtures, says
from tests.system.conformance.fixture_questions import NAME, asked
from tests.system.conformance.fixture_requests import question

PAUSE_SECONDS = 0.2
FAILURE_SECONDS = 1.0
POLL_INTERVAL_MS = 200
NAMED: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
COMPUTED: dict[str, Any] = {
    "type": "object",
    "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
}
FILE: dict[str, Any] = {"type": "object", "properties": {"filename": {"type": "string"}}}


@dataclass
class Job:
    """A task that runs, and what came back on what it asked."""

    state: TaskState
    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    answered: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def become(self, **changes: Any) -> None:
        """Change the state, now."""
        self.state = replace(self.state, updated_at=time.time(), **changes)

    async def ask(self, *questions: wire.ElicitRequest) -> list[Any]:
        """Ask for answers, and wait until all are there."""
        requests = {new_key(): each.model_dump(by_alias=True, mode="json", exclude_none=True) for each in questions}
        while waiting := {key: request for key, request in requests.items() if key not in self.answers}:
            self.become(status="input_required", input_requests=waiting)
            self.answered = anyio.Event()
            await self.answered.wait()
        self.become(status="working", input_requests={})
        return [self.answers[key] for key in requests]


Handler = Callable[[RequestContext, Any], Awaitable[HandlerResult]]
Work = Callable[[Job], Awaitable[wire.CallToolResult | wire.ErrorData]]


class TaskFixtures:
    """The tools, and the source of the tasks that they begin."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._jobs: dict[str, Job] = {}
        self.fixtures = Fixtures()
        self.fixtures.tool("greet", NAMED)(greet)
        self.fixtures.tool("slow_compute", COMPUTED)(self.compute)
        self.fixtures.tool("failing_job")(self.fail)
        self.fixtures.tool("protocol_error_job")(self.break_protocol)
        self.fixtures.tool("confirm_delete", FILE)(self.confirm)
        self.fixtures.tool("multi_input")(self.ask_twice)
        self.fixtures.tool("test_tool_with_task")(self.greet_later)
        self._handlers = TaskHandlers(self)

    # -- the source ---------------------------------------------------------------------------------------------------

    async def read(self, ctx: RequestContext, task_id: str) -> TaskState:
        """Give a task as it stands."""
        return self._job(task_id).state

    async def answer(self, ctx: RequestContext, task_id: str, responses: Mapping[str, Any]) -> None:
        """Take answers to what a task asks for."""
        job = self._job(task_id)
        job.answers |= {key: told for key, told in responses.items() if key in job.state.input_requests}
        job.answered.set()

    async def cancel(self, ctx: RequestContext, task_id: str) -> None:
        """Cancel a task, unless it is over."""
        job = self._job(task_id)
        job.scope.cancel()

    def _job(self, task_id: str) -> Job:
        if task_id not in self._jobs:
            raise TaskNotFound("There is no such task.")
        return self._jobs[task_id]

    def handler(
        self, method: str, params: TaskIdParams
    ) -> Callable[[RequestContext, Any], Awaitable[HandlerResult]] | None:
        """Find what answers a request about a task, if that is one of a fixture."""
        name = method.partition("/")[2]
        found: Callable[[RequestContext, Any], Awaitable[HandlerResult]] = getattr(self._handlers, name)
        return found if params.task_id in self._jobs else None

    # -- the tools ----------------------------------------------------------------------------------------------------

    async def compute(self, call: Call) -> HandlerResult:
        """Take some seconds."""

        async def work(_: Job) -> wire.CallToolResult:
            await anyio.sleep(float(call.arguments.get("seconds", 0)))
            return says(f"Computed {call.arguments.get('label', '')}.")

        return await self._begin(call, work)

    async def fail(self, call: Call) -> HandlerResult:
        """Fail after a second; only for clients that know tasks."""
        require_extension(call.ctx)

        async def work(_: Job) -> wire.CallToolResult:
            await anyio.sleep(FAILURE_SECONDS)
            return says("It failed.").model_copy(update={"is_error": True})

        return await self._begin(call, work)

    async def break_protocol(self, call: Call) -> HandlerResult:
        """End with an error of the protocol."""

        async def work(_: Job) -> wire.ErrorData:
            await anyio.sleep(PAUSE_SECONDS)
            return wire.ErrorData(code=wire.INTERNAL_ERROR, message="It broke.")

        return await self._begin(call, work)

    async def confirm(self, call: Call) -> HandlerResult:
        """Ask for confirmation while the task runs."""

        async def work(job: Job) -> wire.CallToolResult:
            return says(f"Answered: {await job.ask(question('Delete it?', 'confirm', 'boolean'))}")

        return await self._begin(call, work)

    async def ask_twice(self, call: Call) -> HandlerResult:
        """Ask two things at once while the task runs."""

        async def work(job: Job) -> wire.CallToolResult:
            return says(f"Answered: {await job.ask(NAME, question('Go on?', 'confirm', 'boolean'))}")

        return await self._begin(call, work)

    async def greet_later(self, call: Call) -> HandlerResult:
        """Ask for a name, and then greet in a task."""
        require_extension(call.ctx)
        name = call.filled_in("user_name", "name")
        if name is None:
            return asked({"user_name": NAME}, "asked")

        async def work(_: Job) -> wire.CallToolResult:
            await anyio.sleep(PAUSE_SECONDS)
            return says(f"Hello, {name}!")

        return await self._begin(call, work)

    async def _begin(self, call: Call, work: Work) -> HandlerResult:
        """Begin a task; a client that knows none waits for its end."""
        now = time.time()
        state = TaskState(
            task_id=new_key(), status="working", created_at=now, updated_at=now, poll_interval_ms=POLL_INTERVAL_MS
        )
        job = self._jobs[state.task_id] = Job(state)
        self._app.start_background(partial(run, job, work), "fixture task")
        if knows_tasks(call.ctx):
            return create_task_result(job.state)
        await job.ended.wait()
        return job.state.result


async def greet(call: Call) -> wire.CallToolResult:
    """Greet somebody, at once."""
    return says(f"Hello, {call.arguments['name']}!")


async def run(job: Job, work: Work) -> None:
    """Bring a task to its end."""
    with job.scope:
        ending = await work(job)
        if isinstance(ending, wire.ErrorData):
            job.become(status="failed", error=ending)
        else:
            job.become(status="completed", result=ending)
    if job.scope.cancelled_caught:
        job.become(status="cancelled", input_requests={})
    job.ended.set()
