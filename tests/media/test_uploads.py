"""Local clips on their way to RunAPI: once for each content, repeated when broken off, told as they go."""

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.core.errors import ServiceUnavailable, SourceNotAllowed, SourceNotFound
from luma_mcp.core.models import Status, Task
from luma_mcp.media import clips
from luma_mcp.media.uploads import BRING_SECONDS
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import bundled_clip
from luma_mcp.sandbox.transport import open_asgi_transport
from tests.support.attached_files import LINK, left_behind, linked_files
from tests.support.networks import SlowUpload
from tests.support.rig import Rig, VirtualClock, open_rig, sandbox_for, structured

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
HOUR = 3600.0


def puts(rig: Rig) -> int:
    return sum(seen.method == "PUT" for seen in rig.sandbox.recorded_requests)


def code_of(task: Task) -> str:
    return task.error.code if task.error else ""


async def test_a_local_clip_is_described_by_size_and_length(rig: Rig, clip: Path) -> None:
    async with rig.client() as client:
        asked = {"prompt": "fog", "source_video_url": str(clip)}
        task = structured(await client.call_tool("modify_video", asked))
    assert (task["source_size_bytes"], task["source_duration_seconds"]) == (bundled_clip().stat().st_size, 4.0)
    assert Path(task["video_path"]).read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("source", ["~/out/clip.mp4", "file://{home}/out/clip.mp4", "{home}/out/../out/clip.mp4"])
async def test_every_way_to_name_a_file_uploads_it(rig: Rig, clip: Path, home: Path, source: str) -> None:
    task = await rig.submit(source=source.format(home=home))
    assert (task.status, puts(rig)) == (Status.COMPLETED, 1)


async def test_the_same_content_is_uploaded_once_while_its_url_lives(rig: Rig, clip: Path) -> None:
    first = await rig.submit("fog", source=str(clip))
    copy = shutil.copy(clip, clip.with_name("copy.mov"))
    second = await rig.submit("snow", source=str(copy))
    assert (first.source_url, puts(rig), rig.task_count()) == (second.source_url, 1, 2)
    rig.clock.jumped += HOUR
    third = await rig.submit("rain", source=str(clip))
    assert (third.status, puts(rig)) == (Status.COMPLETED, 2)
    assert third.source_url != first.source_url


async def test_takes_of_one_clip_at_the_same_time_share_one_upload(rig: Rig, clip: Path) -> None:
    tasks: list[Task] = []

    async def take(prompt: str) -> None:
        tasks.append(await rig.submit(prompt, source=str(clip)))

    async with anyio.create_task_group() as takes:
        for prompt in ("fog", "snow", "rain"):
            takes.start_soon(take, prompt)
    assert [task.status for task in tasks] == [Status.COMPLETED] * 3
    assert (puts(rig), rig.task_count()) == (1, 3)


async def test_an_upload_serves_the_next_start_but_no_other_account(home: Path, clip: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    for key, uploads in (("first-key-1234", 1), ("first-key-1234", 1), ("second-key-1234", 2)):
        async with open_rig(home, clock=clock, sandbox=sandbox, api_key=key) as rig:
            task = await rig.submit(f"fog {len(sandbox.recorded_requests)}", source=str(clip))
            assert (task.status, puts(rig)) == (Status.COMPLETED, uploads)


async def test_a_clip_is_uploaded_anew_after_a_task_with_it_has_failed(rig: Rig, clip: Path) -> None:
    rig.sandbox.faults.inject(Fault("fail", text="The source video could not be fetched."))
    failed = await rig.submit(source=str(clip))
    again = await rig.submit("snow", source=str(clip))
    assert (failed.status, again.status, puts(rig)) == (Status.FAILED, Status.COMPLETED, 2)


async def test_a_clip_that_changed_between_the_call_and_the_upload_is_not_sent(
    rig: Rig, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rig.parts.runapi.prepare_upload

    async def rewritten(*_: Any) -> Any:
        clip.write_bytes(bundled_clip().read_bytes() + b"more")
        monkeypatch.setattr(rig.parts.runapi, "prepare_upload", real)
        return await real(*_)

    monkeypatch.setattr(rig.parts.runapi, "prepare_upload", rewritten)
    task = await rig.settle(await rig.submit(source=str(clip)))
    assert (task.status, code_of(task), rig.task_count()) == (Status.FAILED, "source_not_found", 0)
    assert task.error
    assert "has changed" in task.error.message
    assert (task.error.charged, puts(rig)) == ("no", 1)


@pytest.mark.parametrize("change", [b"more", None], ids=["grown", "cut off"])
async def test_a_clip_that_grows_or_shrinks_while_it_is_uploaded_is_not_submitted(
    home: Path, clip: Path, change: bytes | None
) -> None:
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 4_000_000)
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_asgi_transport(sandbox) as web:
        slow = SlowUpload(web, 2.0, breaks=0)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=slow) as rig:
            task = await rig.submit(source=str(clip), wait=5)
            assert task.is_uploading
            if change:
                clip.write_bytes(clip.read_bytes() + change)
            else:
                os.truncate(clip, 2_000_000)
            task = await rig.settle(task)
            assert (task.status, code_of(task), rig.task_count()) == (Status.FAILED, "source_not_found", 0)
            assert task.error
            assert "has changed" in task.error.message
            assert task.elapsed_seconds(clock()) < 60


