"""Answers of RunAPI without what is anybody's: keys and types, sentences of errors, harmless headers. No I/O."""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import httpx
from pydantic import SecretStr

from luma_mcp.core.text import is_list, is_object, redact_secret, sanitise_text
from luma_mcp.runapi.error_map import SENTENCES

MAX_NAMES = 30
MAX_DEPTH = 5
MAX_SENTENCE_LENGTH = 120
MAX_NAME_LENGTH = 40
SHOWN = frozenset({*SENTENCES, "code", "type", "model", "prompt", "sourcevideourl", "callbackurl", "watermark"})
KINDS = {bool: "boolean", str: "string", int: "whole number", float: "number", type(None): "null"}
E_MAIL = re.compile(r"[^\s@]+@[^\s@]+")
LONG_WORD = re.compile(r"[A-Za-z0-9_-]{20,}")
NUMBER = re.compile(r"\d+([.,]\d+)*")
HARMLESS = ("content-type", "retry-after")
LIMITS = re.compile(r"(x-)?rate-?limit(-[a-z-]+)?")
HARMLESS_VALUE = re.compile(r"[A-Za-z0-9 ;=,./:+_-]{1,80}")
HEADER_NAME = re.compile(r"[a-z0-9-]{1,40}")


def shape(
    value: object, hidden: SecretStr | None, *, sentences: bool, shown: bool = False, depth: int = MAX_DEPTH
) -> Any:
    """Replace the values in JSON by the names of their types; of lists only the first item is kept.

    With `sentences`, for errors, strings stay whose name says that they are a message or a field of a submission.
    """
    if is_object(value) and depth:
        return {
            redact_text(name, hidden)[:MAX_NAME_LENGTH]: shape(
                inner, hidden, sentences=sentences, shown=sentences and is_sentence(name), depth=depth - 1
            )
            for name, inner in islice(value.items(), MAX_NAMES)
        }
    if is_list(value) and depth:
        return [shape(one, hidden, sentences=sentences, shown=shown, depth=depth - 1) for one in value[:1]]
    if isinstance(value, str) and shown:
        return redact_text(value, hidden)
    return KINDS.get(type(value), type(value).__name__)


def is_sentence(name: str) -> bool:
    return re.sub("[_-]", "", name).lower() in SHOWN


def redact_text(words: str, hidden: SecretStr | None) -> str:
    """Take the key, e-mail addresses, whatever looks like a key, and all numbers out of a sentence, and shorten it."""
    plain = E_MAIL.sub("[e-mail]", redact_secret(words[: 20 * MAX_SENTENCE_LENGTH], hidden))
    return sanitise_text(NUMBER.sub("#", LONG_WORD.sub("[...]", plain)))[:MAX_SENTENCE_LENGTH]


def harmless_headers(headers: httpx.Headers, hidden: SecretStr | None) -> dict[str, str]:
    """Give type, pace and limits with their values; a value of another form is only said to be present."""
    found = {name: value for name, value in headers.items() if name in HARMLESS or LIMITS.fullmatch(name)}
    return {
        name: value if HARMLESS_VALUE.fullmatch(value) and redact_secret(value, hidden) == value else "present"
        for name, value in islice(found.items(), MAX_NAMES)
    }


def other_headers(headers: httpx.Headers, told: Sequence[str]) -> list[str]:
    return sorted(name for name in headers if name not in told and HEADER_NAME.fullmatch(name))[:MAX_NAMES]
