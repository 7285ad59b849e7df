"""Saving on request: what is not on disk, what no longer is, and what should be called something else."""

import os
import shutil
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client

from luma_mcp.core.models import new_key
from luma_mcp.media import downloads, files
from luma_mcp.media.files import MIN_FREE_BYTES
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import (
    ERAS,
    SOURCE,
    ProgressRecorder,
    Rig,
    VirtualClock,
    disk_with,
    open_rig,
    run_inline,
    sandbox_for,
    structured,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
ASK = {"prompt": "a foggy autumn morning", "source_video_url": SOURCE}
DAY = 86_400.0
VIDEO = bundled_clip().read_bytes()


async def made(client: Client, **more: Any) -> dict[str, Any]:
    """Have a video made."""
    return structured(await client.call_tool("modify_video", ASK | more))


async def save(client: Client, task: dict[str, Any], filename: str = "", **more: Any) -> dict[str, Any]:
    """Call the tool; whether it failed can be read from the error in its answer."""
    result = await client.call_tool("save_video", {"task_id": task["task_id"], "filename": filename}, **more)
    told = structured(result)
    assert bool(result.is_error) == ("error" in told)
    return told


def outputs(rig: Rig) -> int:
    return sum(seen.path.startswith("/outputs/") for seen in rig.sandbox.recorded_requests)


def kept(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "out").iterdir())


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("filename", "name"), [("", "2026-09-21-a-foggy-autumn-morning-{id}.mp4"), ("fog", "fog.mp4")])
async def test_a_video_that_is_not_saved_by_itself_is_saved_when_asked_for(
    home: Path, era: str, filename: str, name: str
) -> None:
    async with open_rig(home, save="never") as rig, rig.client(era) as client:
        task = await made(client)
        assert "save_video" in task["next_step"]
        saved = await save(client, task, filename)
        expected = home / "out" / name.format(id=task["task_id"][:8])
        assert (saved["video_path"], saved["task_id"]) == (str(expected), task["task_id"])
        assert str(expected) in saved["next_step"]
        assert expected.read_bytes() == VIDEO
        again = structured(await client.call_tool("get_task", {"task_id": task["task_id"]}))
        assert again["video_path"] == str(expected)
        assert rig.task_count() == 1


async def test_saving_twice_gives_the_same_file_without_another_download(rig: Rig, home: Path) -> None:
    async with rig.client() as client:
        task = await made(client)
        assert (await save(client, task))["video_path"] == task["video_path"]
        renamed = [(await save(client, task, "fog"))["video_path"] for _ in range(3)]
    assert renamed == [str(home / "out" / "fog.mp4")] * 3
    assert kept(home) == [Path(task["video_path"]).name, "fog.mp4"]
    assert outputs(rig) == 1


async def test_a_name_that_is_taken_gets_a_number(rig: Rig, home: Path) -> None:
    (home / "out").mkdir()
    (home / "out" / "fog.mp4").write_text("mine")
    async with rig.client() as client:
        task = await made(client)
        for _ in range(2):
            assert (await save(client, task, "fog"))["video_path"] == str(home / "out" / "fog-2.mp4")
    assert (home / "out" / "fog.mp4").read_text() == "mine"


@pytest.mark.parametrize("gone", ["moved", "deleted", "a link", "a folder"])
async def test_a_file_that_is_gone_is_not_claimed_and_can_be_saved_again(rig: Rig, home: Path, gone: str) -> None:
    async with rig.client() as client:
        task = await made(client)
        path = Path(task["video_path"])
        elsewhere = path.rename(home / "elsewhere.mp4")
        if gone == "deleted":
            elsewhere.unlink()
        elif gone == "a link":
            path.symlink_to(elsewhere)
        elif gone == "a folder":
            path.mkdir()
        told = structured(await client.call_tool("get_task", {"task_id": task["task_id"]}))
        assert (told["status"], told["video_path"]) == ("completed", "")
        assert "save_video" in told["next_step"]
        listed = structured(await client.call_tool("list_tasks", {}))["tasks"][0]
        assert listed["video_path"] == ""
        saved = Path((await save(client, task))["video_path"])
    assert saved.read_bytes() == VIDEO
    assert not saved.is_symlink()
    assert saved.parent == home / "out"
    assert rig.task_count() == 1


