"""The schemas of tools: flat, and the same as pydantic's own, which knows what the annotations mean."""

from collections.abc import Callable
from inspect import signature
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import Field, TypeAdapter, create_model
from typing_extensions import TypedDict

from luma_mcp.core.text import is_list, is_object
from luma_mcp.server import tools
from luma_mcp.server.tool_schemas import input_schema, output_schema

FUNCTIONS = (
    tools.modify_video,
    tools.get_task,
    tools.list_tasks,
    tools.save_video,
    tools.preview_video,
    tools.check_account,
    tools.read_video_bytes,
)


def without_references(node: Any, definitions: dict[str, Any]) -> Any:
    if is_list(node):
        return [without_references(item, definitions) for item in node]
    if not is_object(node):
        return node
    named = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
    return {name: without_references(value, definitions) for name, value in {**named, **node}.items() if name != "$ref"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_arguments_are_described_as_pydantic_would(function: Callable[..., Any]) -> None:
    arguments = [each for each in signature(function).parameters.values() if each.name != "ctx"]
    fields: dict[str, Any] = {
        each.name: (each.annotation, ... if each.default is each.empty else each.default) for each in arguments
    }
    model = create_model(f"{function.__name__}Arguments", **fields)
    assert input_schema(function) == model.model_json_schema()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_answers_are_described_as_pydantic_would_without_references(function: Callable[..., Any]) -> None:
    told = signature(function).return_annotation
    if get_origin(told) is not Annotated:
        assert output_schema(function) is None
        return
    wanted = TypeAdapter[Any](get_args(told)[1]).json_schema()
    definitions = wanted.pop("$defs", {})
    assert output_schema(function) == without_references(wanted, definitions)


def test_a_kind_of_argument_that_has_no_schema_here_is_found_when_the_server_is_built() -> None:
    async def tool(whatever: Annotated[bytes, Field(description="no JSON")]) -> None:
        del whatever

    with pytest.raises(KeyError):
        input_schema(tool)


def test_an_object_that_does_not_say_what_it_is_is_found_when_the_server_is_built() -> None:
    class Answer(TypedDict):
        fact: str

    async def tool() -> Annotated[None, Answer]:
        return None

    with pytest.raises(AttributeError):
        output_schema(tool)