async def test_a_refusal_to_take_a_file_is_not_told_as_a_doubt_about_money(rig: Rig, clip: Path) -> None:
    rig.sandbox.faults.inject(Fault("409", route="files", times=100))
    task = await rig.settle(await rig.submit(source=str(clip), wait=0))
    assert (task.status, code_of(task), rig.creates()) == (Status.FAILED, "service_unavailable", 0)
    assert task.error
    assert task.error.charged == "no"


async def test_a_pause_that_runapi_asks_for_is_not_waited_out_beyond_the_bound(rig: Rig, clip: Path) -> None:
    rig.sandbox.faults.inject(Fault("429", route="files", seconds=3000))
    task = await rig.settle(await rig.submit(source=str(clip)))
    assert (task.status, code_of(task), rig.creates()) == (Status.FAILED, "rate_limited", 0)
    assert task.error
    assert "3000 seconds" in task.error.hint


async def test_a_long_upload_that_breaks_begins_again_and_is_charged_once(home: Path, clip: Path) -> None:
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 4_000_000)
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_asgi_transport(sandbox) as web:
        slow = SlowUpload(web, 60.0, breaks=2)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=slow) as rig:
            task = await rig.submit(source=str(clip), wait=0)
            assert (task.status, task.is_uploading) == (Status.SUBMITTING, True)
            task = await rig.settle(task)
            assert (task.status, task.error, rig.task_count()) == (Status.COMPLETED, None, 1)
            assert task.elapsed_seconds(clock()) > 900
            assert Path(task.video_path).read_bytes() == clip.read_bytes()
    assert slow.received == clips.PIECE_BYTES


async def test_after_a_long_upload_a_lost_answer_is_still_settled_under_its_key(home: Path, clip: Path) -> None:
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 4_000_000)
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    sandbox.faults.inject(Fault("drop_after"))
    async with open_asgi_transport(sandbox) as web:
        slow = SlowUpload(web, 80.0, breaks=0)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=slow) as rig:
            task = await rig.settle(await rig.submit(source=str(clip), wait=0))
            assert (task.status, task.error, rig.task_count(), rig.creates()) == (Status.COMPLETED, None, 1, 2)
            assert task.elapsed_seconds(clock()) > 1200
            await rig.submit("snow", source=str(clip))
            assert puts(rig) == 1
            clock.jumped += HOUR - 1000
            await rig.submit("rain", source=str(clip), wait=0)
            await anyio.sleep(3000)
            assert puts(rig) == 2, "the hour began when the upload did"


