"""The files of a task's videos: which may be looked at, by whom, and what is said where there is none."""

from pathlib import Path

import pytest

from luma_mcp.app.progress import Progress
from luma_mcp.core.errors import InvalidRequest, LumaError, SourceNotAllowed, SourceNotFound, TaskNotFound
from luma_mcp.core.uris import task_uri
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.forged_ledger import finished, plant
from tests.support.rig import Rig, open_rig, sandbox_for, silent

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
VIDEO = bundled_clip().read_bytes()
WEEK = 7 * 86_400.0


def clip_in(home: Path, name: str = "clip.mp4") -> Path:
    folder = home / "clips"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(VIDEO)
    return folder / name


async def refusal(rig: Rig, task_id: str, which: str = "result", caller: str = "local") -> LumaError:
    with pytest.raises(LumaError) as refused:
        await rig.app.open_video(task_id, caller, which)
    return refused.value


async def test_a_saved_result_can_be_opened_and_read_in_pieces(rig: Rig) -> None:
    task = await rig.submit(wait=40)
    video = await rig.app.open_video(task.task_id, "local", "result")
    assert (video.path, video.size, video.mime_type) == (Path(task.video_path), len(VIDEO), "video/mp4")
    pieces = [await rig.app.read_video(video, offset, 1000) for offset in range(0, video.size, 1000)]
    assert b"".join(pieces) == VIDEO
    assert await rig.app.read_video(video, video.size, 1000) == b""


@pytest.mark.parametrize("offset", [-1, len(VIDEO) + 1])
async def test_an_offset_outside_the_file_is_refused(rig: Rig, offset: int) -> None:
    task = await rig.submit(wait=40)
    video = await rig.app.open_video(task.task_id, "local", "result")
    with pytest.raises(InvalidRequest, match="offset must be from 0"):
        await rig.app.read_video(video, offset, 1000)


async def test_a_file_that_changes_while_it_is_read_is_no_mixture(rig: Rig) -> None:
    task = await rig.submit(wait=40)
    video = await rig.app.open_video(task.task_id, "local", "result")
    Path(task.video_path).write_bytes(VIDEO + b"more")
    with pytest.raises(SourceNotFound, match="has changed"):
        await rig.app.read_video(video, 0, 1000)
    Path(task.video_path).unlink()
    with pytest.raises(SourceNotFound, match="cannot be read"):
        await rig.app.read_video(video, 0, 1000)


async def test_nobody_else_sees_a_task_and_other_words_name_no_video(rig: Rig) -> None:
    task = await rig.submit(wait=40)
    assert isinstance(await refusal(rig, task.task_id, caller="eve"), TaskNotFound)
    assert isinstance(await refusal(rig, "../../etc/passwd"), InvalidRequest)
    assert isinstance(await refusal(rig, task.task_id, "poster"), InvalidRequest)


async def test_an_unfinished_task_and_one_without_a_file_say_so(home: Path) -> None:
    async with open_rig(home, save="never", sandbox=sandbox_for(home, seconds=30)) as rig:
        task = await rig.submit(wait=0)
        assert "still" in (await refusal(rig, task.task_id)).message
        await rig.settle(task)
        assert "save_video" in (await refusal(rig, task.task_id)).hint
        rig.clock.jumped += WEEK
        assert "is gone" in (await refusal(rig, task.task_id)).hint


async def test_a_path_that_only_the_ledger_names_is_not_opened(home: Path) -> None:
    outside = home / "secret" / "film.mp4"
    outside.parent.mkdir()
    outside.write_bytes(VIDEO)
    plant(home / "data", **finished(task_id="planted-id", video_path=str(outside)))
    plant(home / "data", **finished(task_id="link-id", source=str(outside)))
    async with open_rig(home, media_roots=(home / "out",)) as rig:
        assert isinstance(await refusal(rig, "planted-id"), SourceNotFound)
        assert isinstance(await refusal(rig, "link-id", "source"), SourceNotAllowed)


async def test_the_local_clip_that_a_task_was_made_of_can_be_opened(home: Path) -> None:
    clip = clip_in(home)
    async with open_rig(home, media_roots=(clip.parent,)) as rig:
        task = await rig.submit(source=str(clip))
        video = await rig.app.open_video(task.task_id, "local", "source")
        assert (video.path, video.size) == (clip, len(VIDEO))
        chained = await rig.submit("snow", source=task_uri(task.task_id))
        earlier = await rig.app.open_video(chained.task_id, "local", "source")
        assert earlier.path == Path(task.video_path)
        Path(task.video_path).unlink()
        assert "is not saved" in (await refusal(rig, chained.task_id, "source")).message


async def test_a_source_that_changed_or_left_is_not_shown_as_what_it_was(home: Path) -> None:
    clip = clip_in(home)
    async with open_rig(home, media_roots=(clip.parent,)) as rig:
        task = await rig.submit(source=str(clip))
        clip.write_bytes(VIDEO + b"more")
        assert "has changed" in (await refusal(rig, task.task_id, "source")).message
        clip.write_bytes(b"x" * len(VIDEO))
        assert "is no video" in (await refusal(rig, task.task_id, "source")).message
        clip.unlink()
        assert isinstance(await refusal(rig, task.task_id, "source"), SourceNotFound)


async def test_a_source_outside_the_allowed_folders_or_on_the_internet_is_not_read(home: Path) -> None:
    clip = clip_in(home)
    async with open_rig(home, media_roots=(clip.parent,)) as rig:
        local, public = await rig.submit(source=str(clip)), await rig.submit("snow")
        assert "internet" in (await refusal(rig, public.task_id, "source")).message
    async with open_rig(home, media_roots=()) as rig:
        assert isinstance(await refusal(rig, local.task_id, "source"), SourceNotAllowed)
        done = await rig.app.get_task(local.task_id, "local", wait_seconds=0, progress=Progress(silent))
        assert done.task.status.done
