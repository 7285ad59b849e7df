"""Reading and changing the forms that hosts keep their configuration in, without touching the rest of a document."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from luma_mcp.core.text import child, is_object
from luma_mcp.hosts import jsonc

FileFormat = Literal["json", "jsonc", "toml", "yaml"]  # the second with comments and commas after the last
KeyPath = tuple[str, ...]  # the names that lead to a value
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
    functions = functions_of(form)

    def write() -> str:
        new = text
        for place, value in changes.items():
            new = functions.set_value(new, place, value)
        return with_line_ends_of(text, new)

    return verified(form, write, wanted)


def without(form: FileFormat, text: str, places: Sequence[KeyPath]) -> str:
    """Give the text without the values at paths, all of which are there, and nothing else changed.

    What was written is read back and compared; raises `ValueError` if it is not what was meant. What held nothing else
    may stay, empty, or go with it, as in TOML.
    """
    wanted = parse_document(form, text)
    for place in places:
        remove_at_path(wanted, place)
    functions = functions_of(form)

    def write() -> str:
        new = text
        for place in places:
            new = functions.remove_value(new, place)
        return new

    return verified(form, write, wanted, {place[:-1] for place in places})


def verified(
    form: FileFormat, write: Callable[[], str], wanted: dict[str, Any], emptied: Collection[KeyPath] = ()
) -> str:
    """Give the text that a function writes; raise `ValueError` if it does not hold what is wanted.

    What stands at the paths that were `emptied` may be missing where it is empty.
    """
    try:
        new = write()
        found = parse_document(form, new)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ValueError(UNCHANGEABLE) from error
    for place in emptied:
        remove_empty(wanted, place)
        remove_empty(found, place)
    if found != wanted:
        raise ValueError(UNCHANGEABLE)
    return new


def remove_at_path(tree: Any, place: KeyPath) -> None:
    for name in place[:-1]:
        tree = tree[name]
    del tree[place[-1]]


def remove_empty(tree: dict[str, Any], place: KeyPath) -> None:
    """Remove what stands at a path, and then what it stands in, as long as that is empty."""
    for length in range(len(place), 0, -1):
        here = tree
        for name in place[: length - 1]:
            here = child(here, name)
        if here.get(place[length - 1]) == {}:
            del here[place[length - 1]]


def with_line_ends_of(old: str, new: str) -> str:
    """End every line of `new` with CRLF if every line of `old` ends so."""
    return re.sub(r"(?<!\r)\n", "\r\n", new) if "\r\n" in old and not re.search(r"(?<!\r)\n", old) else new


def set_at_path(tree: Any, place: KeyPath, value: object) -> None:
    """Put a value at a path of a decoded document; raise `ValueError` if there is something else on the way."""
    for name in place[:-1]:
        if not is_object(tree):
            break
        if tree.get(name) is None:
            tree[name] = {}
        tree = tree[name]
    if not is_object(tree):
        raise ValueError(f"{'.'.join(place[:-1])} holds something else than was expected")
    tree[place[-1]] = value


def decode_document(form: FileFormat, text: str) -> object:
    if len(text) > MAX_CHARACTERS.get(form, len(text)):
        raise ValueError(f"it is larger than {MAX_CHARACTERS[form] >> 10} KB")
    return functions_of(form).decode(text)


class FormFunctions(NamedTuple):
    """How documents of a form are decoded and changed; each function raises `ValueError`."""

    decode: Callable[[str], object]
    set_value: Callable[[str, KeyPath, object], str]
    remove_value: Callable[[str, KeyPath], str]


def functions_of(form: FileFormat) -> FormFunctions:
    """Give what decodes and changes a form; libraries for the rarer ones are imported when they are needed."""
    match form:
        case "json":
            return FormFunctions(decode_json, jsonc.set_value, jsonc.remove_value)
        case "jsonc":
            return FormFunctions(jsonc.parse_jsonc, jsonc.set_value, jsonc.remove_value)
        case "toml":
            from luma_mcp.hosts import toml  # noqa: PLC0415 - only one host needs the library

            return FormFunctions(toml.parse_toml, toml.set_value, toml.remove_value)
        case "yaml":
            from luma_mcp.hosts import yaml  # noqa: PLC0415 - only two hosts need the library

            return FormFunctions(yaml.parse_yaml, yaml.set_value, yaml.remove_value)


def decode_json(text: str) -> object:
    return json.loads(text) if text.strip() else {}
