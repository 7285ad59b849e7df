"""The suite's tools and prompt that answer with questions and are called again with the answers (2026-07-28)."""

import mcp.types as wire
from mcp.shared.exceptions import MCPError

from tests.system.conformance.fixture_kinds import Call, Fixtures, prompt, says
from tests.system.conformance.fixture_requests import CAN_ELICIT, CAN_LIST_ROOTS, CAN_SAMPLE, question, sampling

ToolAnswer = wire.CallToolResult | wire.InputRequiredResult
PromptAnswer = wire.GetPromptResult | wire.InputRequiredResult

NAME = question("What is your name?", "name")
CONFIRM = question("Please confirm", "ok", "boolean")
GREETING = sampling("Generate a greeting")
ROOTS = wire.ListRootsRequest()
STATE = "asked"

fixtures = Fixtures()


@fixtures.tool("test_input_required_result_elicitation")
async def greet(call: Call) -> ToolAnswer:
    """Greet the user by name."""
    return ask(call, {"user_name": NAME}) or says(f"Hello, {call.filled_in('user_name', 'name')}!")


@fixtures.tool("test_input_required_result_sampling")
async def sample(call: Call) -> ToolAnswer:
    """Ask the client's model for a capital."""
    return ask(call, {"capital_question": sampling("What is the capital of France?")}) or repeat(call)


@fixtures.tool("test_input_required_result_list_roots")
async def list_roots(call: Call) -> ToolAnswer:
    """Ask for the client's folders."""
    return ask(call, {"client_roots": ROOTS}) or repeat(call)


@fixtures.tool("test_input_required_result_multiple_inputs")
async def ask_for_all(call: Call) -> ToolAnswer:
    """Ask for one thing of each kind."""
    return ask(call, {"user_name": NAME, "greeting": GREETING, "client_roots": ROOTS}, STATE) or repeat(call)


@fixtures.tool("test_input_required_result_request_state")
@fixtures.tool("test_input_required_result_tampered_state")
async def confirm_with_state(call: Call) -> ToolAnswer:
    """Ask for confirmation; the answer counts only together with the state that went out."""
    wanted = ask(call, {"confirm": CONFIRM}, STATE)
    if wanted is None and call.state != STATE:
        raise MCPError(wire.INVALID_PARAMS, "The answer came without the state.")
    return wanted or says("state-ok")


@fixtures.tool("test_input_required_result_multi_round")
async def ask_twice(call: Call) -> ToolAnswer:
    """Ask for a name and then for a colour; the state is what was heard so far."""
    if call.state is None:
        return asked({"step1": question("Step 1: What is your name?", "name")}, "nothing heard")
    if name := call.filled_in("step1", "name"):
        return asked({"step2": question("Step 2: What is your favorite color?", "color")}, f"heard {name}")
    return says(f"{call.state} and {call.filled_in('step2', 'color')}")


@fixtures.tool("test_input_required_result_capabilities")
async def ask_for_what_is_possible(call: Call) -> ToolAnswer:
    """Ask only for what the client can give."""
    able = call.ctx.session.check_client_capability
    wanted: wire.InputRequests = {}
    if able(CAN_ELICIT):
        wanted["user_name"] = NAME
    if able(CAN_SAMPLE):
        wanted["greeting"] = GREETING
    if able(CAN_LIST_ROOTS):
        wanted["client_roots"] = ROOTS
    return ask(call, wanted) or repeat(call)


@fixtures.tool("test_streaming_elicitation")
async def ask_on_a_stream(call: Call) -> ToolAnswer:
    """Ask for confirmation in the answer, never by a request of its own on the stream."""
    return ask(call, {"confirm": CONFIRM}) or repeat(call)


@fixtures.prompt("test_input_required_result_prompt")
async def ask_for_context(call: Call) -> PromptAnswer:
    """Ask for the context before the prompt is made."""
    wanted: wire.InputRequests = {"user_context": question("What context should the prompt use?", "context")}
    return ask(call, wanted) or prompt(f"Context: {call.filled_in('user_context', 'context')}")


def ask(call: Call, wanted: wire.InputRequests, state: str | None = None) -> wire.InputRequiredResult | None:
    """Ask for everything again until everything is answered; answers to nothing that was asked are ignored."""
    return asked(wanted, state) if wanted.keys() - call.responses.keys() else None


def asked(wanted: wire.InputRequests, state: str | None = None) -> wire.InputRequiredResult:
    """Answer with questions."""
    return wire.InputRequiredResult(input_requests=wanted, request_state=state)


def repeat(call: Call) -> wire.CallToolResult:
    """Repeat what came back."""
    return says(", ".join(f"{key}: {response}" for key, response in call.responses.items()))
