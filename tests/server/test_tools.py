"""The tools as clients of both protocol eras see them, against the sandbox, on a virtual clock."""

import base64
import json
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client
from mcp_types import ImageContent, TextContent

from luma_mcp.app.app import open_app
from luma_mcp.app.progress import Progress
from luma_mcp.core.models import VideoRequest
from luma_mcp.media import preview
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import bundled_clip
from luma_mcp.server import tool_texts
from luma_mcp.server.tools import ToolHandlers
from tests.support.http_server import PAIRS
from tests.support.rig import (
    ERAS,
    SOURCE,
    ProgressRecorder,
    Rig,
    open_rig,
    result_text,
    sandbox_for,
    settings_for,
    silent,
    structured,
)
from tests.support.videos import decoded_picture, needs_frames

pytestmark = pytest.mark.anyio
ASK = {"prompt": "a foggy autumn morning", "source_video_url": SOURCE}


@pytest.mark.parametrize("era", ERAS)
async def test_a_clip_is_modified_with_rising_progress_and_saved(rig: Rig, era: str) -> None:
    told = ProgressRecorder()
    async with rig.client(era) as client:
        result = await client.call_tool("modify_video", ASK, progress_callback=told)
    task = structured(result)
    assert not result.is_error
    assert (task["status"], task["done"], task["joined"]) == ("completed", True, False)
    assert Path(task["video_path"]).read_bytes() == bundled_clip().read_bytes()
    assert task["cost_usd"] == 0.5
    assert "error" not in task
    assert task["video_path"] in task["next_step"]
    assert told.states == ["submitting", "processing", "saving the video", "completed"]
    assert told.values == sorted(set(told.values))
    assert told.reports[-1][:2] == (100, 100)


async def test_a_call_ends_at_its_bound_with_a_normal_result_and_the_work_goes_on(
    home: Path, inline_threads: None
) -> None:
    async with open_rig(home, sandbox=sandbox_for(home, seconds=100)) as rig, rig.client() as client:
        begun = anyio.current_time()
        first = await client.call_tool("modify_video", ASK)
        assert anyio.current_time() - begun == pytest.approx(40)
        assert not first.is_error
        assert structured(first)["status"] == "processing"
        assert 'get_task with task_id "' + structured(first)["task_id"] in structured(first)["next_step"]
        second = await client.call_tool("get_task", {"task_id": structured(first)["task_id"], "wait_seconds": 300})
        assert structured(second)["status"] == "completed"
        assert structured(second)["video_path"]
        assert anyio.current_time() - begun < 115
        assert rig.task_count() == 1


async def test_progress_is_told_at_least_every_ten_seconds_and_never_without_a_token(
    home: Path, inline_threads: None
) -> None:
    told = ProgressRecorder()
    async with open_rig(home, sandbox=sandbox_for(home, seconds=200)) as rig, rig.client() as client:
        await client.call_tool("modify_video", ASK | {"wait_seconds": 300}, progress_callback=told)
    gaps = [later - earlier for earlier, later in zip(told.times, told.times[1:], strict=False)]
    assert max(gaps) <= 10
    assert told.values == sorted(set(told.values))
    assert max(told.values[:-2]) < 99


async def test_a_cancelled_call_leaves_the_task_alive(rig: Rig) -> None:
    async with rig.client() as client:
        with anyio.move_on_after(3):
            await client.call_tool("modify_video", ASK)
        listed = structured(await client.call_tool("list_tasks", {}))["tasks"]
        assert [task["status"] for task in listed] == ["processing"]
        ended = structured(await client.call_tool("get_task", {"task_id": listed[0]["task_id"], "wait_seconds": 40}))
        assert ended["status"] == "completed"
    assert rig.task_count() == 1


async def test_a_client_that_leaves_during_the_submission_loses_nothing(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("slow", seconds=20))
    with anyio.move_on_after(2):
        async with rig.client() as client:
            await client.call_tool("modify_video", ASK)
    async with rig.client() as client:
        again = structured(await client.call_tool("modify_video", ASK))
    assert (again["status"], again["joined"]) == ("completed", True)
    assert rig.task_count() == 1


