"""The picture of a terminal shows what commands print today, and nothing of the machine it was made on."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from luma_mcp.release.sandbox_user import SandboxUser
from luma_mcp.release.terminal import draw_terminal

PICTURE = Path(__file__).parents[2] / "luma_mcp" / "release" / "terminal.svg"
CHANGES = (  # with each run, in this order
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "TASK"),
    (r"(?<=morning-)[0-9a-f]{4}(?:[0-9a-f\s]{4,5})(?=\.mp4)", "ID"),
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"\d+ s\b", "SECONDS"),
    (r"xdg-open|open|start", "OPEN"),
)


def words_of(svg: str) -> str:
    """Give the text of a picture without what changes with each run, and without breaks of lines."""
    drawn = ElementTree.fromstring(svg).iter()  # noqa: S314 - our own
    text = " ".join(element.text or "" for element in drawn if element.tag.endswith("}text"))
    for pattern, name in CHANGES:
        text = re.sub(pattern, name, text)
    return "".join(text.split())


def test_the_picture_in_the_checkout_shows_what_commands_print_today(tmp_path: Path) -> None:
    pytest.importorskip("pty")
    user = SandboxUser(tmp_path.resolve())
    user.add_clip()
    written = user.type_commands()
    assert str(tmp_path) not in written
    assert words_of(draw_terminal(written)) == words_of(PICTURE.read_text(encoding="utf-8")), (
        "If the change is wanted, run: python -m luma_mcp.release.pictures"
    )


def test_the_picture_names_no_folder_of_the_machine_it_was_made_on() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    assert "~/Videos/luma/" in text
    assert not re.search(r"/(root|home|tmp|usr|Users|private)/", text)
