"""Changes in TOML that people keep by hand: what is not changed stays as it is, comments too."""

import re
import tomllib
from collections.abc import MutableMapping, Sequence
from typing import Any, cast

import tomlkit

from luma_mcp.core.text import is_object
from luma_mcp.hosts.jsonc import nest_value


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