async def test_without_waiting_the_answer_comes_as_soon_as_the_task_has_its_id(rig: Rig) -> None:
    async with rig.client() as client:
        task = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        assert task["task_id"]
        assert anyio.current_time() < 1


async def test_a_submission_that_outlasts_the_bound_is_reported_as_such_and_can_be_joined(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("slow", seconds=20))
    async with rig.client() as client:
        first = await client.call_tool("modify_video", ASK | {"wait_seconds": 0})
        assert anyio.current_time() == pytest.approx(5)
        assert not first.is_error
        assert (structured(first)["status"], structured(first)["task_id"]) == ("submitting", "")
        second = structured(await client.call_tool("modify_video", ASK))
    assert (second["status"], second["joined"]) == ("completed", True)
    assert rig.task_count() == 1


async def test_fifty_calls_at_once_are_each_charged_once(home: Path, inline_threads: None) -> None:
    finished: list[dict[str, Any]] = []

    async def one(client: Client, number: int) -> None:
        finished.append(structured(await client.call_tool("modify_video", ASK | {"prompt": f"take {number}"})))

    async with open_rig(home, max_active=50) as rig:
        async with rig.client() as client, anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(one, client, number)
        assert (rig.task_count(), rig.sandbox.state.charged_cents()) == (50, 50 * 50)
    assert {task["status"] for task in finished} == {"completed"}
    assert len({task["video_path"] for task in finished}) == 50


async def test_twenty_identical_calls_at_once_are_one_task(rig: Rig) -> None:
    finished: list[dict[str, Any]] = []

    async def one(client: Client) -> None:
        finished.append(structured(await client.call_tool("modify_video", ASK)))

    async with rig.client() as client, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one, client)
    assert len({task["task_id"] for task in finished}) == 1
    assert sorted(task["joined"] for task in finished) == [False] + [True] * 19
    assert (rig.creates(), rig.task_count()) == (1, 1)


async def test_another_take_is_another_task_and_a_result_that_was_read_is_joined(rig: Rig) -> None:
    async with rig.client() as client:
        first = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        take = structured(await client.call_tool("modify_video", ASK | {"take": 2}))
        assert take["task_id"] != first["task_id"]
        await client.call_tool("get_task", {"task_id": first["task_id"], "wait_seconds": 40})
        again = structured(await client.call_tool("modify_video", ASK))
    assert (again["joined"], again["task_id"]) == (True, first["task_id"])
    assert rig.task_count() == 2


