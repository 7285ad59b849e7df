"""Changes in YAML that people keep by hand: what is not changed stays as it is, byte for byte, comments too.

The library reads the values and tells where they stand; writing its own form of the whole document would rearrange it.
"""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from luma_mcp.core.text import is_list, is_object
from luma_mcp.hosts.jsonc import nest_value

UNIT = "  "
UNREADABLE = "something in it cannot be read"
SCALAR, MAPPING = "scalar", "mapping"  # what the library calls kinds of nodes
MAX_NODES = 10_000  # with each alias counted as what it stands for; the library needs seconds for so many
MAX_NESTING = 100
NOTHING = frozenset({"", "~", "null"})


class TooLarge(ValueError):
    """A text stands for more values than are worked on, or for something without end."""


def parse_yaml(text: str) -> Any:
    """Decode a text; an empty one is an empty object. Raises `ValueError`."""
    try:
        reader: Any = YAML(typ="safe", pure=True)
        with warnings.catch_warnings(action="ignore"):  # they show what stands there
            check_node_count(text)
            found: object = reader.load(text)
    except YAMLError as error:
        raise ValueError(describe_error(error)) from error
    except TooLarge:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # what its types make of odd values
        raise ValueError(UNREADABLE) from error
    return {} if found is None else unshared(found)


def check_node_count(text: str) -> None:
    """Raise `TooLarge` over `MAX_NODES` or `MAX_NESTING`, before anything is built: aliases may stand for billions."""
    sizes: dict[str, int] = {}  # of what has an anchor, in nodes
    around: list[tuple[str | None, int]] = []  # what is not closed yet: its anchor, and how many nodes came before
    nodes = 0
    reader: Any = YAML(typ="safe", pure=True)
    for event in reader.parse(text):
        if isinstance(event, AliasEvent):
            nodes += alias_size(event.anchor, sizes)
        elif isinstance(event, ScalarEvent):
            sizes |= {event.anchor: 1} if event.anchor else {}
            nodes += 1
        elif isinstance(event, CollectionStartEvent):
            around.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = around.pop()
            sizes |= {anchor: nodes - before} if anchor else {}
        if nodes > MAX_NODES or len(around) > MAX_NESTING:
            raise TooLarge(f"it stands for more than {MAX_NODES} values, or is nested {MAX_NESTING} levels deep")


def alias_size(anchor: str, sizes: Mapping[str, int]) -> int:
    """Give how many nodes an alias stands for; raise `TooLarge` for one inside what it refers to."""
    if anchor not in sizes:
        raise TooLarge("something in it refers to itself, or to nothing")
    return sizes[anchor]


def unshared(found: Any) -> Any:
    """Copy what aliases share, so that a change at one of their places is compared as one at that place alone."""
    if is_object(found):
        return {name: unshared(value) for name, value in found.items()}
    return [unshared(value) for value in found] if is_list(found) else found


def set_value(text: str, path: Sequence[str], value: object) -> str:
    """Put a value at a path, with the mappings on the way; raise `ValueError` if something else is on the way."""
    here = composed(text)
    if here is None or is_nothing(here):
        return ended(text) + block(nest_value(path, value), "")
    key: Any = None
    for depth, name in enumerate(path):
        if here.id != MAPPING:
            raise ValueError(f"something else stands where {name!r} was expected")
        found = next((pair for pair in here.value if pair[0].value == name), None)
        rest = path[depth + 1 :]
        if found is None:
            return insert_pair(text, key, here, nest_value(path[depth:], value))
        key, child = found
        if rest and is_nothing(child):
            return below(text[: child.start_mark.index] + text[child.end_mark.index :], key, nest_value(rest, value))
        if not rest:
            return replaced(text, key, child, value)
        here = child
    return text


