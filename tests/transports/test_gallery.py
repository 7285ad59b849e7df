"""The gallery's page, and what it is told of tasks, videos and money."""

import json
import os
from pathlib import Path
from urllib.parse import quote

import anyio.to_thread
import pytest

from luma_mcp.app.preview import Preview, Previewer
from luma_mcp.core.models import Task
from luma_mcp.transports.gallery import MAX_WORDS_LENGTH
from luma_mcp.viewer.page import page_html
from tests.support.gallery_client import (
    API,
    browsing,
    gallery_server,
    make_video,
    write_clip,
)
from tests.support.http_server import Hosted, bearer
from tests.support.raw_http import all_that_comes
from tests.support.rig import structured

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
PATH_TRICKS = [
    *(
        "..",
        "../..",
        "%2e%2e",
        "..%2f..%2f..%2fetc%2fpasswd",
        "..%5c..%5cetc",
        "%00",
        "/etc/passwd",
        "//etc/passwd",
    ),
    *("result", "{id}/..%2fresult", "{id}/result/", "{id}/result/..", "{id}/source%00.mp4", "{id}%2fresult/result"),
    *("{file}/result", "{id}/{file}", "luma:%2f%2ftasks%2f..%2f{id}/result", "~/result", "C:/result", "{id}/"),
]
POSIX = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")


def only_file(folder: Path) -> Path:
    (found,) = folder.glob("*.mp4")
    return found


async def test_the_page_is_served_to_everybody_and_runs_nothing_but_its_own_script(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server) as browser:
        for answer in (await browser.http.get(""), await browser.http.head("")):
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert "*" not in policy.replace("https://*.runapi.ai", "")
            assert answer.headers["cache-control"] == "no-store"
        assert (await browser.http.get("")).text == page_html("gallery", picks_clips=True)


