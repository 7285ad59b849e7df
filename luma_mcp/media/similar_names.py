"""Files by the names as people and models write them: a plain blank for a narrow one, any case, any form of accents."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

MAX_SEARCHED_ENTRIES = 20_000  # of all folders that one search looks into
MAX_SIMILAR_NAMES = 10
QUOTES = dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc`\u00b4"), "'")
DOUBLE_QUOTES = dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"')
TYPOGRAPHIC = {**QUOTES, **DOUBLE_QUOTES, ord("\u2026"): "...", ord("\u2212"): "-"}


def normalize_name(name: str) -> str:
    """Give a form of a name that is equal for names which differ only in how they are written."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).translate(TYPOGRAPHIC)
    return " ".join("".join(map(normalize_character, folded)).split())


def normalize_character(character: str) -> str:
    category = unicodedata.category(character)
    return {"Zs": " ", "Pd": "-", "Cf": ""}.get(category, character)


def find_similar_names(path: Path, roots: Sequence[Path]) -> list[Path]:
    """Find paths in the folders whose names are the same but for how they are written.

    Looks at a bounded number of names. Whether a path may be read is for the caller to check.
    """
    look = FolderSearch()
    found: dict[Path, None] = {}
    for root in roots:
        parts = path.parts[len(root.parts) :]
        if (
            parts
            and ".." not in parts
            and list(map(normalize_name, path.parts[: len(root.parts)])) == list(map(normalize_name, root.parts))
        ):
            found |= dict.fromkeys(look.along(root, parts))
    return list(found)[:MAX_SIMILAR_NAMES]


class FolderSearch:
    """A search through folders that looks at `MAX_SEARCHED_ENTRIES` names in all."""

    def __init__(self) -> None:
        self._left = MAX_SEARCHED_ENTRIES

    def along(self, folder: Path, parts: Sequence[str]) -> list[Path]:
        places = [folder]
        for part in parts:
            places = [alike for place in places for alike in self._alike(place, part)][:MAX_SIMILAR_NAMES]
        return places

    def _alike(self, folder: Path, part: str) -> Iterator[Path]:
        """Yield the entry of exactly this name; if there is none, those whose normalized names are the same."""
        if os.path.lexists(folder / part):
            yield folder / part
            return
        wanted = normalize_name(part)
        try:
            with os.scandir(folder) as entries:
                for entry in islice(entries, self._left):
                    self._left -= 1
                    if normalize_name(entry.name) == wanted:
                        yield folder / entry.name
        except (OSError, ValueError):
            return
