"""Changes in TOML that people keep by hand: what is not changed stays as it is, comments too."""

import tomllib
from collections.abc import MutableMapping, Sequence
from typing import Any, cast

import tomlkit

from luma_mcp.core.text import is_object
from luma_mcp.hosts.jsonc import nested


def with_value(text: str, path: Sequence[str], value: object) -> str:
    """Put a value at a path; a new table goes to the end, where it parts no comment from its table."""
    if not holds(tomllib.loads(text), path):
        line = "\r\n" if "\r\n" in text else "\n"
        table = tomlkit.dumps(cast("dict[str, Any]", nested(path, value))).replace("\n", line)
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


def holds(tree: Any, path: Sequence[str]) -> bool:
    """Tell whether there is a value at a path."""
    for name in path:
        tree = tree.get(name) if is_object(tree) else None
    return tree is not None


def is_toml(text: str) -> bool:
    """Tell whether a text can be decoded."""
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True