@pytest.mark.parametrize("filename", ["../up.mp4", "/tmp/x.mp4", "a\\b", "CON", "x.mp4:y", ".bashrc", "x" * 200])  # noqa: S108 - refused
async def test_no_name_leads_out_of_the_folder(rig: Rig, home: Path, filename: str) -> None:
    async with rig.client() as client:
        task = await made(client)
        refused = await save(client, task, filename)
    assert (refused["error"]["code"], refused["error"]["charged"]) == ("invalid_request", "no")
    assert "filename" in refused["error"]["message"]
    assert kept(home) == [Path(task["video_path"]).name]


async def test_a_video_is_not_saved_through_a_link_in_the_folder(home: Path) -> None:
    outside = home / "outside.mp4"
    async with open_rig(home, save="never") as rig, rig.client() as client:
        task = await made(client)
        (home / "out").mkdir()
        outside.write_bytes(VIDEO)
        (home / "out" / "fog.mp4").symlink_to(outside)
        (home / "out" / "snow.mp4").symlink_to(home / "nowhere.mp4")
        assert (await save(client, task, "fog"))["video_path"] == str(home / "out" / "fog-2.mp4")
        assert (await save(client, task, "snow"))["video_path"] == str(home / "out" / "snow-2.mp4")
    assert not (home / "nowhere.mp4").exists()


async def test_what_has_no_video_yet_or_never_will_is_refused_with_what_to_do(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("fail"))
    async with rig.client() as client:
        failed = await made(client)
        assert "failed" in (await save(client, failed))["error"]["message"]
        running = await made(client, prompt="snow", wait_seconds=0)
        refused = await save(client, running)
        assert "still" in refused["error"]["message"]
        assert "get_task" in refused["next_step"]
        assert (await save(client, {"task_id": "unknown"}))["error"]["code"] == "task_not_found"


async def test_a_video_that_has_expired_is_said_to_be_lost_unless_it_is_there(rig: Rig, home: Path) -> None:
    async with rig.client() as client:
        task = await made(client)
        rig.clock.jumped += 8 * DAY
        assert (await save(client, task, "kept"))["video_path"] == str(home / "out" / "kept.mp4")
        shutil.rmtree(home / "out")
        told = structured(await client.call_tool("get_task", {"task_id": task["task_id"]}))
        assert "expired" in told["next_step"]
        lost = await save(client, task)
    assert (lost["error"]["code"], lost["error"]["charged"]) == ("download_failed", "yes")
    assert lost["error"]["retry_safe"] is True
    assert "take 2, which costs" in lost["next_step"]


async def test_a_download_that_failed_is_tried_again_at_once_when_asked_for(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("404", route="output", times=100))
    async with rig.client() as client:
        task = await made(client)
        assert task["error"]["code"] == "download_failed"
        await anyio.sleep(1500)  # the server tries only once in ten minutes by then
        assert structured(await client.call_tool("get_task", {"task_id": task["task_id"]}))["video_path"] == ""
        rig.sandbox.faults.clear()
        asked = anyio.current_time()
        assert Path((await save(client, task))["video_path"]).read_bytes() == VIDEO
        assert anyio.current_time() - asked < 10


