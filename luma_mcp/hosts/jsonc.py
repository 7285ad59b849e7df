"""Changes in JSON that people keep by hand: what is not changed stays as it is, byte for byte, comments too.

Comments and commas after the last value are read as editors do. The standard library's decoder reads the values; this
module only finds the places.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

STRING = r'"(?:[^"\\\n]|\\.)*+"?'  # closed or not, so that no text is looked through anew from each quote on
COMMENT = re.compile(STRING + r"|//[^\r\n]*|/\*.*?(?:\*/|(?P<open>\Z))", re.DOTALL)
LAST_COMMA = re.compile(STRING + r"|,(?=\s*[}\]])", re.DOTALL)
BETWEEN = re.compile(r"[\s,:]*")
BLANKS = re.compile(r"[ \t]*")
BLANKS_TO_END = re.compile(r"[ \t]*(?=\r?\n|\Z)")
FIRST_INDENT = re.compile(r"\n([ \t]+)\S")
USUAL_INDENT = "  "
DECODER = json.JSONDecoder()


class Part(NamedTuple):
    """A member of an object, by its places in the text."""

    name: str
    name_start: int
    value_start: int
    value_end: int


@dataclass(frozen=True, slots=True)
class Container:
    """An object in a text."""

    start: int  # of its opening bracket
    end: int  # of its closing bracket
    parts: list[Part]


def parse_jsonc(text: str) -> Any:
    """Decode a text; an empty one, but for comments, is an empty object. Raises `ValueError`."""
    try:
        plain = blank_to_json(text)
        return json.loads(plain) if plain.strip() else {}
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def set_value(text: str, path: Sequence[str], value: object) -> str:
    """Put a value at a path, with the objects on the way; raise `ValueError` if something else is on the way."""
    plain = blank_to_json(text)
    if not plain.strip():
        text = f"{text.rstrip()}\n{{}}\n".lstrip()
        plain = blank_to_json(text)
    here = container(plain, skip(plain, 0))
    for depth, name in enumerate(path):
        found = next((part for part in reversed(here.parts) if part.name == name), None)
        rest = path[depth + 1 :]
        if found is None:
            return insert_part(text, here, name, nest_value(rest, value))
        if not rest or plain[found.value_start : found.value_end] == "null":
            new = written(nest_value(rest, value), text, indent_at(text, found.name_start))
            return text[: found.value_start] + new + text[found.value_end :]
        here = container(plain, found.value_start)
    return text


def remove_value(text: str, path: Sequence[str]) -> str:
    """Take the value at a path out, with its name and one comma; raise `ValueError` for one that is not there."""
    plain = blank_to_json(text)
    here = container(plain, skip(plain, 0))
    for name in path[:-1]:
        here = container(plain, find_part(here, name).value_start)
    place = here.parts.index(find_part(here, path[-1]))
    part, after = here.parts[place], here.parts[place + 1 :]
    code = uncommented(text)
    end = part.value_end
    comma = code.find(",", end, after[0].name_start if after else here.end)
    if comma >= 0:
        end = comma + 1
    cut = cut_out(text, part.name_start, end)
    if comma < 0 and place:  # the last of several: the comma before it goes too
        before = code.index(",", here.parts[place - 1].value_end, part.name_start)
        cut = cut[:before] + cut[before + 1 :]
    if len(here.parts) == 1 and not cut[here.start + 1 : len(cut) - len(text) + here.end].strip():
        return cut[: here.start + 1] + cut[len(cut) - len(text) + here.end :]
    return cut


def cut_out(text: str, start: int, end: int) -> str:
    """Cut a piece out: with the rest of its lines if nothing else stands there, else with the blanks behind it."""
    line_start = text.rfind("\n", 0, start)
    line_end = BLANKS_TO_END.match(text, end)
    if line_start >= 0 and line_end and not text[line_start:start].strip():
        return text[:line_start].removesuffix("\r") + text[line_end.end() :]
    blanks = BLANKS.match(text, end)
    rest = text[blanks.end() if blanks else end :]
    return (text[:start].rstrip(" \t") if rest.startswith("}") else text[:start]) + rest


def find_part(here: Container, name: str) -> Part:
    """Find the part of a name that counts, which is the last; raise `ValueError` if there is none."""
    found = next((part for part in reversed(here.parts) if part.name == name), None)
    if found is None:
        raise ValueError(f"{name!r} is not there")
    return found


def blank_to_json(text: str) -> str:
    """Blank out what JSON does not know, so that every place stays where it is."""
    if is_json(text):  # much faster
        return text
    return LAST_COMMA.sub(lambda found: found[0] if found[0][0] == '"' else " ", uncommented(text))


def uncommented(text: str) -> str:
    """Blank out comments; raise `ValueError` for one that does not end."""

    def blanked(found: re.Match[str]) -> str:
        if found["open"] is not None:
            raise ValueError("a comment does not end")
        return found[0] if found[0][0] == '"' else re.sub(r"[^\r\n]", " ", found[0])

    return COMMENT.sub(blanked, text)


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def container(plain: str, start: int) -> Container:
    """Find the parts of the object that begins at a place in a text that can be decoded."""
    parts: list[Part] = []
    if plain[start] != "{":
        raise ValueError("something else stands where an object was expected")
    place = skip(plain, start + 1)
    while plain[place] != "}":
        begin = place
        name, place = DECODER.raw_decode(plain, place)
        value_start = skip(plain, place)
        _, end = DECODER.raw_decode(plain, value_start)
        parts.append(Part(name, begin, value_start, end))
        place = skip(plain, end)
    return Container(start, place, parts)


def skip(plain: str, place: int) -> int:
    found = BETWEEN.match(plain, place)
    return found.end() if found else place


def insert_part(text: str, here: Container, name: str, value: object) -> str:
    """Put a part at the end of an object, on lines of its own, with a comma behind it where the last one had one."""
    last = here.parts[-1].value_end if here.parts else here.start + 1
    has_comma = "," in uncommented(text[last : here.end])
    comma = "," if here.parts and not has_comma else ""
    outer = indent_at(text, here.end)
    inner = indent_at(text, here.parts[0].name_start) if here.parts else outer
    inner = inner if len(inner) > len(outer) else outer + unit(text)
    line = "\r\n" if "\r\n" in text else "\n"
    kept = text[last : here.end].rstrip()
    new = f"{json.dumps(name)}: {written(value, text, inner)}{',' if has_comma else ''}"
    return f"{text[:last]}{comma}{kept}{line}{inner}{new}{line}{outer}{text[here.end :]}"


def written(value: object, text: str, indent: str) -> str:
    line = "\r\n" if "\r\n" in text else "\n"
    return json.dumps(value, indent=unit(text), ensure_ascii=False).replace("\n", line + indent)


def unit(text: str) -> str:
    found = FIRST_INDENT.search(text)
    return found[1] if found else USUAL_INDENT


def indent_at(text: str, place: int) -> str:
    found = BLANKS.match(text, text.rfind("\n", 0, place) + 1)
    return found[0] if found else ""


def nest_value(path: Sequence[str], value: object) -> object:
    """Wrap a value into objects, one for each name on a path."""
    for name in reversed(path):
        value = {name: value}
    return value
