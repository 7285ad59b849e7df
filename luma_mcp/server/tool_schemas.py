"""The JSON schemas of tools, made of the functions that they call: flat, and without references.

The protocol's own library makes them by way of a model for each function, which takes a start longer than all the
rest of the server; arguments are checked by `tool_arguments` here.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from luma_mcp.core.text import Json, is_list, is_object

KINDS: Mapping[object, str] = {str: "string", int: "integer", bool: "boolean"}
CONTEXT = "ctx"  # the parameter that is no argument of the wire


def input_schema(function: Callable[..., Any]) -> Json:
    """Give the schema of a tool's arguments: a flat object, whose fields say what their annotations do."""
    arguments = [each for each in inspect.signature(function).parameters.values() if each.name != CONTEXT]
    required = [each.name for each in arguments if each.default is each.empty]
    return {
        "properties": {each.name: argument_schema(each) for each in arguments},
        **({"required": required} if required else {}),
        "title": f"{function.__name__}Arguments",
        "type": "object",
    }


def argument_schema(argument: inspect.Parameter) -> Json:
    kind, *notes = get_args(argument.annotation)
    (note,) = (note for note in notes if isinstance(note, FieldInfo))
    title = argument.name.replace("_", " ").title()
    schema = {
        "description": note.description,
        "title": title,
        "type": KINDS[kind],
        **cast("Json", note.json_schema_extra or {}),
    }
    if argument.default is not argument.empty:
        schema["default"] = argument.default
    return dict(sorted(schema.items()))


def output_schema(function: Callable[..., Any]) -> Json | None:
    """Give the schema of a tool's structured answer, which its return annotation names; None if it has none."""
    told = inspect.signature(function).return_annotation
    return schema_of(get_args(told)[1]) if get_origin(told) is Annotated else None


@cache  # several tools give the same object
def schema_of(answer: type) -> Json:
    return inline_references(TypeAdapter(answer).json_schema())


def inline_references(schema: Json) -> Json:
    """Write a schema's definitions out where they are used: some hosts do not follow `$ref`."""
    definitions: Json = schema.get("$defs", {})
    plain = {name: value for name, value in schema.items() if name != "$defs"}

    def resolved(node: object) -> Any:
        if is_list(node):
            return [resolved(item) for item in node]
        if not is_object(node):
            return node
        reference: str = node.get("$ref", "")
        target: Json = definitions[reference.rpartition("/")[2]] if reference else {}
        return {name: resolved(value) for name, value in {**target, **node}.items() if name != "$ref"}

    return cast("Json", resolved(plain))
