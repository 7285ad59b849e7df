"""The pictures of README are there, small, told in words, and made by a command."""

import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
NAMED = re.findall(r"!\[(.*?)\]\((.*?)\)", (CHECKOUT / "README.md").read_text(encoding="utf-8"))
FIRST_BYTES = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b'<svg xmlns="http://www.w3.org/2000/svg"'}
MAX_BYTES = 200_000


@pytest.fixture
def pictures() -> Any:
    pytest.importorskip("av", reason="PyAV is an extra, which is not installed here")
    return import_module("luma_mcp.release.pictures")


def test_every_picture_that_is_made_is_shown() -> None:
    made = {path.name for path in (CHECKOUT / "luma_mcp" / "release").iterdir() if path.suffix in FIRST_BYTES}
    assert {Path(path).name for _, path in NAMED} == made == {"contact-sheet.png", "gallery.png", "terminal.svg"}


@pytest.mark.parametrize(("words", "path"), NAMED, ids=[path for _, path in NAMED])
def test_a_picture_is_small_and_described(words: str, path: str) -> None:
    content = (CHECKOUT / path).read_bytes()
    assert content.startswith(FIRST_BYTES[Path(path).suffix])
    assert len(content) < MAX_BYTES
    assert len(words.split()) > 5


def test_the_videos_in_the_gallery_are_drawn(pictures: Any) -> None:
    assert pictures.black_share((CHECKOUT / "luma_mcp/release/gallery.png").read_bytes()) < pictures.MAX_BLACK


def test_one_command_makes_them_all(pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(map(shutil.which, pictures.BROWSERS)):
        pytest.skip("there is no Chromium on this machine")
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    pictures.main()
    for _, path in NAMED:
        content = (tmp_path / Path(path).name).read_bytes()
        assert content.startswith(FIRST_BYTES[Path(path).suffix])
        assert len(content) < MAX_BYTES


def test_without_a_browser_it_says_which_would_do(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="needs one of these in PATH: chromium"):
        pictures.screenshot(pictures.SandboxUser(tmp_path), "http://127.0.0.1:9/")
