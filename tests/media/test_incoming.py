"""Videos on their way in: written while they can be videos of bearable size, in a folder that nobody else reads."""

import os
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio.lowlevel
import pytest

from luma_mcp.core.errors import OutputNotWritable, SourceNotFound, SourceTooLarge
from luma_mcp.media import incoming
from luma_mcp.media.incoming import Rule, private_file, write_video
from tests.support.mp4_files import film
from tests.support.rig import disk_with

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
FILM = film()
RULE = Rule("The clip", len(FILM), "Smaller.", "Another kind.")


class Pieces(AsyncIterator[bytes]):
    """A body that comes in pieces, of which is counted how many were asked for."""

    def __init__(self, *pieces: bytes) -> None:
        self._left = [*pieces]
        self.taken = 0

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self._left:
            raise StopAsyncIteration
        self.taken += 1
        return self._left.pop(0)


async def test_what_comes_in_any_pieces_is_written_as_it_is(tmp_path: Path) -> None:
    pieces = Pieces(*(FILM[at : at + 1] for at in range(30)), FILM[30:])
    assert await write_video(pieces, tmp_path / "clip.mp4", None, RULE) == len(FILM)
    assert (tmp_path / "clip.mp4").read_bytes() == FILM


async def test_what_begins_like_no_video_is_refused_before_the_rest_comes(tmp_path: Path) -> None:
    pieces = Pieces(b"<ht", b"ml><body>hello", FILM)
    with pytest.raises(SourceNotFound, match="The clip is no MP4 or MOV video") as refused:
        await write_video(pieces, tmp_path / "clip.mp4", None, RULE)
    assert (pieces.taken, refused.value.hint) == (2, "Another kind.")


async def test_nothing_is_read_of_what_says_that_it_is_too_large(tmp_path: Path) -> None:
    pieces = Pieces(FILM)
    with pytest.raises(SourceTooLarge, match="larger than"):
        await write_video(pieces, tmp_path / "clip.mp4", len(FILM) + 1, RULE)
    assert (pieces.taken, [*tmp_path.iterdir()]) == (0, [])


async def test_what_turns_out_too_large_is_refused_at_the_bound(tmp_path: Path) -> None:
    pieces = Pieces(FILM, b"x", b"never asked for")
    with pytest.raises(SourceTooLarge):
        await write_video(pieces, tmp_path / "clip.mp4", None, RULE)
    assert (pieces.taken, (tmp_path / "clip.mp4").stat().st_size) == (2, len(FILM))


@pytest.mark.parametrize("size", [None, len(FILM)])
async def test_what_comes_leaves_room_on_a_disk_that_others_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    async def coming() -> AsyncGenerator[bytes]:
        yield FILM[:-3]
        monkeypatch.setattr(shutil, "disk_usage", disk_with(1000))
        yield FILM[-3:]

    monkeypatch.setattr(incoming, "LOOK_BYTES", 1)
    with pytest.raises(OutputNotWritable, match="nearly full"):
        async with aclosing(coming()) as pieces:
            await write_video(pieces, tmp_path / "clip.mp4", size, RULE)
    assert (tmp_path / "clip.mp4").stat().st_size == len(FILM) - 3


async def test_a_private_file_is_gone_afterwards_with_what_killed_servers_left(tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    for name, age in (("old", 100), ("young", 0)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    async with private_file(folder, "clip.mp4", 50) as path:
        path.write_bytes(FILM)
        assert os.name == "nt" or path.parent.stat().st_mode & 0o077 == 0
    assert [left.name for left in folder.iterdir()] == ["young"]


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "incoming").write_bytes(b"")
    with pytest.raises(OutputNotWritable):
        async with private_file(tmp_path / "incoming", "clip.mp4", 50):
            pass
