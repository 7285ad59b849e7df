"""Reading what others sent: JSON of any shape, and text that may carry anything."""

import json
import math
import re
import unicodedata
from typing import Any, TypeGuard

import httpx
from pydantic import SecretStr

from luma_mcp.core.uris import CALLBACKS_PATH

MAX_TEXT_LENGTH = 300
MIN_SECRET_LENGTH = 8
MAX_INT_DIGITS = 40
MARKUP = re.compile(r"<[^>]*>|&#?\w+;|[<>`]")
SURROGATE = re.compile("[\ud800-\udfff]")
CALLBACK_ADDRESS = re.compile(rf"{CALLBACKS_PATH}/[A-Za-z0-9_-]{{20,}}")
SURROGATE_MESSAGE = "Text must be valid Unicode; half of a surrogate pair is no character."

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
        body: object = json.loads(written, parse_constant=drop_nan, parse_float=parse_finite, parse_int=parse_whole)
    except (ValueError, RecursionError):
        return None
    return body


def json_object(response: httpx.Response) -> Json:
    """Give the JSON object in a response, or an empty one for anything else."""
    body = json_value(response)
    return body if is_object(body) else {}


def drop_nan(_: str) -> None:
    """Give None for NaN and Infinity."""


def parse_finite(written: str) -> float | None:
    return number if math.isfinite(number := float(written)) else None


def parse_whole(written: str) -> int | None:
    """Read a whole number; Python raises `ValueError` for those of thousands of digits."""
    return int(written) if len(written) <= MAX_INT_DIGITS else None


def child(body: Json, name: str) -> Json:
    """Give the object under a name, or an empty one for anything else."""
    value: object = body.get(name)
    return value if is_object(value) else {}


def stripped_string(value: object) -> str:
    """Give a string value stripped, and nothing for any other type."""
    return value.strip() if isinstance(value, str) else ""


def strip_all_quotes(value: str) -> str:
    """Take blanks and any quotes off, paired or not."""
    return value.strip().strip("\"'").strip()


def is_valid_unicode(words: str) -> bool:
    """Tell whether text can be encoded: half of a surrogate pair, which JSON can carry, cannot."""
    return words.isascii() or not SURROGATE.search(words)


def has_valid_unicode(value: object) -> bool:
    """Tell whether all text in a value out of JSON, keys too, can be encoded, however deep it is nested."""
    try:
        return is_valid_unicode(json.dumps(value, ensure_ascii=False))  # ten times as fast as looking at each part
    except (TypeError, ValueError, RecursionError):  # something in it is no JSON, or lies too deep
        return has_valid_unicode_in_parts(value)


def has_valid_unicode_in_parts(value: object) -> bool:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str) and not is_valid_unicode(part):
            return False
        if is_object(part):
            waiting += [*part.keys(), *part.values()]
        elif is_list(part):
            waiting += part
    return True


def replace_surrogates(value: Any) -> Any:
    """Give a value for JSON with a replacement character for each half of a surrogate pair."""
    if has_valid_unicode(value):
        return value
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if is_object(value):
        return {replace_surrogates(name): replace_surrogates(part) for name, part in value.items()}
    return [replace_surrogates(part) for part in value]


def redact_secret(words: str, secret: SecretStr | None) -> str:
    """Replace a secret, and callback addresses, in foreign text, which may echo them.

    Nothing shorter than `MIN_SECRET_LENGTH` is replaced: it may be part of ordinary words.
    """
    hidden = secret.get_secret_value() if secret else ""
    plain = CALLBACK_ADDRESS.sub(f"{CALLBACKS_PATH}/[secret]", words)
    return re.sub(re.escape(hidden), "[key]", plain, flags=re.I) if len(hidden) >= MIN_SECRET_LENGTH else plain


def quote_text(words: str) -> str:
    """Sanitise foreign text and quote it, so that nobody takes it for ours."""
    return '"' + sanitise_text(words).replace('"', "'") + '"'


def sanitise_text(words: str) -> str:
    """Make foreign text one line for a log or a model, without markup, control or invisible characters, and bounded."""
    plain = MARKUP.sub(" ", words[: 20 * MAX_TEXT_LENGTH]).replace("](", "] (")
    visible = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in plain)
    line = " ".join(visible.split())
    return line if len(line) <= MAX_TEXT_LENGTH else line[: MAX_TEXT_LENGTH - 1] + "…"
