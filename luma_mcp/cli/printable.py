"""Text for terminals and logs: what would steer one, or be seen by nobody, is written out."""

import json
import unicodedata
from itertools import accumulate

LAYOUT_CHARACTERS = "\n\t"
UNSEEN = frozenset({"Zl", "Zp"})  # ends of lines; of blanks, those that are seen stay


def printable(words: str, *, kept: str = "") -> str:
    r"""Escape control and invisible characters, and lone surrogates, as `\x1b` and the like, except those `kept`."""
    if words.isascii() and words.isprintable():  # as nearly all lines of a log
        return words
    return "".join(one if is_seen(one) or one in kept else ascii(one)[1:-1] for one in words)


def printable_json(document: str) -> str:
    r"""Escape them in a JSON document, as `\u001b` and the like, which leaves every value as it is."""
    return "".join(one if is_seen(one) or one in LAYOUT_CHARACTERS else escaped(one) for one in document)


def is_seen(one: str) -> bool:
    category = unicodedata.category(one)
    return category[0] != "C" and category not in UNSEEN


def escaped(one: str) -> str:
    """Escape a character as JSON can, also DEL, which JSON need not."""
    return "\\u007f" if one == "\x7f" else json.dumps(one)[1:-1]


def fit(text: str, width: int) -> str:
    """Bring a text to a width in columns: cut with an ellipsis, or filled with blanks."""
    if text_width(text) > width:
        ends = accumulate(map(character_width, text))
        text = "".join(character for character, end in zip(text, ends, strict=True) if end < width) + "…"
    return text + " " * (width - text_width(text))


def text_width(text: str) -> int:
    """Count the columns that a text takes on a terminal."""
    return sum(map(character_width, text))


def character_width(character: str) -> int:
    """Count two columns for wide characters, and none for accents that go onto the one before."""
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
