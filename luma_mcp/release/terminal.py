"""A picture of a terminal as SVG: text in a box, with no font and nothing else from elsewhere."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from xml.sax.saxutils import escape

COLUMNS = 80
TOKEN = re.compile(r"\x1b\[([\d;]*)m|(.)", re.DOTALL)
WORDS = re.compile(r"\S+(?: \S+)*")  # with single blanks between them
CELL_WIDTH, LINE_HEIGHT, MARGIN, FONT_SIZE = 8.4, 19, 16, 14
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
PAPER, INK = "#1b2130", "#dfe4ee"
STYLES = {"": "", "1": ' font-weight="bold" fill="#ffffff"', "32": ' fill="#7fd48f"'}  # by the codes of terminals

Cell = tuple[str, str]  # a character, and the codes of its style


def screen_rows(written: str) -> list[list[Cell]]:
    """Give the rows of a terminal that was sent this: what was written over is gone, what is too long is wrapped."""
    rows: list[list[Cell]] = [[]]
    column, style = 0, ""
    for codes, character in (found.groups() for found in TOKEN.finditer(written)):
        if character is None:
            style = codes.removeprefix("0")
        elif character == "\r":
            column = 0
        elif character == "\n":
            rows.append([])
        else:
            if column == COLUMNS:
                rows.append([])
                column = 0
            rows[-1][column : column + 1] = [(character, style)]
            column += 1
    return rows if rows[-1] else rows[:-1]


def draw_terminal(written: str) -> str:
    """Draw what a terminal shows that was sent this."""
    rows = screen_rows(written)
    width, height = round(2 * MARGIN + COLUMNS * CELL_WIDTH), 2 * MARGIN + len(rows) * LINE_HEIGHT
    words = [text for number, row in enumerate(rows) for text in draw_row(row, MARGIN + number * LINE_HEIGHT)]
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>',
        f'<g font-family="{FONTS}" font-size="{FONT_SIZE}" fill="{INK}">',
        *words,
        "</g>\n</svg>\n",
    ))  # fmt: skip


def draw_row(row: Sequence[Cell], top: int) -> Iterator[str]:
    """Draw words at their columns, as wide as their cells whatever the font."""
    column = 0
    for style, cells in groupby(row, key=itemgetter(1)):
        text = "".join(character for character, _ in cells)
        for found in WORDS.finditer(text):
            x, length = MARGIN + (column + found.start()) * CELL_WIDTH, len(found[0]) * CELL_WIDTH
            place = f'x="{x:.1f}" y="{top + FONT_SIZE}" textLength="{length:.1f}"'
            yield f"<text {place}{STYLES[style]}>{escape(found[0])}</text>"
        column += len(text)
