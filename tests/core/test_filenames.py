"""What saved videos are called: readable, valid everywhere, and never a way out of the folder."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.core import filenames
from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.filenames import NAME_BYTES, RESERVED, make_filename, validate_filename
from luma_mcp.core.models import SANDBOX_ORIGIN
from tests.support.tasks import COMPLETED


def is_valid_everywhere(name: str) -> bool:
    """Tell whether Windows, macOS and Linux all take a name as one component."""
    plain = Path(name).name == name and name.isprintable() and not set(name) & set('<>:"/\\|?*')
    stem = name.partition(".")[0].lower()
    return plain and stem not in RESERVED and not name.endswith((".", " ")) and len(name.encode()) < NAME_BYTES + 50


@given(st.text(), st.text(min_size=1))
def test_a_name_is_one_plain_component_whatever_the_prompt_and_the_id(prompt: str, task_id: str) -> None:
    name = make_filename(replace(COMPLETED, request=replace(COMPLETED.request, prompt=prompt), task_id=task_id), Path())
    assert is_valid_everywhere(name)
    assert name.startswith("2026-09-21")
    assert name.endswith(".mp4")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("霧の秋の朝", "2026-09-21-霧の秋の朝-550e8400.mp4"),
        ("../../etc/passwd", "2026-09-21-etc-passwd-550e8400.mp4"),
        ("CON: aux", "2026-09-21-550e8400.mp4"),
        ("!!!", "2026-09-21-550e8400.mp4"),
        ("one two three four five six seven", "2026-09-21-one-two-three-four-five-six-550e8400.mp4"),
    ],
)
def test_names_are_made_of_the_words_of_the_prompt(prompt: str, name: str) -> None:
    assert make_filename(replace(COMPLETED, request=replace(COMPLETED.request, prompt=prompt)), Path()) == name


def test_a_video_of_the_sandbox_has_it_in_its_name_however_long_the_path() -> None:
    played = replace(COMPLETED, origin=SANDBOX_ORIGIN)
    assert make_filename(played, Path()) == "2026-09-21-sandbox-a-foggy-autumn-morning-550e8400.mp4"
    deep = PureWindowsPath("C:/" + "f" * filenames.MAX_PATH_LENGTH)
    assert make_filename(played, deep) == "2026-09-21-sandbox-550e8400.mp4"


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("", ""),
        ("  ", ""),
        ("foggy", "foggy.mp4"),
        (" Foggy morning.MP4 ", "Foggy morning.MP4"),
        ("take 2.mov", "take 2.mov"),
        ("v1.2", "v1.2.mp4"),
        ("clip.exe", "clip.exe.mp4"),
        ("霧の朝", "霧の朝.mp4"),
        ("cafe\u0301", "café.mp4"),
    ],
)
def test_a_callers_own_name_is_taken_with_the_suffix_it_lacks(wanted: str, name: str) -> None:
    assert validate_filename(wanted) == name


@pytest.mark.parametrize(
    "wanted",
    [
        "../up", "..", ".", "/etc/passwd", "a/b", "a\\b", "C:\\x", "c:x", "x.mp4:stream", "a\0b", "a\nb", "\u202e4pm.x",
        ".hidden", "-rf", "~x", "CON", "con.mp4", "Aux .txt", "LPT1", "com\u00b9.mp4", "what?", "a*b", "<a>", 'say "x"',
        "a|b", "x.", "x" * 200, "\ud800",
    ],
)  # fmt: skip
def test_a_name_that_is_a_path_or_no_name_on_some_system_is_refused(wanted: str) -> None:
    with pytest.raises(InvalidRequest, match="filename"):
        validate_filename(wanted)


@given(st.text())
def test_whatever_name_is_let_through_is_valid_everywhere(wanted: str) -> None:
    try:
        name = validate_filename(wanted)
    except InvalidRequest:
        return
    assert not name or is_valid_everywhere(name)


def test_a_name_has_fewer_words_where_the_path_would_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filenames, "MAX_PATH_LENGTH", 250)
    wordy = replace(COMPLETED, request=replace(COMPLETED.request, prompt="surroundings " * 6))
    folders = [PureWindowsPath("C:/" + "f" * length) for length in (20, 160, 200, 300)]
    names = [make_filename(wordy, folder) for folder in folders]
    assert names[0] == f"2026-09-21-{'-'.join(['surroundings'] * 6)}-550e8400.mp4"
    assert names[1:] == [
        "2026-09-21-surroundings-surroundings-surroundings-surroundings-surroundin-550e8400.mp4",
        "2026-09-21-surroundings-surroundi-550e8400.mp4",
        "2026-09-21-550e8400.mp4",
    ]
    assert all(len(str(folder / name)) <= 250 for folder, name in zip(folders[:3], names[:3], strict=True))


def test_a_name_has_only_what_file_names_can_have_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", partial(str.encode, encoding="ascii"))
    foggy = replace(COMPLETED, request=replace(COMPLETED.request, prompt="霧 fog ½ snow"))
    assert make_filename(foggy, Path()) == "2026-09-21-fog-snow-550e8400.mp4"
    with pytest.raises(InvalidRequest, match="file names cannot have here"):
        validate_filename("霧")
    assert validate_filename("fog") == "fog.mp4"
