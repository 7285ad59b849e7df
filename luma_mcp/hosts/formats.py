"""Reading and changing the forms that hosts keep their configuration in, without touching the rest of a document."""

import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from luma_mcp.core.text import is_list, is_object
from luma_mcp.hosts import jsonc

FileFormat = Literal["json", "jsonc", "toml", "yaml"]  # the second with comments and commas after the last
KeyPath = tuple[str, ...]  # the names that lead to a value; an empty one at the end appends an item to the list there
MAX_CHARACTERS: Mapping[FileFormat, int] = {"toml": 1 << 18, "yaml": 1 << 18}  # characters; the libraries are slow
UNCHANGEABLE = "it is written in a way that cannot be changed without harm"


def parse_document(form: FileFormat, text: str) -> dict[str, Any]:
    """Decode a document with names at its top; raise `ValueError`, in one line, for anything else."""
    try:
        found: object = decode_document(form, text)
    except (ValueError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not is_object(found):
        raise ValueError("it holds no names with values")
    return found


def changed(form: FileFormat, text: str, changes: Mapping[KeyPath, object]) -> str:
    """Give the text with values put at paths, in the order given, and nothing else changed.

    What was written is read back and compared; raises `ValueError` if it is not what was meant.
    """
    wanted = parse_document(form, text)
    for place, value in changes.items():
        set_at_path(wanted, place, value)
    try:
        new = with_line_ends_of(text, apply_changes(form, text, changes))
        if parse_document(form, new) == wanted:
            return new
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(UNCHANGEABLE) from error
    raise ValueError(UNCHANGEABLE)


def with_line_ends_of(old: str, new: str) -> str:
    """End every line of `new` with CRLF if every line of `old` ends so."""
    return re.sub(r"(?<!\r)\n", "\r\n", new) if "\r\n" in old and not re.search(r"(?<!\r)\n", old) else new


def set_at_path(tree: Any, place: KeyPath, value: object) -> None:
    """Put a value at a path of a decoded document; raise `ValueError` if there is something else on the way."""
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


def decode_document(form: FileFormat, text: str) -> object:
    if len(text) > MAX_CHARACTERS.get(form, len(text)):
        raise ValueError(f"it is larger than {MAX_CHARACTERS[form] >> 10} KB")
    return functions_of(form).decode(text)


def apply_changes(form: FileFormat, text: str, changes: Mapping[KeyPath, object]) -> str:
    functions = functions_of(form)
    for place, value in changes.items():
        text = functions.set_value(text, place, value) if place[-1] else functions.append_item(text, place[:-1], value)
    return text


def cannot_append(_text: str, _path: KeyPath, _item: object) -> str:
    raise ValueError(UNCHANGEABLE)


class FormFunctions(NamedTuple):
    """How documents of a form are decoded and changed; each function raises `ValueError`."""

    decode: Callable[[str], object]
    set_value: Callable[[str, KeyPath, object], str]
    append_item: Callable[[str, KeyPath, object], str] = cannot_append  # at the end of the list at a path


def functions_of(form: FileFormat) -> FormFunctions:
    """Give what decodes and changes a form; libraries for the rarer ones are imported when they are needed."""
    match form:
        case "json":
            return FormFunctions(decode_json, jsonc.set_value, jsonc.append_item)
        case "jsonc":
            return FormFunctions(jsonc.parse_jsonc, jsonc.set_value, jsonc.append_item)
        case "toml":
            from luma_mcp.hosts import toml  # noqa: PLC0415 - only one host needs the library

            return FormFunctions(toml.parse_toml, toml.set_value)
        case "yaml":
            from luma_mcp.hosts import yaml  # noqa: PLC0415 - only two hosts need the library

            return FormFunctions(yaml.parse_yaml, yaml.set_value)


def decode_json(text: str) -> object:
    return json.loads(text) if text.strip() else {}
