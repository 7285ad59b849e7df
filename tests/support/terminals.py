"""Terminals that keep what is drawn on them."""

import io
import os
import unicodedata
from collections.abc import Generator


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


ODD = "\x1b]0;owned\x07\x1b[2J\r\x00\x7f\x9b31m\x85\u2028\u2029\u202e\u2066\u200b\u200d\ufeff\u00ad\U000e0041\ud83d"


def steers(text: str) -> bool:
    """Tell whether a text holds what a terminal would obey, or a person would not see."""
    return any(unicodedata.category(one)[0] == "C" or one in "\u2028\u2029" for one in text.replace("\n", ""))


def pieces_of(descriptor: int) -> Generator[bytes]:
    """Read what was written to a terminal until it is closed."""
    try:
        while piece := os.read(descriptor, 65536):
            yield piece
    except OSError:  # how Linux says that nobody writes to it any more
        pass
    finally:
        os.close(descriptor)
