"""Text for terminals and logs: what would steer one, or be seen by nobody, is written out."""

import json
import unicodedata

LAYOUT_CHARACTERS = "\n\t"
UNSEEN = frozenset({"Zl", "Zp"})  # ends of lines; of blanks, those that are seen stay


def printable(words: str, *, kept: str = "") -> str:
    r"""Escape control and invisible characters, and lone surrogates, as `\x1b` and the like, except those `kept`."""
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
