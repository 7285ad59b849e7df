"""The server with everything added that the conformance suite asks a server under test to have.

What the suite can try on any server, it tries on ours. For the rest it needs tools, resources and prompts of agreed
names: those are here, and never in the package. Everything that is not a fixture reaches our own handlers, below our
own middleware.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import mcp.types as wire
from mcp.server import Server
from mcp.server.context import HandlerResult
from mcp.server.lowlevel.server import HandlerEntry
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from pydantic import BaseModel

from luma_mcp.app.app import App
from luma_mcp.server.context import RequestContext
from luma_mcp.server.server import build_server
from luma_mcp.server.skills import MARKDOWN_MIME_TYPE, SKILL_URI, frontmatter, skill_text
from luma_mcp.server.tasks import METHODS
from tests.system.conformance import fixture_content, fixture_dialogues, fixture_prompts, fixture_questions
from tests.system.conformance.fixture_resources import RESOURCES, TEMPLATES, WATCHED, read
from tests.system.conformance.fixture_tasks import TaskFixtures

Handler = Callable[[RequestContext, Any], Awaitable[HandlerResult]]

SOURCES = (fixture_content.fixtures, fixture_dialogues.fixtures, fixture_questions.fixtures, fixture_prompts.fixtures)
TOOLS = {name: fixture for source in SOURCES for name, fixture in source.tools.items()}
PROMPTS = {name: fixture for source in SOURCES for name, fixture in source.prompts.items()}


def with_fixtures(app: App) -> Server[App]:
    """Assemble the server around an open app, and add the suite's fixtures to it."""
    server, tasks = build_server(app), TaskFixtures(app)
    server.get_tool_input_schema = None  # the suite's tools take headers, and are known to the list alone
    extend_list(server, "tools/list", "tools", [fixture.described for fixture in TOOLS.values()])
    extend_list(server, "prompts/list", "prompts", [fixture.described for fixture in PROMPTS.values()])
    extend_list(server, "resources/list", "resources", [*RESOURCES, skill_resource()])
    extend_list(server, "resources/templates/list", "resource_templates", TEMPLATES)
    take_over(server, "tools/call", tool)
    add_task_fixtures(server, tasks)
    take_over(server, "prompts/get", prompt)
    take_over(server, "completion/complete", completion)
    take_over(server, "resources/read", resource)
    take_over(server, "resources/subscribe", subscription)
    server.add_request_handler("logging/setLevel", wire.SetLevelRequestParams, acknowledge)
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name))
    return server


def add_task_fixtures(server: Server[App], tasks: TaskFixtures) -> None:
    """Add the tools that go on as tasks, and let these be asked about."""
    tools = tasks.fixtures.tools
    extend_list(server, "tools/list", "tools", [fixture.described for fixture in tools.values()])
    take_over(server, "tools/call", lambda params: tools[params.name].answer if params.name in tools else None)
    for method in METHODS:
        take_over(server, method, partial(tasks.handler, method))


def extend_list(server: Server[App], method: str, field: str, fixtures: Sequence[BaseModel]) -> None:
    """Let a list be ours and then the fixtures."""
    ours = handler_of(server, method)

    async def listed(ctx: RequestContext, params: Any) -> HandlerResult:
        answer = await ours.handler(ctx, params)
        assert isinstance(answer, BaseModel)
        return answer.model_copy(update={field: [*getattr(answer, field), *fixtures]})

    server.add_request_handler(method, ours.params_type, listed)


def take_over(server: Server[App], method: str, find: Callable[[Any], Handler | None]) -> None:
    """Let a fixture answer what is meant for it, and our own handler everything else."""
    ours = handler_of(server, method)

    async def answered(ctx: RequestContext, params: Any) -> HandlerResult:
        handler = find(params) or ours.handler
        return await handler(ctx, params)

    server.add_request_handler(method, ours.params_type, answered)


def handler_of(server: Server[App], method: str) -> HandlerEntry[App]:
    """Find the handler that our server has."""
    entry = server.get_request_handler(method)
    assert entry, f"the server does not answer {method}"
    return entry


def tool(params: wire.CallToolRequestParams) -> Handler | None:
    """Find what answers the call of a fixture."""
    return TOOLS[params.name].answer if params.name in TOOLS else None


def prompt(params: wire.GetPromptRequestParams) -> Handler | None:
    """Find what fills a fixture in."""
    return PROMPTS[params.name].answer if params.name in PROMPTS else None


def completion(params: wire.CompleteRequestParams) -> Handler | None:
    """Find what completes the arguments of a fixture."""
    named = isinstance(params.ref, wire.PromptReference) and params.ref.name in PROMPTS
    return fixture_prompts.complete if named else None


def resource(params: wire.ReadResourceRequestParams) -> Handler | None:
    """Find what reads a fixture."""
    return read_fixture if read(params.uri) else None


def subscription(params: wire.SubscribeRequestParams) -> Handler | None:
    """Find what watches a fixture; it never changes, so there is nothing to remember."""
    return acknowledge if params.uri == WATCHED else None


def skill_resource() -> wire.Resource:
    """Describe the file of our skill as a list of resources would: the suite looks for its name and words there."""
    about = frontmatter(skill_text())
    return wire.Resource(
        uri=SKILL_URI, name=about["name"], description=about["description"], mime_type=MARKDOWN_MIME_TYPE
    )


async def read_fixture(_: RequestContext, params: wire.ReadResourceRequestParams) -> wire.ReadResourceResult:
    """Answer `resources/read` for a fixture."""
    contents = read(params.uri)
    assert contents
    return wire.ReadResourceResult(contents=[contents])


async def acknowledge(_: RequestContext, __: wire.RequestParams) -> wire.EmptyResult:
    """Agree to what needs nothing done: every fixture that logs does so at a level that no client here leaves out."""
    return wire.EmptyResult()
