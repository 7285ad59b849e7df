"""What callers give a tool, made to fit its schema: lenient in form, strict in meaning.

Hosts add arguments of their own, strict schemas make models send null for what they leave out, and some send every
value as text. None of that is a mistake of the model's; a value that means nothing here is.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.text import Json, safe_text

MOST_IGNORED = 20
LONGEST_NAME = 80
MOST_EDITS = 2
FORMER = "new_take"
INSTEAD = (
    "another version of the same request is asked for with take: 2, 3, …. To repeat a call, send the same arguments"
    " without it: they join their task and cost nothing."
)
LONGEST_NUMBER = 20  # of characters: more digits than any bound here has
YES = frozenset({"true", "t", "yes", "y", "on", "1"})
NO = frozenset({"false", "f", "no", "n", "off", "0"})


def fitting(tool: str, schema: Json, given: Mapping[str, Any]) -> Json:
    """Give the arguments that a tool's input schema names, as values of their types; what is left out has its default.

    Null and blank text stand for the default of an optional argument. Raises `InvalidRequest` in plain words.
    """
    properties: Mapping[str, Json] = schema["properties"]
    required: Collection[str] = schema.get("required", ())
    known = {name: given[name] for name in properties if name in given and (name in required or is_meant(given[name]))}
    for name in required:
        if known.get(name) is None:
            raise InvalidRequest(lacking(tool, name, given, properties))
    return {name: typed(name, properties[name]["type"], value) for name, value in known.items()}


def is_meant(value: object) -> bool:
    """Tell whether a value was given at all."""
    return value is not None and not (isinstance(value, str) and not value.strip())


def lacking(tool: str, name: str, given: Mapping[str, Any], properties: Collection[str]) -> str:
    """Say that a required argument is not there, and what was given in its place if that can be seen."""
    others = [other for other in given if other not in properties]
    meant = [shown(other) for other in others if is_near(other, name)]
    if meant:
        return f"{tool} has no argument {meant[0]!r}: it is called {name}."
    null = " It must not be null." if name in given else ""
    ignored = f" It has no argument {shown(others[0])!r}." if others and not null else ""
    return f"{tool} needs the argument {name}.{null}{ignored}"


def typed(name: str, kind: str, value: object) -> str | int | bool:
    """Give a value as the type that a schema asks for; raise `InvalidRequest` for one that is none."""
    match kind:
        case "string":
            return text_of(name, value)
        case "integer":
            return number_of(name, value)
        case _:
            return flag_of(name, value)


def text_of(name: str, value: object) -> str:
    """Read a text; ids that look like numbers come as numbers."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**LONGEST_NUMBER:
        return str(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be text.")
    return value


def number_of(name: str, value: object) -> int:
    """Read a whole number, also one that is written as text or with a point."""
    number: object = value
    if isinstance(value, str) and len(value.strip()) <= LONGEST_NUMBER:
        written = re.fullmatch(r"([+-]?[0-9]+)(\.0*)?", value.strip())
        number = int(written[1]) if written else value
    if isinstance(number, float) and math.isfinite(number) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidRequest(f"{name} must be a whole number.")
    return number


def flag_of(name: str, value: object) -> bool:
    """Read true or false, also written as text or as 1 and 0."""
    word = value.strip().casefold() if isinstance(value, str) else ""
    if word in YES or value == 1:
        return True
    if word in NO or value == 0:
        return False
    raise InvalidRequest(f"{name} must be true or false.")


def check_names(tool: str, given: Mapping[str, Any], properties: Collection[str]) -> None:
    """Raise `InvalidRequest` for a name that is almost one of a tool's own, or that was one."""
    for other in given:
        if is_near(other, FORMER):
            raise InvalidRequest(f"{tool} has no argument {shown(other)!r}: {INSTEAD}")
        for name in properties:
            if other not in properties and is_near(other, name):
                raise InvalidRequest(f"{tool} has no argument {shown(other)!r}: it is called {name}.")


def ignored(given: Mapping[str, Any], properties: Collection[str]) -> list[str]:
    """List the names that mean nothing to a tool, fit for a model to read, and not more than anybody needs."""
    names = (shown(name) for name in given if name not in properties)
    return list(dict.fromkeys(filter(None, names)))[:MOST_IGNORED]


def shown(name: str) -> str:
    """Make a name that a caller chose fit to be shown."""
    return safe_text(name)[:LONGEST_NAME]


def is_near(given: str, name: str) -> bool:
    """Tell whether a name was probably meant, whatever its case and however its words are joined."""
    word, most = folded(given[:LONGEST_NAME]), min(MOST_EDITS, (len(name) - 1) // 2)  # `type` does not mean `take`
    return abs(len(word) - len(name)) <= most and edits(word, name) <= most


def folded(name: str) -> str:
    """Write a name with words joined by hyphens, blanks or capitals as arguments are written here."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[\W_]+", "_", words).strip("_").casefold()


def edits(one: str, other: str) -> int:
    """Count the letters to add, drop, change or swap with their neighbour that make one word of another."""
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