async def test_what_was_sent_after_a_long_upload_is_left_to_its_own_key(home: Path, clip: Path) -> None:
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 4_000_000)
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    sandbox.faults.inject(Fault("drop_after", times=50))
    async with open_asgi_transport(sandbox) as web:
        shared: dict[str, Any] = {"clock": clock, "sandbox": sandbox, "network": SlowUpload(web, 80.0, breaks=0)}
        async with open_rig(home, api_key="first-key-1234", **shared) as first:
            task = await first.submit(source=str(clip), wait=0)
            for _ in range(400):
                await anyio.sleep(0 if first.creates() else 5)
            assert first.creates()
        sandbox.faults.clear()
        async with open_rig(home, api_key="second-key-1234", **shared) as second:
            second.app.start_tracker()
            await anyio.sleep(60)
            seen = await second.parts.ledger.get(task.key)
            assert not (seen.error and "too old" in seen.error.hint)
        async with open_rig(home, api_key="first-key-1234", **shared) as again:
            again.app.start_tracker()
            assert (await again.settle(task)).status is Status.COMPLETED
            assert again.task_count() == 1


async def test_an_upload_that_takes_too_long_is_not_paid_for_any_more(home: Path, clip: Path) -> None:
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 4_000_000)
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_asgi_transport(sandbox) as web:
        slow = SlowUpload(web, 200.0, breaks=1)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=slow) as rig:
            task = await rig.settle(await rig.submit(source=str(clip), wait=0), 20_000)
            assert (task.status, rig.task_count()) == (Status.FAILED, 0)
            assert task.error
            assert task.error.charged == "no"


async def test_a_caller_who_waits_for_an_upload_is_told_to_repeat_the_call(home: Path, clip: Path) -> None:
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 4_000_000)
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    asked = {"prompt": "fog", "source_video_url": str(clip), "wait_seconds": 5}
    async with open_asgi_transport(sandbox) as web:
        slow = SlowUpload(web, 2.0, breaks=0)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=slow) as rig, rig.client() as client:
            first = structured(await client.call_tool("modify_video", asked))
            assert (first["status"], first["task_id"]) == ("submitting", "")
            assert "still being uploaded" in first["next_step"]
            second = structured(await client.call_tool("modify_video", asked | {"wait_seconds": 300}))
            assert (second["status"], second["joined"]) == ("completed", True)
            assert rig.task_count() == 1


