"""Reading what others sent: JSON of any shape, and text that may carry anything."""

import json
import math
import re
import unicodedata
from typing import Any, TypeGuard

import httpx
from pydantic import SecretStr

LONGEST_TEXT = 300
SHORTEST_SECRET = 8
LONGEST_WHOLE = 40
MARKUP = re.compile(r"<[^>]*>|&#?\w+;|[<>`]")
SURROGATE = re.compile("[\ud800-\udfff]")
OWN_ADDRESS = re.compile(r"/callbacks/[A-Za-z0-9_-]{20,}")
HALVES = "Text must be valid Unicode; half of a surrogate pair is no character."

Json = dict[str, Any]


def is_object(value: object) -> TypeGuard[Json]:
    """Tell whether a value out of JSON is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell whether a value out of JSON is a list."""
    return isinstance(value, list)


def json_value(response: httpx.Response) -> object:
    """Give what a response holds as JSON, in any encoding of Unicode; None if it holds none.

    Bytes that are no text are replaced; a number that is none, not finite or enormous is None.
    """
    content = response.content
    try:
        written = content.decode(json.detect_encoding(content), "replace")
        body: object = json.loads(written, parse_constant=not_a_number, parse_float=finite, parse_int=whole)
    except (ValueError, RecursionError):
        return None
    return body


def json_object(response: httpx.Response) -> Json:
    """Give the JSON object in a response, or an empty one for anything else."""
    body = json_value(response)
    return body if is_object(body) else {}


def not_a_number(_: str) -> None:
    """Read NaN and Infinity."""


def finite(written: str) -> float | None:
    """Read a number with a fraction or an exponent."""
    return number if math.isfinite(number := float(written)) else None


def whole(written: str) -> int | None:
    """Read a whole number; Python refuses those of thousands of digits, and nobody means them."""
    return int(written) if len(written) <= LONGEST_WHOLE else None


def child(body: Json, name: str) -> Json:
    """Give the object under a name, or an empty one for anything else."""
    value: object = body.get(name)
    return value if is_object(value) else {}


def text(value: object) -> str:
    """Give a string value stripped, and nothing for any other type."""
    return value.strip() if isinstance(value, str) else ""


def is_text(words: str) -> bool:
    """Tell whether words can be written down: half of a surrogate pair, which JSON can carry, is no character."""
    return words.isascii() or not SURROGATE.search(words)


def all_text(value: object) -> bool:
    """Tell whether all words in a value out of JSON can be written down, however deep they lie."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str) and not is_text(part):
            return False
        if is_object(part):
            waiting += [*part.keys(), *part.values()]
        elif is_list(part):
            waiting += part
    return True


def as_text_throughout(value: Any) -> Any:
    """Give a value for JSON with a replacement character for each half of a surrogate pair."""
    if all_text(value):
        return value
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if is_object(value):
        return {as_text_throughout(name): as_text_throughout(part) for name, part in value.items()}
    return [as_text_throughout(part) for part in value]


def without_secret(words: str, secret: SecretStr | None) -> str:
    """Take a secret, and addresses that only RunAPI may know, out of foreign text, which may echo them.

    What is too short to be a secret is part of ordinary words.
    """
    hidden = secret.get_secret_value() if secret else ""
    plain = OWN_ADDRESS.sub("/callbacks/[secret]", words)
    return re.sub(re.escape(hidden), "[key]", plain, flags=re.I) if len(hidden) >= SHORTEST_SECRET else plain


def quoted(words: str) -> str:
    """Quote foreign text, so that nobody takes it for ours."""
    return '"' + safe_text(words).replace('"', "'") + '"'


def safe_text(words: str) -> str:
    """Make foreign text fit for a log and a model: one line, no markup, no control or invisible characters, bounded."""
    plain = MARKUP.sub(" ", words[: 20 * LONGEST_TEXT]).replace("](", "] (")
    visible = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in plain)
    line = " ".join(visible.split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"