async def test_a_save_that_takes_long_is_answered_in_time_and_goes_on(home: Path) -> None:
    async with open_rig(home, save="never") as rig, rig.client() as client:
        task = await made(client)
        rig.sandbox.faults.inject(Fault("slow", route="output", seconds=55))
        told = ProgressRecorder()
        asked = anyio.current_time()
        waiting = await save(client, task, progress_callback=told)
        assert 39 < anyio.current_time() - asked < 45
        assert waiting["video_path"] == ""
        assert "being saved" in waiting["next_step"]
        assert told.values == sorted(set(told.values))
        assert told.states == ["saving the video"]
        done = structured(await client.call_tool("get_task", {"task_id": task["task_id"], "wait_seconds": 40}))
        assert Path(done["video_path"]).is_file()


async def test_a_restart_finishes_what_was_begun(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with open_rig(home, clock=clock, sandbox=sandbox, save="never") as rig, rig.client() as client:
        task = await made(client)
        sandbox.faults.inject(Fault("slow", route="output", seconds=500))
        assert (await save(client, task, "fog"))["video_path"] == ""
    async with open_rig(home, clock=clock, sandbox=sandbox, save="never") as rig, rig.client() as client:
        await client.call_tool("list_tasks", {})
        await anyio.sleep(60)
        assert (home / "out" / "fog.mp4").read_bytes() == VIDEO
        assert kept(home) == ["fog.mp4"]


async def test_a_refused_address_is_told_at_once_and_seldom_tried_again(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("redirect", route="output", times=100, text="http://169.254.169.254/latest"))
    async with rig.client() as client:
        task = await made(client)
        assert task["error"]["code"] == "download_failed"
        assert "private" in task["error"]["message"]
        assert "LUMA_MCP_ALLOW_PRIVATE" in task["error"]["hint"]
        await anyio.sleep(7200)
        tried = outputs(rig)
        await anyio.sleep(7200)
        assert 5 < outputs(rig) - tried < 15
        rig.sandbox.faults.clear()
        assert Path((await save(client, task))["video_path"]).is_file()


async def test_what_is_too_large_is_not_fetched_again_by_itself(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(downloads, "MAX_VIDEO_BYTES", 100)
            task = await made(client)
            assert "larger than" in task["error"]["message"]
            tried = outputs(rig)
            await anyio.sleep(DAY)
            assert outputs(rig) == tried
        assert Path((await save(client, task))["video_path"]).is_file()


async def test_a_folder_without_room_is_found_before_money_is_spent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_with(1_000_000))
    async with rig.client() as client:
        refused = await made(client)
    assert (refused["error"]["code"], refused["error"]["charged"]) == ("output_not_writable", "no")
    assert "1.0 MB are free" in refused["error"]["message"]
    assert rig.sandbox.recorded_requests == []


async def test_a_copy_that_is_gone_does_not_hide_the_first_file(rig: Rig, home: Path) -> None:
    async with rig.client() as client:
        task = await made(client)
        copy = Path((await save(client, task, "fog"))["video_path"])
        copy.unlink()
        told = structured(await client.call_tool("get_task", {"task_id": task["task_id"]}))
        assert told["video_path"] == task["video_path"]
        rig.clock.jumped += 8 * DAY
        assert (await save(client, task))["video_path"] == task["video_path"]
        assert (await made(client, prompt="snow", source_video_url=f"luma://tasks/{task['task_id']}"))["done"]


async def test_the_file_of_one_task_is_never_taken_for_that_of_another(home: Path) -> None:
    async with open_rig(home, save="never") as rig, rig.client() as client:
        first, second = await made(client), await made(client, prompt="snow")
        path = Path((await save(client, first, "final"))["video_path"])
        path.rename(home / "elsewhere.mp4")
        assert (await save(client, second, "final"))["video_path"] == str(path)
        told = structured(await client.call_tool("get_task", {"task_id": first["task_id"]}))
        assert told["video_path"] == ""
        fetched = outputs(rig)
        assert Path((await save(client, first, "first"))["video_path"]).name == "first.mp4"
        assert outputs(rig) == fetched + 1


async def test_videos_of_the_same_bytes_may_share_a_file(home: Path) -> None:
    async with open_rig(home, save="never") as rig, rig.client() as client:
        first, second = await made(client), await made(client, prompt="snow")
        for _ in range(2):
            for task in (first, second):
                assert (await save(client, task, "final"))["video_path"] == str(home / "out" / "final.mp4")
        assert outputs(rig) == 2


async def test_a_take_that_was_never_saved_says_nothing_about_another(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("404", route="output", times=10_000))
    async with rig.client() as client:
        first = await made(client)
        rig.clock.jumped += 8 * DAY
        await anyio.sleep(60)
        assert (await made(client))["task_id"] == first["task_id"]
        rig.sandbox.faults.clear()
        second = await made(client, take=2)
        assert second["video_path"]
        assert (await made(client))["error"]["charged"] == "yes"
        assert (await made(client, take=2))["video_path"] == second["video_path"]


async def test_a_video_of_another_address_is_not_waited_for(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    sandbox.faults.inject(Fault("404", route="output", times=100))
    async with open_rig(home, clock=clock, sandbox=sandbox) as rig, rig.client() as client:
        task = await made(client)
    async with open_rig(home, clock=clock, base_url="https://other.example") as rig, rig.client() as client:
        asked = anyio.current_time()
        told = structured(await client.call_tool("get_task", {"task_id": task["task_id"], "wait_seconds": 40}))
        assert anyio.current_time() - asked < 5
        assert "being saved" not in told["next_step"]


async def test_a_saved_file_that_is_no_video_any_more_is_fetched_anew(rig: Rig) -> None:
    async with rig.client() as client:
        task = await made(client)
        Path(task["video_path"]).write_text("garbage")
        saved = Path((await save(client, task))["video_path"])
    assert saved.read_bytes() == VIDEO
    assert Path(task["video_path"]).read_text() == "garbage"


async def test_a_call_whose_video_could_not_be_saved_is_joined_when_repeated(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("404", route="output", times=100))
    async with rig.client() as client:
        first = await made(client)
        assert first["error"]["code"] == "download_failed"
        await anyio.sleep(60)
        again = await made(client)
        assert (again["task_id"], again["joined"]) == (first["task_id"], True)
        rig.sandbox.faults.clear()
        done = await made(client)
        assert (done["task_id"], done["joined"], Path(done["video_path"]).is_file()) == (first["task_id"], True, True)
    assert rig.task_count() == 1


async def test_a_repeated_call_joins_although_the_folder_cannot_be_written_now(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.client() as client:
        first = await made(client, wait_seconds=0)
        monkeypatch.setattr(shutil, "disk_usage", disk_with(0))
        again = await made(client, wait_seconds=0)
        assert (again["task_id"], again["joined"]) == (first["task_id"], True)
        assert (await made(client, take=2))["error"]["code"] == "output_not_writable"


async def test_there_must_be_room_for_a_video_as_large_as_its_clip(
    rig: Rig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "out").mkdir()
    clip = home / "out" / "clip.mp4"
    clip.write_bytes(VIDEO + b"\0" * 4_000_000)
    monkeypatch.setattr(shutil, "disk_usage", disk_with(MIN_FREE_BYTES + 1_000_000))
    async with rig.client() as client:
        refused = await made(client, source_video_url=str(clip))
        assert refused["error"]["code"] == "output_not_writable"
        assert "a video of 4.1 MB needs" in refused["error"]["message"]
        assert (await made(client))["done"]


async def test_a_folder_that_does_not_answer_holds_a_call_up_for_seconds_only(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: Any, **__: Any) -> None:
        await anyio.sleep(1000)

    async with rig.client() as client:
        task = await made(client)
        Path(task["video_path"]).unlink()
        monkeypatch.setattr(anyio.to_thread, "run_sync", stuck_for(files.check_writable, stuck))
        asked = anyio.current_time()
        assert "did not answer" in (await save(client, task))["error"]["message"]
        assert anyio.current_time() - asked < 15


def stuck_for(work: object, stuck: Any) -> Any:
    """Let one kind of work hang, and do all other at once."""

    async def run(asked: Any, *arguments: Any, **options: Any) -> Any:
        return await (stuck if asked is work else run_inline)(asked, *arguments, **options)

    return run


async def test_leftovers_of_long_ago_are_removed_and_nothing_else(rig: Rig, home: Path) -> None:
    (home / "out").mkdir()
    old, new, other = f".{new_key()}-0123abcd.part", f".{new_key()}-0123abcd.part", ".mine.part"
    for name in (old, new, other):
        (home / "out" / name).write_bytes(VIDEO)
    for name in (old, other):
        os.utime(home / "out" / name, (0, 0))
    await rig.submit()
    assert {new, other} <= set(kept(home))
    assert old not in kept(home)


async def test_a_save_that_is_under_way_elsewhere_is_not_begun_twice(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    sandbox.faults.inject(Fault("slow", route="output", seconds=30))
    async with (
        open_rig(home, clock=clock, sandbox=sandbox) as first,
        open_rig(home, clock=clock, sandbox=sandbox) as second,
        first.client() as one,
        second.client() as other,
    ):
        task = await made(one, wait_seconds=15)
        assert (task["status"], task["video_path"]) == ("completed", "")
        assert Path((await save(other, task))["video_path"]).is_file()
        assert outputs(second) == 1


async def test_a_task_of_another_address_is_said_to_be_one(home: Path) -> None:
    async with open_rig(home, save="never") as rig, rig.client() as client:
        task = await made(client)
    async with open_rig(home, base_url="https://other.example") as rig, rig.client() as client:
        refused = await save(client, task)
        assert refused["error"]["code"] == "invalid_request"
        assert "https://runapi.ai" in refused["error"]["message"]


async def test_a_folder_that_cannot_be_written_is_told_at_once(home: Path) -> None:
    async with open_rig(home, save="never") as rig, rig.client() as client:
        task = await made(client)
        (home / "out").write_text("a file")
        asked = anyio.current_time()
        refused = await save(client, task)
        assert (refused["error"]["code"], refused["error"]["charged"]) == ("output_not_writable", "no")
        assert anyio.current_time() == asked


async def test_a_bug_while_saving_is_told_instead_of_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError

    async with rig.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(downloads, "publish", bug)
            task = await made(client)
            assert task["error"]["code"] == "download_failed"
            assert "problem of its own" in task["error"]["message"]
            assert task["error"]["charged"] == "yes"
        assert Path((await save(client, task))["video_path"]).is_file()


async def test_another_takes_over_a_save_that_waits_for_its_next_try(home: Path) -> None:
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    sandbox.faults.inject(Fault("404", route="output", times=100))
    async with (
        open_rig(home, clock=clock, sandbox=sandbox) as first,
        open_rig(home, clock=clock, sandbox=sandbox) as second,
        first.client() as one,
        second.client() as other,
    ):
        task = await made(one)
        await anyio.sleep(3600)
        sandbox.faults.clear()
        saved = await save(other, task, "fog")
        assert saved["video_path"] == str(home / "out" / "fog.mp4")
        await anyio.sleep(3600)
        assert kept(home) == ["fog.mp4"]


async def test_a_person_gets_a_copy_wherever_they_want_it_and_the_first_file_stays_known(home: Path) -> None:
    async with open_rig(home) as rig:
        task = await rig.settle(await rig.submit())
        for _ in range(2):
            copied = await rig.app.copy_video(task, home / "new", "")
            assert copied.video_path == str(home / "new" / Path(task.video_path).name)
        [listed], _ = await rig.app.list_tasks("local", "", 1, "")
        assert listed.video_path == task.video_path
        assert len(list((home / "new").iterdir())) == 1
