"""Clips that somebody sends: here whole, in time, and only for as long as they are needed."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from luma_mcp.core.errors import OutputNotWritable, SourceNotFound
from luma_mcp.media.received import RECEIVE_SECONDS, ReceivedClips, SentTooSlowly
from tests.support.mp4_files import film
from tests.support.rig import disk_with

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
FILM = film()


class Sent(AsyncIterator[bytes]):
    """A body in pieces, each of which comes after a pause in seconds."""

    def __init__(self, *pieces: bytes, pause: float = 0.0) -> None:
        self._left, self._pause = [*pieces], pause

    async def __anext__(self) -> bytes:
        await anyio.sleep(self._pause)
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


async def test_a_clip_is_there_while_it_is_needed(tmp_path: Path) -> None:
    async with ReceivedClips(tmp_path).received(Sent(FILM[:100], FILM[100:]), len(FILM)) as path:
        assert path.read_bytes() == FILM
    assert [*tmp_path.iterdir()] == []


async def test_one_that_comes_too_slowly_is_given_up_within_the_hour(tmp_path: Path) -> None:
    begun = anyio.current_time()
    with pytest.raises(SentTooSlowly, match="within 60 minutes"):
        async with ReceivedClips(tmp_path).received(Sent(*[FILM[:100]] * 100, pause=60.0), None):
            pass
    assert anyio.current_time() - begun == pytest.approx(RECEIVE_SECONDS)
    assert [*tmp_path.iterdir()] == []


async def test_one_that_is_no_video_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="What was sent is no MP4 or MOV video"):
        async with ReceivedClips(tmp_path).received(Sent(b"GIF89a" + bytes(100)), None):
            pass
    assert [*tmp_path.iterdir()] == []


async def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_with(1000))
    with pytest.raises(OutputNotWritable, match="nearly full"):
        async with ReceivedClips(tmp_path).received(Sent(FILM), len(FILM)):
            pass
    assert [*tmp_path.iterdir()] == []
