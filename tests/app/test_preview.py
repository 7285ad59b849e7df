"""A look at a result: beside its source where that can be had, and a clear error where there is nothing to look at."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.app import preview as previews
from luma_mcp.app.save import PREVIEW_SECONDS
from luma_mcp.core.errors import InvalidRequest, LumaError, PreviewFailed, PreviewToolMissing, TaskNotFound, VideoGone
from luma_mcp.core.models import OUTPUT_LIFETIME_SECONDS, Task
from luma_mcp.media import preview as sheets
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.transport import open_asgi_transport
from tests.support.rig import SOURCE, Rig, VirtualClock, open_rig, sandbox_for
from tests.support.videos import GREEN, PINK, decoded_picture, is_near, make_video, needs_frames

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads"), needs_frames]


class Web(httpx.AsyncBaseTransport):
    """The network: RunAPI, whose every result is one video, and addresses of clips."""

    def __init__(self, inner: httpx.AsyncBaseTransport, result: Path) -> None:
        self.inner = inner
        self.result = result
        self.files: dict[str, Path] = {}
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path, url = request.url.path, str(request.url)
        if url in self.files or "/outputs/" in path:
            self.asked.append(url)
            return httpx.Response(200, content=self.files.get(url, self.result).read_bytes())
        if request.url.host == "example.com":
            self.asked.append(url)
            return httpx.Response(404)
        return await self.inner.handle_async_request(request)


@asynccontextmanager
async def opened(home: Path, **changes: Any) -> AsyncGenerator[tuple[Rig, Web]]:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    (home / "out").mkdir(exist_ok=True)
    async with open_asgi_transport(sandbox) as inner:
        web = Web(inner, make_video(home / "result.mp4", colour=PINK))
        async with open_rig(home, clock=clock, sandbox=sandbox, network=web, **changes) as rig:
            yield rig, web


async def cells_of(rig: Rig, task: Task) -> tuple[str, str]:
    """Give the colours of the two rows of a preview, by their first letters, and its text."""
    preview = await rig.app.preview(task.task_id, "local")
    _, cells = decoded_picture(preview.jpeg)
    return "".join("G" if is_near(cell, GREEN) else "P" if is_near(cell, PINK) else "?" for cell in cells), "\n".join(
        preview.lines
    )


async def test_a_local_source_is_above_its_result(home: Path) -> None:
    async with opened(home) as (rig, web):
        clip = make_video(home / "out" / "clip.mp4", size=(640, 360))
        task = await rig.settle(await rig.submit(source=str(clip)))
        asked = len(web.asked)
        assert Path(task.video_path).is_file()
        rows, words = await cells_of(rig, task)
        assert rows == "GGGPPP"
        assert "Upper row: the source at 0.3, 1.0, 1.7 seconds. Lower row: the result at the same moments." in words
        assert "Result: 0.0 MB, 320x180 pixels, 2.0 s, 10 frames a second, h264, no sound." in words
        assert "Source: 0.0 MB, 640x360 pixels" in words
        assert len(web.asked) == asked, "the saved file is looked into"


async def test_a_public_source_is_fetched_and_one_that_is_gone_is_told(home: Path) -> None:
    async with opened(home) as (rig, web):
        web.files[SOURCE] = make_video(home / "clip.mp4")
        shown = await rig.settle(await rig.submit())
        assert (await cells_of(rig, shown))[0] == "GGGPPP"
        other = await rig.settle(await rig.submit(source="https://example.com/gone.mp4"))
        rows, words = await cells_of(rig, other)
        assert rows == "PPPPPP"
        assert "The source is not shown: it could not be fetched from where it was." in words


async def test_the_result_of_an_earlier_task_is_a_source_too(home: Path) -> None:
    async with opened(home) as (rig, web):
        first = await rig.settle(await rig.submit())
        web.result = make_video(home / "second.mp4", colour=GREEN)
        second = await rig.settle(await rig.submit("snow", source=f"luma://tasks/{first.task_id}"))
        assert (await cells_of(rig, second))[0] == "PPPGGG"
        Path(first.video_path).unlink()
        rig.clock.jumped += OUTPUT_LIFETIME_SECONDS
        rows, words = await cells_of(rig, second)
        assert rows == "GGGGGG"
        assert "the result that it was is gone" in words


async def test_a_result_that_is_not_saved_is_fetched_once_and_kept(home: Path) -> None:
    async with opened(home, save="never") as (rig, web):
        web.files[SOURCE] = make_video(home / "clip.mp4")
        task = await rig.settle(await rig.submit())
        assert (await cells_of(rig, task))[0] == "GGGPPP"
        asked = len(web.asked)
        assert (await cells_of(rig, task))[0] == "GGGPPP"
        assert len(web.asked) == asked
        assert [path.suffix for path in (home / "data" / "previews").iterdir()] == [".sheet"]


async def test_a_source_that_has_changed_or_may_not_be_read_is_not_shown(home: Path) -> None:
    async with opened(home) as (rig, _):
        clip = make_video(home / "out" / "clip.mp4")
        task = await rig.settle(await rig.submit(source=str(clip)))
        make_video(clip, size=(640, 360))
        assert "its file has changed since" in (await cells_of(rig, task))[1]
        clip.unlink()
        rows, words = await cells_of(rig, task)
        assert (rows, "may not be read" in words) == ("PPPPPP", True)
    make_video(clip)
    (home / "other").mkdir()
    async with opened(home, media_roots=str(home / "other")) as (rig, _):
        assert "may not be read" in (await cells_of(rig, task))[1], "also where it was shown before"


async def test_what_has_no_result_is_a_clear_error(home: Path) -> None:
    async with opened(home, save="never") as (rig, _):
        running = await rig.submit(wait=0)
        with pytest.raises(InvalidRequest, match="is still") as unfinished:
            await rig.app.preview(running.task_id, "local")
        assert "call preview_video again" in unfinished.value.hint
        done = await rig.settle(running)
        with pytest.raises(TaskNotFound):
            await rig.app.preview(done.task_id, "somebody else")
        with pytest.raises(TaskNotFound):
            await rig.app.preview("unknown", "local")
        rig.clock.jumped += OUTPUT_LIFETIME_SECONDS
        with pytest.raises(VideoGone, match="seven days") as gone:
            await rig.app.preview(done.task_id, "local")
        assert (gone.value.code, gone.value.charged) == ("download_failed", "yes")
        rig.sandbox.faults.inject(Fault("fail"))
        failed = await rig.settle(await rig.submit("snow"))
        with pytest.raises(InvalidRequest, match="has failed, so there is no video"):
            await rig.app.preview(failed.task_id, "local")


async def test_a_result_that_is_no_video_ends_as_an_error_and_not_as_a_crash(home: Path) -> None:
    async with opened(home, save="never") as (rig, web):
        task = await rig.settle(await rig.submit())
        whole = web.result.read_bytes()
        (home / "cut.mp4").write_bytes(whole[: len(whole) // 2])
        web.result = home / "cut.mp4"
        with pytest.raises(PreviewFailed, match="cannot be decoded") as caught:
            await rig.app.preview(task.task_id, "local")
        assert (caught.value.charged, caught.value.retry_safe) == ("no", True)
        web.result = home / "text.mp4"
        web.result.write_text("no video at all, whatever it is called")
        with pytest.raises(LumaError, match="no video"):
            await rig.app.preview(task.task_id, "local")


async def test_without_a_reader_nothing_is_fetched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "find_frame_reader", lambda: "")
    async with opened(home, save="never") as (rig, web):
        task = await rig.settle(await rig.submit())
        with pytest.raises(PreviewToolMissing):
            await rig.app.preview(task.task_id, "local")
        assert web.asked == []


async def test_a_look_that_takes_too_long_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(home) as (rig, web):
        task = await rig.settle(await rig.submit())

        async def hang(*_: object) -> float:
            await anyio.sleep_forever()
            return 1.0

        monkeypatch.setattr(previews, "fetch_part", hang)
        begun = anyio.current_time()
        with pytest.raises(PreviewFailed, match="not ready after 35 seconds"):
            await rig.app.preview(task.task_id, "local")
        assert anyio.current_time() - begun == pytest.approx(PREVIEW_SECONDS)
        assert web.asked


async def test_the_text_says_what_to_look_at_and_no_markup_of_the_prompt(home: Path) -> None:
    async with opened(home) as (rig, _):
        task = await rig.settle(await rig.submit("fog <script>at dawn"))
        preview = await rig.app.preview(task.task_id, "local")
        assert "stand-in" not in " ".join(preview.lines)
        assert preview.advice.endswith('The prompt: "fog at dawn"')
        assert preview.shows == "result"
