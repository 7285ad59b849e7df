"""The surface that hosts and models see: rules that hold for all of it."""

import json
import re
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, validate
from mcp.server.apps import EXTENSION_ID
from mcp_types import Tool
from pydantic import BaseModel

from luma_mcp import __version__
from luma_mcp.core.text import Json, is_list, is_object
from luma_mcp.core.uris import TASKS_URI, task_uri
from luma_mcp.server.skills import EXTENSION_ID as SKILLS
from luma_mcp.server.tasks import EXTENSION_ID as TASKS_EXTENSION_ID
from luma_mcp.server.tools import ToolHandlers
from tests.support.rig import ERAS, SOURCE, Rig, settings_for, structured
from tests.support.surface import PINNED, TOOLS, plain, surfaces

pytestmark = pytest.mark.anyio
ARGUMENTS: dict[str, dict[str, Any]] = {
    "modify_video": {
        "prompt": None,
        "source_video_url": None,
        "take": 1,
        "model": "luma-modify-video",
        "watermark": False,
        "callback_url": "",
        "wait_seconds": -1,
    },
    "get_task": {"task_id": None, "wait_seconds": 0},
    "list_tasks": {"status": "", "limit": 20, "cursor": ""},
    "save_video": {"task_id": None, "filename": ""},
    "preview_video": {"task_id": None},
    "check_account": {},
}
REQUIRED = {
    "modify_video": ("prompt", "source_video_url"),
    "get_task": ("task_id",),
    "save_video": ("task_id",),
    "preview_video": ("task_id",),
}
PIN_AGAIN = "If the change is wanted, run: python -m tests.support.surface"
NAME = re.compile(r"[a-z][a-z_]{2,39}")
HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
LONGEST_TITLE = 40
LONGEST_DESCRIPTION = 2048  # what Claude Code shows of one
LARGEST_TOOLS = 30_000
TYPES = {"string": str, "integer": int, "boolean": bool}
KEYWORDS = {"type", "title", "description", "default", "enum", "minimum", "maximum", "minLength"}
FORBIDDEN = {"$ref", "anyOf", "oneOf", "allOf", "not", "const", "$defs"}
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 0}


@pytest.fixture(params=ERAS)
async def tools(rig: Rig, request: pytest.FixtureRequest) -> dict[str, Tool]:
    async with rig.client(request.param) as client:
        return {tool.name: tool for tool in (await client.list_tools()).tools}


def nodes(schema: object) -> list[Json]:
    """List every object in a schema."""
    if is_list(schema):
        return [node for item in schema for node in nodes(item)]
    return [schema, *(node for item in schema.values() for node in nodes(item))] if is_object(schema) else []


async def test_the_tools_have_the_names_and_arguments_of_the_contract(tools: dict[str, Tool]) -> None:
    assert tuple(tools) == TOOLS
    for name, tool in tools.items():
        properties = tool.input_schema["properties"]
        assert {argument: schema.get("default") for argument, schema in properties.items()} == ARGUMENTS[name]
        assert tuple(tool.input_schema.get("required", [])) == REQUIRED.get(name, ())


async def test_the_surface_is_the_pinned_one(rig: Rig) -> None:
    assert await surfaces(rig.app) == json.loads(PINNED.read_text(encoding="utf-8")), PIN_AGAIN


def test_the_whole_surface_keeps_the_rules() -> None:
    shown = json.loads(PINNED.read_text(encoding="utf-8"))
    parts = {kind: shown[kind] for kind in ("tools", "pageTools", "resources", "resourceTemplates", "prompts")}
    broken = [
        f"{kind} {part['name']}: {rule}"
        for kind, named in parts.items()
        for part in named
        for rule, kept in rules(kind, part).items()
        if not kept
    ]
    assert broken == []
    assert len(shown["instructions"]) < LONGEST_DESCRIPTION
    assert "0.50 USD" in shown["instructions"]
    for kind, named in parts.items():
        assert len({part["name"] for part in named}) == len(named), kind
    assert len(json.dumps(shown["tools"])) < LARGEST_TOOLS
    promised = {"resources": {"subscribe": True, "listChanged": True}, "completions": {}}
    promised |= {"tools": {"listChanged": False}, "prompts": {"listChanged": False}}
    extensions: dict[str, Any] = {EXTENSION_ID: {}, SKILLS: {}, TASKS_EXTENSION_ID: {}}
    assert shown["capabilities"] == {ERAS[0]: promised, ERAS[1]: promised | {"extensions": extensions}}