async def test_a_failed_generation_is_an_error_that_was_not_charged(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("fail", text="The clip shows no motion."))
    async with rig.client() as client:
        result = await client.call_tool("modify_video", ASK)
        later = await client.call_tool("get_task", {"task_id": structured(result)["task_id"]})
    error = structured(result)["error"]
    assert result.is_error
    assert later.is_error
    assert (error["code"], error["charged"], error["retry_safe"]) == ("generation_failed", "no", True)
    assert "no motion" in error["message"]
    assert rig.sandbox.state.charged_cents() == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"prompt": ""}, "invalid_request"),
        ({"prompt": " \n\t "}, "invalid_request"),
        ({"prompt": "\u200b\u2060"}, "invalid_request"),
        ({"prompt": "x" * 20_001}, "invalid_request"),
        ({"source_video_url": ""}, "invalid_request"),
        ({"source_video_url": "my holiday clip"}, "invalid_request"),
        ({"source_video_url": "clip.mp4"}, "invalid_request"),
        ({"source_video_url": "ftp://example.com/clip.mp4"}, "invalid_request"),
        ({"source_video_url": "http://localhost/clip.mp4"}, "source_not_allowed"),
        ({"source_video_url": "http://192.168.1.7/clip.mp4"}, "source_not_allowed"),
        ({"source_video_url": "http://2130706433/clip.mp4"}, "source_not_allowed"),
        ({"source_video_url": "/etc/passwd"}, "source_not_allowed"),
        ({"source_video_url": "luma://tasks/unknown"}, "source_not_found"),
        ({"model": "luma-imagine"}, "invalid_request"),
        ({"callback_url": "http://127.0.0.1/hook"}, "source_not_allowed"),
        ({"callback_url": "not a url"}, "invalid_request"),
        ({"callback_url": "httpx://example.com/hook"}, "invalid_request"),
        ({"wait_seconds": -2}, "invalid_request"),
        ({"wait_seconds": 3601}, "invalid_request"),
        ({"wait_seconds": "soon"}, "invalid_request"),
    ],
)
@pytest.mark.parametrize("era", ERAS)
async def test_bad_input_is_refused_with_its_code_before_anything_is_sent(
    rig: Rig, era: str, arguments: dict[str, Any], code: str
) -> None:
    async with rig.client(era) as client:
        result = await client.call_tool("modify_video", ASK | arguments)
    error = structured(result)["error"]
    assert result.is_error
    assert (error["code"], error["charged"]) == (code, "no")
    assert error["message"]
    assert error["hint"]
    assert rig.sandbox.recorded_requests == []


@pytest.mark.parametrize("task_id", ["unknown", "00000000-0000-4000-8000-000000000000"])
async def test_an_unknown_task_is_not_found(rig: Rig, task_id: str) -> None:
    async with rig.client() as client:
        result = await client.call_tool("get_task", {"task_id": task_id})
    assert result.is_error
    assert structured(result)["error"]["code"] == "task_not_found"


@pytest.mark.parametrize("task_id", ["", "  ", "../../etc/passwd", "a\nb", "a b", "x" * 201, "é\x07"])
async def test_a_task_id_that_cannot_be_one_is_invalid(rig: Rig, task_id: str) -> None:
    async with rig.client() as client:
        result = await client.call_tool("get_task", {"task_id": task_id})
    assert result.is_error
    assert structured(result)["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    "arguments", [{"status": "running"}, {"status": "null"}, {"limit": 0}, {"limit": 101}, {"cursor": "page two"}]
)
async def test_a_list_cannot_be_asked_for_with_words_that_are_not_ours(rig: Rig, arguments: dict[str, Any]) -> None:
    async with rig.client() as client:
        result = await client.call_tool("list_tasks", arguments)
    assert result.is_error
    assert structured(result)["error"]["code"] == "invalid_request"


async def test_the_list_is_paged_newest_first_and_filtered_by_state(rig: Rig) -> None:
    async with rig.client() as client:
        for number in range(5):
            await client.call_tool("modify_video", ASK | {"prompt": f"take {number}", "wait_seconds": 0})
            await anyio.sleep(1)
        rig.sandbox.faults.inject(Fault("fail"))
        await client.call_tool("modify_video", ASK | {"prompt": "take 5"})
        seen: list[str] = []
        cursor = ""
        while True:
            page = structured(await client.call_tool("list_tasks", {"limit": 4, "cursor": cursor}))
            seen += [task["prompt"] for task in page["tasks"]]
            cursor = page["next_cursor"]
            if not cursor:
                break
        failed = structured(await client.call_tool("list_tasks", {"status": "failed"}))["tasks"]
    assert seen == [f"take {number}" for number in (5, 4, 3, 2, 1, 0)]
    assert [task["prompt"] for task in failed] == ["take 5"]


async def test_without_a_key_tools_are_listed_and_the_call_says_what_is_missing(
    home: Path, inline_threads: None
) -> None:
    async with open_rig(home, api_key="") as rig, rig.client() as client:
        assert len((await client.list_tools()).tools) == 6
        result = await client.call_tool("modify_video", ASK)
        assert result.is_error
        assert structured(result)["error"]["code"] == "missing_api_key"
        assert "RUNAPI_API_KEY" in structured(result)["error"]["hint"]
        assert structured(await client.call_tool("list_tasks", {}))["tasks"] == []
        assert rig.sandbox.recorded_requests == []