def remove_value(text: str, path: Sequence[str]) -> str:
    """Take the pair at a path out, with its lines; raise `ValueError` for one that is not there or shares a line."""
    here, above = composed(text), None
    for name in path[:-1]:
        above, here = find_pair(here, name)
    key, value = find_pair(here, path[-1])
    if here.flow_style:
        return without_flow_pair(text, here, key, value)
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    if text[start : key.start_mark.index].strip():
        raise ValueError("something else stands before it")
    last = last_of_pair(key, value)
    end = last if text[:last].endswith("\n") else text.find("\n", last) + 1 or len(text)
    new = text[:start] + text[end:]
    if len(here.value) > 1 or above is None:
        return new
    colon = text.index(":", above.end_mark.index) + 1
    return f"{new[:colon]} {{}}{new[colon:]}"


def last_of_pair(key: Any, value: Any) -> int:
    """Find the end of a pair without the comments and lines that follow it; nothing has no place of its own."""
    if value.id == MAPPING and not value.flow_style and value.value:
        return last_of_pair(*value.value[-1])
    return int(key.end_mark.index) if value.start_mark.index == value.end_mark.index else last_of(value)


def find_pair(mapping: Any, name: str) -> tuple[Any, Any]:
    """Find the key and the value of a name; raise `ValueError` if there is none."""
    for key, value in mapping.value if mapping is not None and mapping.id == MAPPING else ():
        if key.value == name:
            return key, value
    raise ValueError(f"{name!r} is not there")


def without_flow_pair(text: str, mapping: Any, key: Any, value: Any) -> str:
    place = next(place for place, pair in enumerate(mapping.value) if pair[0] is key)
    if place + 1 < len(mapping.value):
        return text[: key.start_mark.index] + text[mapping.value[place + 1][0].start_mark.index :]
    start = mapping.value[place - 1][1].end_mark.index if place else key.start_mark.index
    return text[:start] + text[value.end_mark.index :]


def composed(text: str) -> Any:
    """Give the node of the whole document, None for an empty one; raise `ValueError`."""
    try:
        reader: Any = YAML(pure=True)
        with warnings.catch_warnings(action="ignore"):
            check_node_count(text)
            return reader.compose(text)
    except YAMLError as error:
        raise ValueError(describe_error(error)) from error


def describe_error(error: Any) -> str:
    """Say what is wrong and in which line, but not what stands there: it may be a secret."""
    mark = getattr(error, "problem_mark", None)
    return f"something is wrong in line {mark.line + 1}" if mark else UNREADABLE


def is_nothing(node: Any) -> bool:
    return node.id == SCALAR and not node.style and node.value in NOTHING


def insert_pair(text: str, key: Any, mapping: Any, pair: object) -> str:
    """Put a pair into a mapping: at the end of the document's own, else right below the mapping's key."""
    if mapping.flow_style:
        end = mapping.end_mark.index - 1
        comma = ", " if mapping.value else ""
        return text[:end] + comma + json.dumps(pair, ensure_ascii=False)[1:-1] + text[end:]
    if key is None:
        return ended(text) + block(pair, "")
    return below(text, key, pair, " " * mapping.value[0][0].start_mark.column)


def below(text: str, key: Any, pair: object, indent: str = "") -> str:
    """Put a pair below a key, before whatever comments and pairs follow there."""
    start = text.find("\n", key.end_mark.index) + 1
    if not start:
        text, start = f"{text}\n", len(text) + 1
    return text[:start] + block(pair, indent or " " * key.start_mark.column + UNIT, text) + text[start:]


def replaced(text: str, key: Any, node: Any, value: object) -> str:
    last = last_of(node)
    line = "\n" if text[:last].endswith("\n") else ""
    return f"{text[: key.end_mark.index]}: {json.dumps(value, ensure_ascii=False)}{line}{text[last:]}"


def last_of(node: Any) -> int:
    """Find the end of a node without the comments and lines that follow it."""
    if node.id == SCALAR or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return last_of(last[1] if node.id == MAPPING else last)


def block(pair: object, indent: str, around: str = "") -> str:
    stream = io.StringIO()
    writer: Any = YAML(pure=True)
    writer.width = 1 << 20
    writer.dump(pair, stream)
    line = "\r\n" if "\r\n" in around else "\n"
    return "".join(f"{indent}{one}{line}" for one in stream.getvalue().splitlines())


def ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