@pytest.mark.parametrize("changes", [{}, {"public_url": "https://luma.example.com"}, {"transport": "http"}])
def test_without_http_and_a_public_address_nobody_is_offered_uploads(home: Path, changes: dict[str, Any]) -> None:
    tools = ToolHandlers(settings_for(home, **changes)).wire_tools()
    assert tuple(tool.name for tool in tools) == TOOLS


def test_the_tool_for_uploads_keeps_the_rules_of_all_tools(home: Path) -> None:
    remote = settings_for(home, transport="http", public_url="https://luma.example.com")
    (added,) = [plain(tool) for tool in ToolHandlers(remote).wire_tools() if tool.name not in TOOLS]
    assert added["name"] == "request_upload"
    assert [rule for rule, kept in rules("tools", added).items() if not kept] == []


def rules(kind: str, part: Json) -> dict[str, bool]:
    """Tell for each rule whether a part of the surface keeps it."""
    description: str = part.get("description", "")
    kept = {
        "a name of plain words": bool(NAME.fullmatch(part["name"])),
        "a short title": 3 <= len(part.get("title", "")) <= LONGEST_TITLE,
        "a description in sentences": 20 <= len(description) < LONGEST_DESCRIPTION and description.endswith("."),
        "no placeholder or link": not any(mark in description for mark in ("TODO", "FIXME", "http://", "**", "\n#")),
    }
    match kind:
        case "tools" | "pageTools":
            return kept | tool_rules(part, description)
        case "prompts":
            fields = part["arguments"]
            return kept | {
                "says what it costs": "0.50 USD" in description,
                "described fields": all(field["title"] and field["description"].endswith(".") for field in fields),
                "fields named like arguments": all(NAME.fullmatch(field["name"]) for field in fields),
                "required fields first": sorted(fields, key=lambda field: not field["required"]) == fields,
            }
        case _:
            return kept | {
                "a type": part["mimeType"] == ("image/jpeg" if part["name"] == "preview" else "application/json"),
                "no annotations": "annotations" not in part,
                "our scheme": str(part.get("uri") or part["uriTemplate"]).startswith(TASKS_URI),
            }


def tool_rules(tool: Json, description: str) -> dict[str, bool]:
    """Tell for each rule of tools whether one keeps it."""
    hints, taken, given = tool["annotations"], tool["inputSchema"], tool.get("outputSchema", {})
    return {
        "begins with when to use it": description.startswith("Use this "),
        "says what it costs": ("0.50 USD" if tool["name"] == "modify_video" else "costs nothing") in description,
        "every hint": hints.keys() == {*HINTS, "title"} and all(isinstance(hints[hint], bool) for hint in HINTS),
        "one title": hints["title"] == tool["title"],
        "open to what hosts add": "additionalProperties" not in taken,
        "described arguments": all(schema["description"] for schema in taken["properties"].values()),
        "arguments of plain words": all(NAME.fullmatch(name) for name in taken["properties"]),
        "flat arguments": not any(FORBIDDEN & node.keys() or has_null(node) for node in nodes(taken)),
        "only keywords that every model's API takes": all(
            set(schema) <= KEYWORDS for schema in taken["properties"].values()
        ),
        "one plain type each": all(schema["type"] in TYPES for schema in taken["properties"].values()),
        "defaults of their type": all(fits(schema) for schema in taken["properties"].values()),
        "no empty choice": all("" not in node.get("enum", []) for node in nodes([taken, given])),
        "an answer without references": not any(FORBIDDEN & node.keys() for node in nodes(given)),
    }


