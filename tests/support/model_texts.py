"""Every text that a model reads, found in the code itself, so that a new one is held to the rules too."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import luma_mcp
from luma_mcp.core import errors
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import DAY_SECONDS, SANDBOX_ORIGIN, Status, Task, VideoRequest
from luma_mcp.core.text import is_list, is_object
from luma_mcp.server import tool_texts
from luma_mcp.server.file_parameters import ATTACHED, SCHEMA
from luma_mcp.server.prompts import luma_prompts
from luma_mcp.server.results import take_offer, task_step
from luma_mcp.server.server import instructions
from luma_mcp.server.skills import skill_text
from luma_mcp.server.tools import ToolHandlers
from luma_mcp.worker.follower import following_failure
from tests.support.rig import EPOCH, SOURCE, settings_for
from tests.support.surface import PINNED

SENTENCE = re.compile(r"(?<=[.?])\s+(?=[A-Z\"'/])")  # what stands between two
CODE = Path(luma_mcp.__file__).parent
FOR_PEOPLE = frozenset(
    {"__main__", "cli", "transports", "hosts", "sandbox", "release", "settings", "settings_sources", "settings_values"}
)
TASK = Task(
    key="key",
    caller="local",
    request=VideoRequest(prompt="fog", source=SOURCE),
    created_at=EPOCH,
    updated_at=EPOCH,
    task_id="id",
)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that a model reads."""

    where: str  # in the code, or to a model
    words: str
    about: type[LumaError] | None = None  # the failure that it explains


def surface_texts() -> list[Text]:
    """List what is told before anything is called, in all variants."""
    shown = json.loads(PINNED.read_text(encoding="utf-8"))
    described = [Text(where, words) for where, words in descriptions([shown, remote_tools()], "")]
    prompts = [Text(f"prompt {name}", words) for name, words in shown["promptTexts"].items()]
    home = Path("/nowhere")
    variants: list[dict[str, Any]] = [{}, {"sandbox": True}, {"transport": "http"}, {"save": "never"}]
    told = [Text(f"instructions {more}", instructions(settings_for(home, **more))) for more in variants]
    others = [Text("argument", tool_texts.SOURCE_WITHOUT_FILES), Text("argument", tool_texts.NAME_ON_SERVER)]
    others += [Text("argument", tool_texts.ATTACHED), Text("argument", tool_texts.SOURCE_BESIDE_ATTACHED)]
    others.append(Text("skill", skill_text()))
    return [*described, *prompts, *told, *others]


def remote_tools() -> list[dict[str, Any]]:
    """Describe the tools as people see them who are elsewhere."""
    remote = settings_for(Path("/nowhere"), transport="http", public_url="https://luma.example.com")
    return [tool.model_dump(by_alias=True, exclude_none=True) for tool in ToolHandlers(remote).wire_tools()]


def descriptions(node: object, where: str) -> Iterator[tuple[str, str]]:
    """Find every description in a JSON document."""
    if is_list(node):
        for part in node:
            yield from descriptions(part, where)
    elif is_object(node):
        here = f"{where}/{node['name']}" if isinstance(node.get("name"), str) else where
        for name, value in node.items():
            if name == "description" and isinstance(value, str):
                yield f"{here}/{name}", value
            yield from descriptions(value, here)


def written_texts() -> list[Text]:
    """List every sentence in the code that may reach a model, with `…` for what is filled in."""
    paths = [path for path in CODE.rglob("*.py") if not FOR_PEOPLE & set(path.relative_to(CODE).with_suffix("").parts)]
    return [text for path in sorted(paths) for text in in_module(path)]


def in_module(path: Path) -> Iterator[Text]:
    """Find the sentences in a module, the docstrings left out, each with the failure that it is told of if it shows."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    about = {id(part): kind for node in ast.walk(tree) if (kind := failure_of(node)) for part in ast.walk(node)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    documenting = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        words = "" if id(node) in inner | documenting else written(node)
        if " " in words and words.endswith("."):
            yield Text(f"{path.stem}:{getattr(node, 'lineno', 0)}", words, about.get(id(node)))


def failure_of(node: ast.AST) -> type[LumaError] | None:
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.ClassDef(name=name):
            found = getattr(errors, name, None)
            return found if isinstance(found, type) and issubclass(found, LumaError) else None
        case _:
            return None


def written(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(words)):
            return words
        case ast.JoinedStr(values=parts):
            return "".join(written(part) or "…" for part in parts)
        case _:
            return ""


def kinds(base: type[LumaError] = LumaError) -> list[type[LumaError]]:
    """List all classes of failures that a model may be told of."""
    found = [kind for below in base.__subclasses__() for kind in (below, *kinds(below))]
    return [kind for kind in found if kind.__module__ == errors.__name__]


def step_texts() -> list[Text]:
    """List what next_step says of tasks in every state, with each failure that may be told of it."""
    told = [
        Text(f"next_step {task.status}", task_step(task, now, remote=remote))
        for error in (None, *map(made, kinds()))
        for task in tasks(error)
        for now, remote in product((EPOCH, EPOCH + 30 * DAY_SECONDS), (False, True))
    ]
    ways = [
        Text("next_step, way on", take_offer(task, take, now))
        for task in tasks(None)
        for take in (0, 2)
        for now in (EPOCH, EPOCH + 30 * DAY_SECONDS)
    ]
    return list(dict.fromkeys([*told, *ways]))


def made(kind: type[LumaError]) -> LumaError:
    error = kind.__new__(kind)
    LumaError.__init__(error, "It failed.")
    return error


def tasks(error: LumaError | None) -> Iterator[Task]:
    """Make tasks in every state that a failure may be told of, or none."""
    for status, path, origin, wants in product(Status, ("", "/v.mp4"), ("", SANDBOX_ORIGIN), (False, True)):
        running = status in (Status.PENDING, Status.PROCESSING)
        failure = (following_failure(error) if running else error.failure()) if error else None
        task = replace(TASK, status=status, error=failure, video_path=path, origin=origin, wants_file=wants)
        yield replace(task, finished_at=EPOCH, video_urls=(SOURCE,)) if status.done else task


def known_names() -> set[str]:
    """List every name with an underscore that a text may use: tools, arguments, fields, codes, prompts, the model's."""
    shown = [*json.loads(PINNED.read_text(encoding="utf-8"))["tools"], *remote_tools()]
    tools = [name for tool in shown for name in (tool["name"], *tool["inputSchema"]["properties"])]
    fields = re.findall(r'"([a-z]+(?:_[a-z]+)+)": \{', json.dumps([tool.get("outputSchema", {}) for tool in shown]))
    prompts = luma_prompts()
    forms = [argument.name for prompt in prompts.values() for argument in prompt.arguments]
    attached = [ATTACHED, *SCHEMA["properties"]]  # what OpenAI's hosts alone see
    return {*tools, *attached, *fields, *prompts, *forms, *(kind.code for kind in kinds())}
