"""Making callers' arguments fit a tool's schema: lenient in form, strict in meaning.

Hosts add arguments of their own, strict schemas make models send null for what they leave out, and some send every
value as text. None of that is a mistake of the model's; a value without a meaning here is.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.text import Json, is_object, sanitise_text

MAX_IGNORED_NAMES = 20
MAX_ARGUMENT_NAME = 80
MAX_EDITS = 2
FORMER_ARGUMENT = "new_take"
FORMER_ARGUMENT_HINT = (
    "another version of the same request is asked for with take: 2, 3, …. To repeat a call, send the same arguments"
    " without it: they join their task and cost nothing."
)
MAX_NUMBER_LENGTH = 20  # of characters: more digits than any bound here has
TRUE_WORDS = frozenset({"true", "t", "yes", "y", "on", "1"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "off", "0"})


def coerce_arguments(tool: str, schema: Json, given: Mapping[str, Any]) -> Json:
    """Give the arguments that a tool's input schema names, as values of their types; what is left out has its default.

    Null and blank text stand for the default of an optional argument. Raises `InvalidRequest`.
    """
    properties: Mapping[str, Json] = schema["properties"]
    required: Collection[str] = schema.get("required", ())
    known = {name: given[name] for name in properties if name in given and (name in required or is_given(given[name]))}
    for name in required:
        if known.get(name) is None:
            raise InvalidRequest(missing_message(tool, name, given, properties))
    return {name: coerce_value(name, properties[name]["type"], value) for name, value in known.items()}


def is_given(value: object) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())


def missing_message(tool: str, name: str, given: Mapping[str, Any], properties: Collection[str]) -> str:
    """Say that a required argument is missing, and which of the given ones was probably meant."""
    others = [other for other in given if other not in properties]
    meant = [safe_name(other) for other in others if is_near(other, name)]
    if meant:
        return f"{tool} has no argument {meant[0]!r}: it is called {name}."
    null = " It must not be null." if name in given else ""
    ignored = f" It has no argument {safe_name(others[0])!r}." if others and not null else ""
    return f"{tool} needs the argument {name}.{null}{ignored}"


def coerce_value(name: str, kind: str, value: object) -> str | int | bool | Json:
    match kind:
        case "string":
            return parse_text(name, value)
        case "integer":
            return parse_integer(name, value)
        case "object":
            return parse_object(name, value)
        case _:
            return parse_flag(name, value)


def parse_text(name: str, value: object) -> str:
    """Read a text; numbers are taken too, as some hosts send ids of digits as numbers."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**MAX_NUMBER_LENGTH:
        return str(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be text.")
    return value


def parse_integer(name: str, value: object) -> int:
    """Read a whole number, also written as text or with a point."""
    number: object = value
    if isinstance(value, str) and len(value.strip()) <= MAX_NUMBER_LENGTH:
        written = re.fullmatch(r"([+-]?[0-9]+)(\.0*)?", value.strip())
        number = int(written[1]) if written else value
    if isinstance(number, float) and math.isfinite(number) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidRequest(f"{name} must be a whole number.")
    return number


def parse_object(name: str, value: object) -> Json:
    if not is_object(value):
        raise InvalidRequest(f"{name} must be an object.")
    return value


def parse_flag(name: str, value: object) -> bool:
    word = value.strip().casefold() if isinstance(value, str) else ""
    if word in TRUE_WORDS or value == 1:
        return True
    if word in FALSE_WORDS or value == 0:
        return False
    raise InvalidRequest(f"{name} must be true or false.")


def check_misspellings(tool: str, given: Mapping[str, Any], properties: Collection[str]) -> None:
    """Raise `InvalidRequest` for a name that is almost one of a tool's own, or that was one in earlier versions."""
    for other in given:
        if is_near(other, FORMER_ARGUMENT):
            raise InvalidRequest(f"{tool} has no argument {safe_name(other)!r}: {FORMER_ARGUMENT_HINT}")
        for name in properties:
            if other not in properties and is_near(other, name):
                raise InvalidRequest(f"{tool} has no argument {safe_name(other)!r}: it is called {name}.")


def ignored_names(given: Mapping[str, Any], properties: Collection[str]) -> list[str]:
    """List the names that a tool does not know, made fit for a model to read, at most `MAX_IGNORED_NAMES`."""
    names = (safe_name(name) for name in given if name not in properties)
    return list(dict.fromkeys(filter(None, names)))[:MAX_IGNORED_NAMES]


def safe_name(name: str) -> str:
    return sanitise_text(name)[:MAX_ARGUMENT_NAME]


def is_near(given: str, name: str) -> bool:
    """Tell whether a name was probably meant: whatever its case, however its words are joined, within few edits."""
    word, most = (
        to_snake_case(given[:MAX_ARGUMENT_NAME]),
        min(MAX_EDITS, (len(name) - 1) // 2),
    )  # `type` does not mean `take`
    return abs(len(word) - len(name)) <= most and edit_distance(word, name) <= most


def to_snake_case(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[\W_]+", "_", words).strip("_").casefold()


def edit_distance(one: str, other: str) -> int:
    """Count the letters to add, drop, change or swap with their neighbour to make one word of another."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