async def test_a_clip_that_runapi_finds_too_large_is_named_with_its_size_and_length(
    rig: Rig, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.sandbox.faults.inject(Fault("422", route="files", text="byte_size is too large"))
    task = await rig.settle(await rig.submit(source=str(clip)))
    assert (task.status, code_of(task), rig.task_count()) == (Status.FAILED, "invalid_request", 0)
    assert task.error
    assert task.error.message.startswith('clip.mp4 (0.1 MB, 4.0 s): RunAPI answered 422: "byte_size is too large"')


@pytest.mark.parametrize(
    "name", ["1.23.45\u202fPM.mp4", "a\u00a0b.mp4", "\U0001f469\u200d\U0001f3a4.mp4", "new\nline.mp4"]
)
async def test_a_file_may_be_called_anything(rig: Rig, clip: Path, name: str) -> None:
    named = clip.rename(clip.with_name(name))
    assert (await rig.submit(source=str(named))).status is Status.COMPLETED


async def test_a_clip_whose_url_is_about_to_die_is_uploaded_anew(rig: Rig, clip: Path) -> None:
    await rig.submit("fog", source=str(clip))
    rig.clock.jumped += HOUR - 200
    assert (await rig.submit("snow", source=str(clip))).status is Status.COMPLETED
    assert puts(rig) == 2


async def test_a_refusal_of_the_source_lets_it_be_uploaded_anew(rig: Rig, clip: Path) -> None:
    rig.sandbox.faults.inject(Fault("422", text="source_video_url could not be fetched"))
    assert (await rig.settle(await rig.submit("fog", source=str(clip)))).status is Status.FAILED
    assert (await rig.submit("snow", source=str(clip))).status is Status.COMPLETED
    assert puts(rig) == 2


async def test_a_link_out_of_the_allowed_folders_is_not_uploaded(rig: Rig, home: Path, clip: Path) -> None:
    outside = home / "elsewhere.mp4"
    clip.rename(outside)
    clip.symlink_to(outside)
    with pytest.raises(SourceNotAllowed):
        await rig.submit(source=str(clip))
    assert rig.sandbox.recorded_requests == []


@pytest.mark.parametrize("kind", ["400", "403", "404", "409"])
async def test_a_storage_that_refuses_a_clip_is_asked_once_more_and_not_eight_times(
    rig: Rig, clip: Path, kind: Any
) -> None:
    rig.sandbox.faults.inject(Fault(kind, route="upload", times=100))
    task = await rig.settle(await rig.submit(source=str(clip)))
    assert (task.status, code_of(task), puts(rig), rig.creates()) == (Status.FAILED, "service_unavailable", 2, 0)
    assert task.error
    assert (task.error.charged, kind in task.error.message) == ("no", True)


async def test_an_upload_address_that_has_expired_is_replaced(rig: Rig, clip: Path) -> None:
    rig.sandbox.faults.inject(Fault("403", route="upload"))
    task = await rig.settle(await rig.submit(source=str(clip)))
    assert (task.status, puts(rig), rig.task_count()) == (Status.COMPLETED, 2, 1)


async def test_a_storage_that_is_busy_is_waited_for(rig: Rig, clip: Path) -> None:
    rig.sandbox.faults.inject(*(Fault(kind, route="upload") for kind in ("503", "429", "500")))
    task = await rig.settle(await rig.submit(source=str(clip)))
    assert (task.status, puts(rig), rig.task_count()) == (Status.COMPLETED, 4, 1)


class Moving(httpx.AsyncBaseTransport):
    """A storage that sends uploads on to where they are taken, after it has read some of them."""

    def __init__(self, inner: httpx.AsyncBaseTransport, status: int, target: str, times: int = 1) -> None:
        self._inner = inner
        self._status = status
        self._target = target
        self._left = times
        self.seen: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "PUT":
            return await self._inner.handle_async_request(request)
        self.seen.append(str(request.url.copy_with(path="/")) if "authorization" not in request.headers else "a key!")
        if self._left:
            self._left -= 1
            await request.aread()
            return httpx.Response(self._status, headers={"Location": self._target or str(request.url)})
        request.url = request.url.copy_with(host="storage.sandbox.invalid")
        return await self._inner.handle_async_request(request)


@asynccontextmanager
async def moving(home: Path, status: int, target: str, times: int = 1) -> AsyncGenerator[tuple[Rig, Moving]]:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_asgi_transport(sandbox) as web:
        network = Moving(web, status, target, times)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=network) as rig:
            yield rig, network


@pytest.mark.parametrize("status", [307, 308])
async def test_an_upload_is_sent_whole_to_where_the_storage_sends_it(home: Path, clip: Path, status: int) -> None:
    async with moving(home, status, "", times=2) as (rig, network):
        task = await rig.settle(await rig.submit(source=str(clip)))
        assert (task.status, rig.task_count(), len(network.seen)) == (Status.COMPLETED, 1, 3)
        assert Path(task.video_path).read_bytes() == clip.read_bytes()
        assert "a key!" not in network.seen


@pytest.mark.parametrize(
    ("status", "target", "asked"),
    [
        (307, "http://storage.sandbox.invalid/x", 1),
        (307, "https://10.0.0.1/x", 1),
        (308, "https://127.1/x", 1),
        (307, "https://me:secret@storage.example/x", 1),
        (307, "file:///etc/passwd", 1),
        (307, "https://[::1", 1),
        (302, "https://storage.example/x", 2),
        (307, "", 12),
    ],
)
async def test_an_upload_goes_nowhere_that_makes_no_sense_nor_in_circles(
    home: Path, clip: Path, status: int, target: str, asked: int
) -> None:
    async with moving(home, status, target, times=1000) as (rig, network):
        task = await rig.settle(await rig.submit(source=str(clip)))
        assert (task.status, rig.creates()) == (Status.FAILED, 0)
        assert len(network.seen) == asked


# -- chaining ---------------------------------------------------------------------------------------------------------


