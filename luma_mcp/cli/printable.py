"""Text for terminals and logs: what would steer one, or be seen by nobody, is written out."""

import json
import unicodedata

LINES = "\n\t"
UNSEEN = frozenset({"Zl", "Zp"})  # ends of lines; of blanks, those that are seen stay


def printable(words: str, *, kept: str = "") -> str:
    r"""Write control and invisible characters, and halves of characters, as `\x1b` and the like, but for those kept."""
    return "".join(one if is_seen(one) or one in kept else ascii(one)[1:-1] for one in words)


def printable_json(document: str) -> str:
    r"""Do the same to a JSON document, as `\u001b` and the like, which leaves every value as it is."""
    return "".join(one if is_seen(one) or one in LINES else escaped(one) for one in document)


def is_seen(one: str) -> bool:
    """Tell whether a character is seen, and steers nothing."""
    category = unicodedata.category(one)
    return category[0] != "C" and category not in UNSEEN


def escaped(one: str) -> str:
    """Write a character as JSON can, even the one that JSON need not."""
    return "\\u007f" if one == "\x7f" else json.dumps(one)[1:-1]
