"""Reading and changing the forms that hosts keep their configuration in, without touching the rest of a document."""

import json
import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from luma_mcp.core.text import is_list, is_object
from luma_mcp.hosts import jsonc

Form = Literal["json", "jsonc", "toml", "yaml"]  # the second with comments and commas after the last
Place = tuple[
    str, ...
]  # the names that lead to a value; an empty one at the end means: one more item of the list there
LONGEST: Mapping[Form, int] = {"toml": 1 << 18, "yaml": 1 << 18}  # characters; the libraries are slow
UNCHANGEABLE = "it is written in a way that cannot be changed without harm"


def read(form: Form, text: str) -> dict[str, Any]:
    """Decode a document with names at its top; raise `ValueError`, in one line, for anything else."""
    try:
        found: object = decoded(form, text)
    except (ValueError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not is_object(found):
        raise ValueError("it holds no names with values")
    return found


def changed(form: Form, text: str, changes: Mapping[Place, object]) -> str:
    """Put values at places, in the order given, and leave everything else as it is; else raise `ValueError`."""
    wanted = read(form, text)
    for place, value in changes.items():
        put(wanted, place, value)
    try:
        new = with_line_ends_of(text, rewritten(form, text, changes))
        if read(form, new) == wanted:
            return new
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(UNCHANGEABLE) from error
    raise ValueError(UNCHANGEABLE)


def with_line_ends_of(old: str, new: str) -> str:
    """End every line as Windows does if the text did so before."""
    return re.sub(r"(?<!\r)\n", "\r\n", new) if "\r\n" in old and not re.search(r"(?<!\r)\n", old) else new


def put(tree: Any, place: Place, value: object) -> None:
    """Put a value at a place of a decoded document; raise `ValueError` if what leads there leads to something else."""
    for name, following in pairwise(place):
        if not is_object(tree):
            break
        if tree.get(name) is None:
            tree[name] = {} if following else []
        tree = tree[name]
    if place[-1] and is_object(tree):
        tree[place[-1]] = value
    elif not place[-1] and is_list(tree):
        tree.append(value)
    else:
        raise ValueError(f"{'.'.join(filter(None, place[:-1]))} holds something else than was expected")


def decoded(form: Form, text: str) -> object:
    """Decode a document of any shape; raise `ValueError`."""
    if len(text) > LONGEST.get(form, len(text)):
        raise ValueError(f"it is larger than {LONGEST[form] >> 10} KB")
    match form:
        case "json":
            return json.loads(text) if text.strip() else {}
        case "jsonc":
            return jsonc.read(text)
        case "toml":
            return read_toml(text)
        case "yaml":
            from luma_mcp.hosts import yaml_text  # noqa: PLC0415 - only two hosts need the library

            return yaml_text.read(text)


def read_toml(text: str) -> object:
    """Decode TOML; raise `ValueError`, which says where but not what stands there: it may be a secret."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        place = re.search(r"\(at [\w ,]+\)", str(error))
        raise ValueError(f"something is wrong {place[0] if place else ''}".rstrip()) from error


def rewritten(form: Form, text: str, changes: Mapping[Place, object]) -> str:
    """Change a document; raise `ValueError`."""
    match form:
        case "json" | "jsonc":
            for place, value in changes.items():
                text = jsonc.with_value(text, place, value) if place[-1] else jsonc.with_item(text, place[:-1], value)
            return text
        case "toml":
            from luma_mcp.hosts import toml_text  # noqa: PLC0415 - only one host needs the library

            for place, value in changes.items():
                text = toml_text.with_value(text, place, value)
            return text
        case "yaml":
            from luma_mcp.hosts import yaml_text  # noqa: PLC0415 - only two hosts need the library

            for place, value in changes.items():
                text = yaml_text.with_value(text, place, value)
            return text
