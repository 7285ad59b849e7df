"""Files by the names as people and models write them: a plain blank for a narrow one, any case, any form of accents."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

MOST_ENTRIES = 20_000  # of all folders that one search looks into
MOST_ALIKE = 10
QUOTES = dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc`\u00b4"), "'")
DOUBLE_QUOTES = dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"')
TYPOGRAPHIC = {**QUOTES, **DOUBLE_QUOTES, ord("\u2026"): "...", ord("\u2212"): "-"}


def plainly(name: str) -> str:
    """Write a name so that two which differ only in how they are written are equal."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).translate(TYPOGRAPHIC)
    return " ".join("".join(map(plain_character, folded)).split())


def plain_character(character: str) -> str:
    """Give a blank for any blank, a hyphen for any dash, nothing for what is not seen, else the character itself."""
    category = unicodedata.category(character)
    return {"Zs": " ", "Pd": "-", "Cf": ""}.get(category, character)


def written_alike(path: Path, roots: Sequence[Path]) -> list[Path]:
    """Find what lies in the folders, or in folders inside them, under a name that is the same but for its writing.

    Looks at a bounded number of names. Whether what is found may be read is for the caller to check.
    """
    look = Look()
    found: dict[Path, None] = {}
    for root in roots:
        parts = path.parts[len(root.parts) :]
        if (
            parts
            and ".." not in parts
            and list(map(plainly, path.parts[: len(root.parts)])) == list(map(plainly, root.parts))
        ):
            found |= dict.fromkeys(look.along(root, parts))
    return list(found)[:MOST_ALIKE]


class Look:
    """A search through folders that looks at so many names and no more."""

    def __init__(self) -> None:
        self._left = MOST_ENTRIES

    def along(self, folder: Path, parts: Sequence[str]) -> list[Path]:
        """Follow parts of a path from a folder on, wherever their writing may lead."""
        places = [folder]
        for part in parts:
            places = [alike for place in places for alike in self._alike(place, part)][:MOST_ALIKE]
        return places

    def _alike(self, folder: Path, part: str) -> Iterator[Path]:
        """Yield what a folder has under a name as it is written; if it has none, under those that are like it."""
        if os.path.lexists(folder / part):
            yield folder / part
            return
        wanted = plainly(part)
        try:
            with os.scandir(folder) as entries:
                for entry in islice(entries, self._left):
                    self._left -= 1
                    if plainly(entry.name) == wanted:
                        yield folder / entry.name
        except (OSError, ValueError):
            return