async def test_a_result_is_continued_from_by_its_url_while_that_lives(rig: Rig) -> None:
    first = await rig.submit()
    second = await rig.submit("snow", source=f"luma://tasks/{first.task_id}")
    assert (second.status, second.source_url, puts(rig)) == (Status.COMPLETED, first.video_urls[0], 0)


async def test_a_result_whose_url_has_expired_is_uploaded_from_its_file(rig: Rig) -> None:
    first = await rig.submit()
    rig.clock.jumped += 8 * 24 * HOUR
    second = await rig.submit("snow", source=f"luma://tasks/{first.task_id}")
    assert (second.status, puts(rig), second.source_bytes) == (Status.COMPLETED, 1, bundled_clip().stat().st_size)
    assert Path(second.video_path).read_bytes() == Path(first.video_path).read_bytes()


async def test_the_last_minutes_of_a_url_are_used_where_there_is_no_file(rig: Rig) -> None:
    first = await rig.submit()
    Path(first.video_path).unlink()
    rig.clock.jumped += 7 * 24 * HOUR - 200
    second = await rig.submit("snow", source=f"luma://tasks/{first.task_id}")
    assert (second.status, second.source_url) == (Status.COMPLETED, first.video_urls[0])


@pytest.mark.parametrize("gone", ["deleted", "a link"])
async def test_a_result_that_is_gone_everywhere_is_said_to_be(rig: Rig, home: Path, gone: str) -> None:
    first = await rig.submit()
    rig.clock.jumped += 8 * 24 * HOUR
    moved = Path(first.video_path).rename(home / "moved.mp4")
    if gone == "a link":
        Path(first.video_path).symlink_to(moved)
    with pytest.raises(SourceNotFound, match="has expired at RunAPI and there is no saved file"):
        await rig.submit("snow", source=f"luma://tasks/{first.task_id}")
    assert rig.task_count() == 1


async def attach(rig: Rig, prompt: str = "fog", **more: Any) -> Task:
    """Ask as the tool does for a video that a host hands over."""
    async with linked_files(rig.parts), rig.app.attached(LINK) as source:
        return await rig.submit(prompt, source=source, **more)


async def test_an_attached_clip_is_at_runapi_before_its_task_is_written_down(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    shared: dict[str, Any] = {"clock": clock, "sandbox": sandbox}
    async with open_rig(home, **shared) as rig:
        task = await attach(rig, wait=0)
        assert (puts(rig), task.source_bytes) == (1, bundled_clip().stat().st_size)
    async with open_rig(home, **shared) as later:
        done = await later.settle(await later.submit(source=task.request.source))
        assert (done.key, done.status, later.task_count()) == (task.key, Status.COMPLETED, 1)


async def test_an_attached_clip_that_is_slow_to_reach_runapi_costs_nothing_and_is_told_in_time(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_asgi_transport(sandbox) as web:
        slow = SlowUpload(web, BRING_SECONDS, breaks=0)
        async with open_rig(home, clock=clock, sandbox=sandbox, network=slow) as rig:
            begun = anyio.current_time()
            with pytest.raises(ServiceUnavailable, match="within 15 seconds"):
                await attach(rig)
            assert anyio.current_time() - begun == pytest.approx(BRING_SECONDS)
            assert (rig.creates(), await rig.app.newest_tasks("local", 5)) == (0, ([], ""))
            assert left_behind(rig.parts) == []


async def test_a_clip_that_nobody_attached_to_this_call_makes_no_new_task(rig: Rig) -> None:
    task = await rig.settle(await attach(rig))
    with pytest.raises(SourceNotFound, match="is not kept here"):
        await rig.submit("snow", source=task.request.source)
    with pytest.raises(SourceNotFound, match="attached video"):
        await rig.parts.uploads.find_source_file(task)
    rig.clock.jumped += 2 * HOUR
    with pytest.raises(SourceNotFound, match="does not keep"):
        await rig.parts.uploads.resolve_url(task)
    assert (await attach(rig)).key == task.key
    assert puts(rig) == 1


async def test_a_result_of_an_attached_clip_is_shown_alone(rig: Rig) -> None:
    task = await rig.settle(await attach(rig))
    assert isinstance(await rig.parts.make_previewer()._source_place(task, "local"), str)
