"""Changes in TOML that people keep by hand: what is not changed stays as it is, comments too."""

import re
import tomllib
from collections.abc import MutableMapping, Sequence
from typing import Any, cast

import tomlkit

from luma_mcp.core.text import is_object
from luma_mcp.hosts.jsonc import nest_value

HEADER = re.compile(r"\s*\[")


def parse_toml(text: str) -> object:
    """Decode TOML; raise `ValueError`, which says where but not what stands there: it may be a secret."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        place = re.search(r"\(at [\w ,]+\)", str(error))
        raise ValueError(f"something is wrong {place[0] if place else ''}".rstrip()) from error


def set_value(text: str, path: Sequence[str], value: object) -> str:
    """Put a value at a path; a new table goes to the end, where it parts no comment from its table."""
    if not has_value(tomllib.loads(text), path):
        line = "\r\n" if "\r\n" in text else "\n"
        table = tomlkit.dumps(cast("dict[str, Any]", nest_value(path, value))).replace("\n", line)
        longer = f"{text.rstrip()}{line * 2}{table}" if text.strip() else text + table
        if is_object(value) and is_toml(longer):
            return longer
    document = tomlkit.parse(text)
    *parents, name = path
    here: MutableMapping[str, Any] = document
    for parent in parents:
        here = here.setdefault(parent, tomlkit.table())
    here[name] = value
    return tomlkit.dumps(document)


def remove_value(text: str, path: Sequence[str]) -> str:
    """Take the value at a path out: its tables with their lines, or the pair that holds it. Raises `ValueError`."""
    lines = text.splitlines(keepends=True)
    headers = [(place, found) for place, line in enumerate(lines) if (found := header_path(lines, place, line))]
    ours = [place for place, found in headers if found[: len(path)] == tuple(path)]
    if not ours:
        return without_pair(text, path)
    starts = [place for place, _ in headers]
    gone = {
        place
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
        if start in ours
        for place in table_lines(lines, start, end)
    }
    return "".join(line for place, line in enumerate(lines) if place not in gone)


def table_lines(lines: Sequence[str], start: int, end: int) -> range:
    """Give the lines of a table, from the blank one before it to the last that is neither blank nor a comment."""
    while is_trivia(lines[end - 1]):
        end -= 1
    return range(start - 1 if start and not lines[start - 1].strip() else start, end)


def header_path(lines: Sequence[str], place: int, line: str) -> tuple[str, ...]:
    """Give the names in the header of a table, none if a line is none: it may stand inside of a value."""
    if not HEADER.match(line) or not is_toml("".join(lines[:place])) or not is_toml(line):
        return ()
    names, here = list[str](), tomllib.loads(line)
    while is_object(here) and here:
        [(name, here)] = here.items()
        names.append(name)
    return tuple(names)


def is_trivia(line: str) -> bool:
    return not line.strip() or is_comment(line)


def without_pair(text: str, path: Sequence[str]) -> str:
    document = tomlkit.parse(text)
    *parents, name = path
    here: MutableMapping[str, Any] = document
    for parent in parents:
        here = here[parent]
    del here[name]
    new = tomlkit.dumps(document)
    if [line for line in text.splitlines() if is_comment(line)] != [
        line for line in new.splitlines() if is_comment(line)
    ]:
        raise ValueError("a comment would go with it")
    return new


def is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def has_value(tree: Any, path: Sequence[str]) -> bool:
    for name in path:
        tree = tree.get(name) if is_object(tree) else None
    return tree is not None


def is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True