@pytest.mark.parametrize("path", ["", "gallery/session", f"{API}/tasks", f"{API}/tasks/x", f"{API}/videos/x/result"])
async def test_no_answer_is_kept_framed_guessed_at_or_told_to_others(home: Path, path: str) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        answer = await (browser.log_in("x" * 20) if path.endswith("session") else browser.http.get(path))
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_tasks_are_told_whole_newest_first_with_what_the_month_cost(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        await make_video(server, "ann", "A foggy autumn morning")
        await make_video(server, "ann", "Heavy snow")
        told = (await browser.read("tasks")).json()
        assert [task["prompt"] for task in told["tasks"]] == ["Heavy snow", "A foggy autumn morning"]
        assert (told["next_cursor"], told["spent_month_usd"]) == ("", 1.0)
        async with server.client("/mcp", "legacy", "ann") as client:
            task = structured(await client.call_tool("get_task", {"task_id": told["tasks"][0]["task_id"]}))
        assert told["tasks"][0] == task
        assert (await browser.read(f"tasks/{task['task_id']}")).json() == task


async def test_tasks_are_found_by_words_state_and_page(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        for prompt in ("fog", "snow", "more snow"):
            await make_video(server, "ann", prompt)
        assert await browser.prompts(words=" SNOW ") == ["more snow", "snow"]
        assert await browser.prompts(words="snow", limit="1") == ["more snow"]
        assert await browser.prompts(words="snow", status="failed") == []
        assert await browser.prompts(status="completed") == ["more snow", "snow", "fog"]
        first = (await browser.read("tasks", params={"limit": "2"})).json()
        assert await browser.prompts(limit="2", cursor=first["next_cursor"]) == ["fog"]


@pytest.mark.parametrize(
    "asked",
    [
        *({"limit": limit} for limit in ("0", "101", "-1", "x", "1e9", "9" * 5000)),
        *({"status": "x"}, {"cursor": "x"}, {"words": "x" * (MAX_WORDS_LENGTH + 1)}),
    ],
)
async def test_what_cannot_be_asked_is_told_so(home: Path, asked: dict[str, str]) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        answer = await browser.read("tasks", params=asked)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


async def test_nothing_of_another_caller_is_there(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as ann, browsing(server, "bob") as bob:
        task = await make_video(server, "ann")
        for path in (f"tasks/{task.task_id}", f"videos/{task.task_id}/result", f"videos/{task.task_id}/source"):
            answer = await bob.read(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "task_not_found")
        saving = await bob.change(f"{API}/tasks/{task.task_id}/save", {})
        assert (saving.status_code, saving.json()["error"]["code"]) == (404, "task_not_found")
        assert (await bob.read("tasks")).json() == {"tasks": [], "next_cursor": "", "spent_month_usd": 0.0}
        assert await ann.prompts() == ["fog"]


async def test_a_saved_video_is_played_from_the_disk_in_ranges(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        task = await make_video(server, "ann")
        content = only_file(home / "out").read_bytes()
        whole = await browser.read(f"videos/{task.task_id}/result")
        assert (whole.status_code, whole.headers["content-type"], whole.content) == (200, "video/mp4", content)
        address = f"{API}/videos/{task.task_id}/result"
        part = await browser.http.get(address, headers={"Range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, content[4:8])
        assert (await browser.http.get(address, headers={"Range": f"bytes={len(content)}-"})).status_code == 416
        assert (await browser.http.get(address, headers={"Range": "bytes=0-1,3-4"})).content == content
        head = await browser.http.head(address)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
        assert (await browser.http.get(address, headers=bearer("ann"))).content == content


async def test_a_local_source_is_shown_and_one_on_the_internet_is_not(home: Path) -> None:
    clip = write_clip(home / "clips")
    async with gallery_server(home, media_roots=str(home / "clips")) as server, browsing(server, "ann") as browser:
        local = await make_video(server, "ann", "fog", str(clip))
        public = await make_video(server, "ann", "snow")
        shown = await browser.read(f"videos/{local.task_id}/source")
        assert (shown.status_code, shown.content) == (200, clip.read_bytes())
        missing = await browser.read(f"videos/{public.task_id}/source")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "source_not_found")


async def test_a_video_that_is_not_saved_is_saved_when_asked_and_costs_nothing_more(home: Path) -> None:
    async with gallery_server(home, save="never") as server, browsing(server, "ann") as browser:
        task = await make_video(server, "ann")
        missing = await browser.read(f"videos/{task.task_id}/result")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "source_not_found")
        saved = await browser.change(f"{API}/tasks/{task.task_id}/save", {})
        assert Path(saved.json()["video_path"]).parent == home / "out"
        assert (await browser.read(f"videos/{task.task_id}/result")).status_code == 200
        assert server.task_count() == 1


async def test_a_picture_of_a_result_is_there_for_its_caller_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as ann, browsing(server, "bob") as bob:
        task = await make_video(server, "ann")

        async def picture(found: Task, caller: str) -> Preview:
            assert (found.task_id, caller) == (task.task_id, "ann")
            return Preview(b"\xff\xd8", (), "", "result")

        monkeypatch.setattr(Previewer, "preview", staticmethod(picture))
        shown = await ann.read(f"tasks/{task.task_id}/preview")
        assert (shown.status_code, shown.headers["content-type"], shown.content) == (200, "image/jpeg", b"\xff\xd8")
        assert (await bob.read(f"tasks/{task.task_id}/preview")).status_code == 404


async def test_an_unfinished_and_an_unknown_task_have_no_video(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        server.clock.runs = False
        task = await make_video_without_end(server)
        assert (await browser.read(f"videos/{task}/result")).status_code == 400
        assert (await browser.read(f"tasks/{task}")).json()["status"] in {"pending", "processing"}
        assert (await browser.read("videos/550e8400/result")).status_code == 404
        assert (await browser.read(f"videos/{task}/other")).status_code == 400


async def make_video_without_end(server: Hosted) -> str:
    async with server.client("/mcp", "legacy", "ann") as client:
        asked = {"prompt": "fog", "source_video_url": "https://example.com/clip.mp4", "wait_seconds": 0}
        task_id: str = structured(await client.call_tool("modify_video", asked))["task_id"]
        return task_id


async def test_nothing_in_an_address_becomes_part_of_a_path(home: Path) -> None:
    async with gallery_server(home) as server:
        task = await make_video(server, "ann")
        file = quote(str(only_file(home / "out")), safe="")
        more = f"Host: 127.0.0.1:{server.port}\r\nConnection: close\r\nAuthorization: {bearer('ann')['Authorization']}"
        for trick in PATH_TRICKS:
            path = trick.format(id=task.task_id, file=file)
            request = f"GET /{API}/videos/{path} HTTP/1.1\r\n{more}\r\n\r\n".encode()
            answer = await anyio.to_thread.run_sync(all_that_comes, server.port, request)
            assert answer.split(b" ")[1] in {b"400", b"404"}, path
            assert b"ftyp" not in answer
            assert b"root:" not in answer


@POSIX
async def test_a_file_that_became_a_link_is_not_served(home: Path) -> None:
    (home / "secret.mp4").write_bytes(b"secret")
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        task = await make_video(server, "ann")
        saved = only_file(home / "out")
        video = await server.app.open_video(task.task_id, "ann", "result")
        saved.unlink()
        saved.symlink_to(home / "secret.mp4")
        assert (await browser.read(f"videos/{task.task_id}/result")).status_code == 404
        with pytest.raises(OSError, match="link"):
            video.open()
        saved.unlink()
        saved.mkdir()
        assert (await browser.read(f"videos/{task.task_id}/result")).status_code == 404


async def test_a_file_that_vanishes_after_it_was_found_is_told_as_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        task = await make_video(server, "ann")
        found = await server.app.open_video(task.task_id, "ann", "result")

        async def open_video(*_: str) -> object:
            return found

        monkeypatch.setattr(server.app, "open_video", open_video)
        only_file(home / "out").unlink()
        answer = await browser.read(f"videos/{task.task_id}/result")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "source_not_found")


async def test_nothing_can_be_bought_here(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        ask = {"prompt": "fog", "source_video_url": "https://example.com/clip.mp4"}
        for path in ("tasks", "modify_video", "tasks/modify_video", "tasks/save", "videos", "account"):
            assert (await browser.change(f"{API}/{path}", ask)).status_code in {404, 405}
        for method in ("PUT", "PATCH", "DELETE", "POST"):
            assert (await browser.http.request(method, f"{API}/tasks/x", headers=bearer("ann"))).status_code == 405
        assert server.task_count() == 0


async def test_the_account_is_told_as_the_tool_tells_it(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        await make_video(server, "ann")
        told = (await browser.read("account")).json()
        assert (told["price_usd"], told["server_spent_total_usd"]) == (0.5, 0.5)
        assert "account_spent_total_usd" not in told  # several callers share it


async def test_names_that_are_no_unicode_do_not_break_an_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        await make_video(server, "ann", "نص \u202e <script>alert(1)</script> 🌫")
        raw = (await browser.read("tasks")).content
        assert raw.isascii()
        assert json.loads(raw)["tasks"][0]["prompt"] == "نص \u202e <script>alert(1)</script> 🌫"


async def test_when_the_server_ends_the_page_is_told_to_come_back(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        server.web._over = True
        assert (await browser.read("tasks")).status_code == 503
