"""Saved videos by signed links: for whoever has one, for an hour, whole or in ranges, and nobody else's."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from luma_mcp.app.tickets import TICKET_SECONDS
from luma_mcp.app.videos import VideoFile
from luma_mcp.transports.videos import disposition
from tests.support.http_server import Hosted
from tests.support.rig import SOURCE
from tests.support.tickets import CLIP, DAY, PUBLIC, ShiftedClock, call, nobody_at, offered, ticket_server

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


async def finished(server: Hosted, caller: str = "ann", prompt: str = "fog") -> dict[str, Any]:
    return await call(server, caller, "modify_video", prompt=prompt, source_video_url=SOURCE)


async def linked(server: Hosted, task: dict[str, Any], caller: str = "ann") -> str:
    """Give the link that a result has, below the server's address."""
    told = await call(server, caller, "get_task", task_id=task["task_id"])
    (link,) = told["video_urls"]
    assert link.startswith(f"{PUBLIC}/videos/")
    return str(link.removeprefix(PUBLIC))


async def get(server: Hosted, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with nobody_at(server) as http:
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        return await http.request(method, path, headers=shown)


async def test_a_saved_video_has_a_link_of_this_servers_once_runapis_has_died(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock, save="auto") as server:
        fresh = await finished(server)
        assert [PUBLIC in link for link in fresh["video_urls"]] == [False]
        clock.shift = 8 * DAY
        told = await call(server, "ann", "get_task", task_id=fresh["task_id"])
        (link,) = told["video_urls"]
        assert told["expires_at"] > told["finished_at"]
        assert "first link in video_urls" in told["next_step"]
        assert (await get(server, link.removeprefix(PUBLIC))).content == CLIP
        joined = await finished(server)
        assert (joined["joined"], joined["video_urls"][0].startswith(f"{PUBLIC}/videos/")) == (True, True)


async def test_without_a_saved_file_a_dead_link_is_replaced_by_none(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock) as server:
        task = await finished(server)
        clock.shift = 8 * DAY
        told = await call(server, "ann", "get_task", task_id=task["task_id"])
        assert (told["error"]["charged"], PUBLIC in str(told["video_urls"])) == ("yes", False)


async def test_without_a_public_address_results_stay_as_they_are(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock, save="auto", public_url="") as server:
        task = await finished(server)
        clock.shift = 8 * DAY
        told = await call(server, "ann", "get_task", task_id=task["task_id"])
        assert told["video_urls"] == task["video_urls"]


async def test_players_get_ranges_and_heads(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock, save="auto") as server:
        task = await finished(server)
        clock.shift = 8 * DAY
        path = await linked(server, task)
        head = await get(server, path, "HEAD")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(CLIP)))
        assert head.headers["content-disposition"].startswith("inline; filename=\"video.mp4\"; filename*=UTF-8''")
        assert (head.headers["accept-ranges"], head.headers["cache-control"]) == ("bytes", "no-store")
        part = await get(server, path, Range="bytes=10-19", If_Range=head.headers["etag"])
        assert (part.status_code, part.content) == (206, CLIP[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(CLIP)}"
        assert (await get(server, path, Range="bytes=10-19", If_Range='"other"')).content == CLIP
        assert (await get(server, path, Range=f"bytes={len(CLIP)}-")).status_code == 416
        assert (await get(server, path, Sec_Fetch_Site="cross-site")).status_code == 200
        assert (await get(server, path, "POST")).status_code == 405


async def test_a_link_lasts_an_hour_and_can_be_had_anew(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock, save="auto") as server:
        task = await finished(server)
        clock.shift = 8 * DAY
        path = await linked(server, task)
        clock.shift += TICKET_SECONDS + 1
        assert (await get(server, path)).status_code == 410
        assert (await get(server, await linked(server, task))).content == CLIP


async def test_what_is_no_link_shows_nothing(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock, save="auto") as server:
        mine, theirs = await finished(server), await finished(server, "bob")
        name = Path(mine["video_path"]).name
        clock.shift = 8 * DAY
        ticket = (await linked(server, mine)).removeprefix("/videos/")
        other = (await linked(server, theirs, "bob")).removeprefix("/videos/")
        upload = (await offered(server))[0].removeprefix("/uploads/")
        assert mine["task_id"] != theirs["task_id"]
        tricks = (
            *("x", "A" * len(ticket), ticket[:-2], f"{ticket}AA", upload),
            *(f"{ticket[:20]}{other[20:]}", f"{other[:24]}{ticket[24:]}", "%F0%9F%98%80"),
            *(mine["task_id"], name, f"..%2f{name}", "..%2f..%2fetc%2fpasswd", f"{ticket}%00", f"{ticket}/result"),
        )
        answers = [await get(server, f"/videos/{trick}") for trick in tricks]
        assert {answer.status_code for answer in answers} == {404}
        assert (await call(server, "bob", "get_task", task_id=mine["task_id"]))["error"]["code"] == "task_not_found"


async def test_a_file_that_is_gone_or_elsewhere_is_told_of(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock, save="auto") as server:
        task = await finished(server)
        clock.shift = 8 * DAY
        path = await linked(server, task)
        saved = Path(task["video_path"])
        saved.unlink()
        answer = await get(server, path)
        assert (answer.status_code, saved.name in answer.text) == (404, True)
        assert (str(saved.parent) in answer.text, "LUMA_MCP_OUTPUT_DIR" in answer.text) == (False, True)


async def test_while_runapi_has_the_video_a_server_without_the_file_sends_people_there(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock, save="auto") as server:
        task = await finished(server)
        clock.shift = 8 * DAY
        path = await linked(server, task)
        Path(task["video_path"]).unlink()
        clock.shift = 0.0
        answer = await get(server, path)
        assert (answer.status_code, answer.headers["location"]) == (307, task["video_urls"][0])


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
async def test_a_link_put_in_place_of_the_file_is_not_followed(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock, save="auto") as server:
        task = await finished(server)
        clock.shift = 8 * DAY
        path = await linked(server, task)
        saved = Path(task["video_path"])
        (home / "secret.mp4").write_bytes(CLIP)
        saved.unlink()
        saved.symlink_to(home / "secret.mp4")
        assert (await get(server, path)).status_code == 404


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("fog.mp4", "fog.mp4"),
        ('a"; x=1\r\nSet-Cookie: b.mp4', "a%22%3B%20x%3D1%0D%0ASet-Cookie%3A%20b.mp4"),
        ("n\u00e9.mov", "n%C3%A9.mov"),
        ("\udcff.mp4", "%3F.mp4"),
    ],
)
def test_a_files_name_stays_within_its_header(name: str, quoted: str) -> None:
    words = disposition(VideoFile(Path("/out") / name, 1, "video/mp4"))
    assert words == f"inline; filename=\"video.mp4\"; filename*=UTF-8''{quoted}"