def has_null(node: Json) -> bool:
    """Tell whether a schema allows null, or several types."""
    return isinstance(node.get("type"), list) or node.get("type") == "null" or None in node.get("enum", [])


def fits(schema: Json) -> bool:
    """Tell whether a schema's default, if it has one, is of its type and among its choices."""
    default = schema.get("default")
    return default is None or (type(default) is TYPES[schema["type"]] and default in schema.get("enum", [default]))


async def test_output_schemas_are_valid(tools: dict[str, Tool]) -> None:
    assert [name for name, tool in tools.items() if not tool.output_schema] == ["preview_video"]
    for tool in tools.values():
        Draft202012Validator.check_schema(tool.output_schema or {})


async def test_annotations_are_complete_and_true(tools: dict[str, Tool]) -> None:
    hints = {}
    for name, tool in tools.items():
        assert tool.title
        assert tool.annotations
        assert tool.annotations.title == tool.title
        hints[name] = (
            tool.annotations.read_only_hint,
            tool.annotations.destructive_hint,
            tool.annotations.idempotent_hint,
            tool.annotations.open_world_hint,
        )
    assert hints == {
        "modify_video": (False, False, True, True),
        "get_task": (True, False, True, True),
        "list_tasks": (True, False, True, False),
        "save_video": (False, False, True, True),
        "preview_video": (True, False, True, True),
        "check_account": (True, False, True, True),
    }


@pytest.mark.parametrize("era", ERAS)
async def test_every_answer_fits_its_published_schema_failures_included(rig: Rig, era: str) -> None:
    ask = {"prompt": "fog", "source_video_url": SOURCE}
    async with rig.client(era) as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        done = await client.call_tool("modify_video", ask)
        answers = {
            "modify_video": [done, await client.call_tool("modify_video", {"prompt": ""})],
            "get_task": [
                await client.call_tool("get_task", {"task_id": structured(done)["task_id"]}),
                await client.call_tool("get_task", {"task_id": "unknown"}),
            ],
            "list_tasks": [
                await client.call_tool("list_tasks", {}),
                await client.call_tool("list_tasks", {"status": "odd"}),
            ],
            "save_video": [
                await client.call_tool("save_video", {"task_id": structured(done)["task_id"], "filename": "fog"}),
                await client.call_tool("save_video", {"task_id": "unknown"}),
            ],
            "check_account": [await client.call_tool("check_account", {})],
        }
    for name, results in answers.items():
        for result in results:
            validate(structured(result), schemas[name] or {})
            assert "null" not in json.dumps(structured(result))


async def test_an_unknown_tool_is_an_error_of_the_protocol(rig: Rig) -> None:
    async with rig.client() as client:
        result = await client.call_tool("make_coffee", {})
    assert result.is_error


def test_the_version_is_one_and_runtime_dependencies_are_bounded() -> None:
    assert version("runapi-luma-mcp") == __version__
    declared = [line for line in requires("runapi-luma-mcp") or [] if "extra" not in line]
    assert all(">=" in line and "<" in line for line in declared)
    for name in ("mcp", "httpx", "pydantic", "anyio"):
        assert any(line.startswith(name) for line in declared)


@pytest.mark.parametrize("era", ERAS)
async def test_no_answer_of_any_kind_holds_a_priority(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        task_id = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 40}))["task_id"]
        answers: list[BaseModel] = [
            await client.call_tool("get_task", {"task_id": task_id}),
            await client.list_tools(),
            await client.list_resources(),
            await client.list_resource_templates(),
            await client.list_prompts(),
            await client.read_resource(TASKS_URI),
            await client.read_resource(task_uri(task_id)),
        ]
    assert [answer for answer in answers if "priority" in answer.model_dump_json(exclude_none=True)] == []