async def test_a_wrong_key_is_told_and_the_corrected_call_starts_afresh(rig: Rig) -> None:
    rig.sandbox.faults.inject(Fault("401"))
    async with rig.client() as client:
        refused = await client.call_tool("modify_video", ASK)
        assert refused.is_error
        assert structured(refused)["error"]["code"] == "invalid_api_key"
        assert structured(refused)["error"]["charged"] == "no"
        again = structured(await client.call_tool("modify_video", ASK))
    assert (again["status"], again["joined"]) == ("completed", False)
    assert rig.task_count() == 1


async def test_an_output_folder_that_cannot_be_written_is_found_before_money_is_spent(
    home: Path, inline_threads: None
) -> None:
    (home / "file").touch()
    async with open_rig(home, output_dir=home / "file" / "videos") as rig, rig.client() as client:
        result = await client.call_tool("modify_video", ASK)
        assert result.is_error
        assert structured(result)["error"]["code"] == "output_not_writable"
        assert rig.sandbox.recorded_requests == []


async def test_a_source_that_cannot_be_read_in_time_is_refused_within_the_bound(
    rig: Rig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any, **__: Any) -> None:
        await anyio.sleep_forever()

    clip = home / "out" / "clip.mp4"
    clip.parent.mkdir()
    clip.touch()
    monkeypatch.setattr(anyio.to_thread, "run_sync", hang)
    async with rig.client() as client:
        result = await client.call_tool("modify_video", ASK | {"source_video_url": str(clip)})
    assert anyio.current_time() == pytest.approx(40)
    assert structured(result)["error"]["code"] == "invalid_request"
    assert rig.sandbox.recorded_requests == []


