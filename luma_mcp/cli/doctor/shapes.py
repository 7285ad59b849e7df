"""Answers of RunAPI without what is anybody's: keys and types, sentences of errors, harmless headers. No I/O."""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import httpx
from pydantic import SecretStr

from luma_mcp.core.text import is_list, is_object, safe_text, without_secret
from luma_mcp.runapi.explanations import SENTENCES

MOST_NAMES = 30
DEPTH = 5
LONGEST_SENTENCE = 120
LONGEST_NAME = 40
SHOWN = frozenset({*SENTENCES, "code", "type", "model", "prompt", "sourcevideourl", "callbackurl", "watermark"})
KINDS = {bool: "boolean", str: "string", int: "whole number", float: "number", type(None): "null"}
E_MAIL = re.compile(r"[^\s@]+@[^\s@]+")
LONG_WORD = re.compile(r"[A-Za-z0-9_-]{20,}")
NUMBER = re.compile(r"\d+([.,]\d+)*")
HARMLESS = ("content-type", "retry-after")
LIMITS = re.compile(r"(x-)?rate-?limit(-[a-z-]+)?")
HARMLESS_VALUE = re.compile(r"[A-Za-z0-9 ;=,./:+_-]{1,80}")
HEADER_NAME = re.compile(r"[a-z0-9-]{1,40}")


def shape(value: object, hidden: SecretStr | None, *, sentences: bool, shown: bool = False, depth: int = DEPTH) -> Any:
    """Give the types in JSON under their names, lists by their first entry.

    Of an error also the `sentences`: strings whose name says that they are one, or is a field of a submission.
    """
    if is_object(value) and depth:
        return {
            scrubbed(name, hidden)[:LONGEST_NAME]: shape(
                inner, hidden, sentences=sentences, shown=sentences and is_sentence(name), depth=depth - 1
            )
            for name, inner in islice(value.items(), MOST_NAMES)
        }
    if is_list(value) and depth:
        return [shape(one, hidden, sentences=sentences, shown=shown, depth=depth - 1) for one in value[:1]]
    if isinstance(value, str) and shown:
        return scrubbed(value, hidden)
    return KINDS.get(type(value), type(value).__name__)


def is_sentence(name: str) -> bool:
    """Tell whether a string of this name is for humans, or a code."""
    return re.sub("[_-]", "", name).lower() in SHOWN


def scrubbed(words: str, hidden: SecretStr | None) -> str:
    """Take the key, e-mail addresses, whatever looks like a key, and all numbers out of a sentence, and shorten it."""
    plain = E_MAIL.sub("[e-mail]", without_secret(words[: 20 * LONGEST_SENTENCE], hidden))
    return safe_text(NUMBER.sub("#", LONG_WORD.sub("[...]", plain)))[:LONGEST_SENTENCE]


def harmless_headers(headers: httpx.Headers, hidden: SecretStr | None) -> dict[str, str]:
    """Give type, pace and limits with their values."""
    found = {name: value for name, value in headers.items() if name in HARMLESS or LIMITS.fullmatch(name)}
    return {
        name: value if HARMLESS_VALUE.fullmatch(value) and without_secret(value, hidden) == value else "present"
        for name, value in islice(found.items(), MOST_NAMES)
    }


def other_headers(headers: httpx.Headers, told: Sequence[str]) -> list[str]:
    """Name the other headers."""
    return sorted(name for name in headers if name not in told and HEADER_NAME.fullmatch(name))[:MOST_NAMES]
