"""The JSON schemas of tools, made of their functions' annotations: flat, and without references.

Some hosts take no references. Pydantic could write these schemas, but makes a validator for each first, which took a
start longer than all else of the server; what comes in is checked by `tool_arguments`. The tests hold both to the same.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from luma_mcp.core.text import Json

KINDS: Mapping[object, str] = {str: "string", int: "integer", bool: "boolean", float: "number"}
CONTEXT = "ctx"  # the parameter that is no argument of the wire


def input_schema(function: Callable[..., Any]) -> Json:
    """Give the schema of a tool's arguments."""
    arguments = [each for each in inspect.signature(function).parameters.values() if each.name != CONTEXT]
    required = [each.name for each in arguments if each.default is each.empty]
    properties = {each.name: argument_schema(each) for each in arguments}
    return in_order({"properties": properties, "title": f"{function.__name__}Arguments", "type": "object"}, required)


def argument_schema(argument: inspect.Parameter) -> Json:
    default = {} if argument.default is argument.empty else {"default": argument.default}
    return in_order({**field_schema(argument.name, argument.annotation), **default})


def output_schema(function: Callable[..., Any]) -> Json | None:
    """Give the schema of a tool's structured answer, which is noted at what it returns; None if it has none."""
    told = inspect.signature(function).return_annotation
    return value_schema(get_args(told)[1]) if get_origin(told) is Annotated else None


def value_schema(annotation: Any) -> Json:
    """Give the schema of a text, number, truth value, list or typed dictionary, with what is noted at it."""
    kind, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    schema = object_schema(kind) if is_typeddict(kind) else plain_schema(kind)
    for note in notes:
        if isinstance(note, FieldInfo):
            schema |= {"description": note.description} if note.description else {}
            schema |= note.json_schema_extra if isinstance(note.json_schema_extra, dict) else {}
    return in_order(schema)


def plain_schema(kind: Any) -> Json:
    if get_origin(kind) is Literal:
        return {"enum": [*get_args(kind)], "type": "string"}
    if get_origin(kind) is list:
        return {"items": value_schema(get_args(kind)[0]), "type": "array"}
    return {"type": KINDS[kind]}


def object_schema(kind: Any) -> Json:
    fields = get_type_hints(kind, include_extras=True)
    properties = {name: field_schema(name, annotation) for name, annotation in fields.items()}
    about: Json = kind.__pydantic_config__["json_schema_extra"]
    required = [name for name in fields if name in kind.__required_keys__]
    return in_order({"properties": properties, "title": kind.__name__, "type": "object", **about}, required)


def field_schema(name: str, annotation: Any) -> Json:
    return in_order({"title": name.replace("_", " ").title(), **value_schema(annotation)})


def in_order(schema: Json, required: list[str] | None = None) -> Json:
    return dict(sorted({**schema, **({"required": required} if required else {})}.items()))