async def test_a_data_folder_that_cannot_be_used_is_told_by_every_tool_and_nothing_is_sent(
    home: Path, inline_threads: None
) -> None:
    (home / "file").touch()
    async with open_rig(home, data_dir=home / "file" / "data") as rig, rig.client() as client:
        assert len((await client.list_tools()).tools) == 6
        for name, arguments in (
            *(("modify_video", ASK), ("get_task", {"task_id": "x"}), ("list_tasks", {})),
            *(("save_video", {"task_id": "x"}), ("preview_video", {"task_id": "x"}), ("check_account", {})),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            told = json.loads(result_text(result))
            assert told["error"]["code"] == "output_not_writable"
            assert "LUMA_MCP_DATA_DIR" in told["error"]["hint"]
        await anyio.sleep(60)
        assert rig.sandbox.recorded_requests == []


async def test_saving_can_be_switched_off(home: Path, inline_threads: None) -> None:
    async with open_rig(home, save="never") as rig, rig.client() as client:
        task = structured(await client.call_tool("modify_video", ASK))
    assert (task["status"], task["video_path"]) == ("completed", "")
    assert task["video_urls"] == [f"https://runapi.ai/outputs/{task['task_id']}.mp4"]
    assert "video_urls" in task["next_step"]
    assert not (home / "out").exists()


async def test_a_local_file_is_uploaded_and_comes_back(rig: Rig, home: Path) -> None:
    clip = home / "out" / "my clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 700_000)
    async with rig.client() as client:
        task = structured(await client.call_tool("modify_video", ASK | {"source_video_url": str(clip)}))
    assert task["source_video_url"] == str(clip)
    assert Path(task["video_path"]).read_bytes() == clip.read_bytes()


async def test_a_result_can_be_the_source_of_the_next_edit(rig: Rig) -> None:
    async with rig.client() as client:
        first = structured(await client.call_tool("modify_video", ASK))
        link = f"luma://tasks/{first['task_id']}"
        second = structured(await client.call_tool("modify_video", ASK | {"source_video_url": link}))
    assert second["status"] == "completed"
    sent = rig.sandbox.state.generations()[-1].body["source_video_url"]
    assert sent == first["video_urls"][0]


@pytest.mark.parametrize(
    ("changes", "tool", "argument", "text"),
    [
        ({}, "modify_video", "source_video_url", tool_texts.SOURCE),
        ({"transport": "http"}, "modify_video", "source_video_url", tool_texts.SOURCE_WITHOUT_FILES),
        ({"transport": "http"}, "save_video", "filename", tool_texts.FILE_NAME),
        ({"transport": "http", "auth_tokens": PAIRS}, "save_video", "filename", tool_texts.NAME_ON_SERVER),
        (
            {"transport": "http", "auth_tokens": PAIRS, "public_url": "https://luma.example.com"},
            "modify_video",
            "source_video_url",
            tool_texts.REMOTE_SOURCE + tool_texts.SOURCE_UPLOADED,
        ),
    ],
)
def test_an_argument_is_described_as_this_server_takes_it(
    home: Path, changes: dict[str, Any], tool: str, argument: str, text: str
) -> None:
    shown = {
        each.name: each.input_schema["properties"] for each in ToolHandlers(settings_for(home, **changes)).wire_tools()
    }
    assert shown[tool][argument]["description"] == text


@needs_frames
@pytest.mark.parametrize("era", ERAS)
async def test_a_preview_is_text_and_one_small_picture_and_no_structure(rig: Rig, era: str) -> None:
    async with rig.client(era) as client:
        task = structured(await client.call_tool("modify_video", ASK))
        result = await client.call_tool("preview_video", {"task_id": task["task_id"]})
    words, picture = result.content
    assert (result.is_error, result.structured_content) == (False, None)
    assert isinstance(words, TextContent)
    assert isinstance(picture, ImageContent)
    jpeg = base64.b64decode(picture.data)
    (width, height), _ = decoded_picture(jpeg)
    assert (picture.mime_type, width <= 976, width * height / 750 <= 600) == ("image/jpeg", True, True)
    assert len(jpeg) <= 60_000
    assert "640x360 pixels" in words.text
    assert words.text.endswith(f'The prompt: "{ASK["prompt"]}"')


@pytest.mark.parametrize("era", ERAS)
async def test_where_there_is_nothing_to_look_at_the_text_says_why_without_structure(
    rig: Rig, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "find_frame_reader", lambda: "")
    async with rig.client(era) as client:
        task = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        codes = {}
        for task_id in (task["task_id"], "unknown", "a b"):
            result = await client.call_tool("preview_video", {"task_id": task_id})
            assert (result.is_error, result.structured_content) == (True, None)
            codes[task_id] = json.loads(result_text(result))["error"]["code"]
        assert list(codes.values()) == ["invalid_request", "task_not_found", "invalid_request"]
        await client.call_tool("get_task", {"task_id": task["task_id"], "wait_seconds": 40})
        told = json.loads(result_text(await client.call_tool("preview_video", {"task_id": task["task_id"]})))
    assert told["error"]["code"] == "service_unavailable"
    assert told["error"]["charged"] == "no"
    assert "uv tool install" in told["next_step"]


async def test_an_empty_list_says_how_many_tasks_the_sandbox_has(home: Path, inline_threads: None) -> None:
    async with open_rig(home) as rig, rig.client() as client:
        assert structured(await client.call_tool("list_tasks", {})) == {"tasks": [], "next_cursor": ""}
    async with open_app(settings_for(home, sandbox=True)) as playing:
        request = VideoRequest(prompt="fog", source=SOURCE)
        await playing.modify_video(request, "local", wait_seconds=0, progress=Progress(silent))
    async with open_rig(home) as rig, rig.client() as client:
        told = structured(await client.call_tool("list_tasks", {}))
        assert "a server with --sandbox shows: 1." in told["next_step"]
        await rig.submit()
        assert "next_step" not in structured(await client.call_tool("list_tasks", {}))
