"""Clips of people who are elsewhere: a ticket, a PUT by whoever holds it, and a task made of what has come."""

import logging
import shutil
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from luma_mcp.app.tickets import TICKET_SECONDS
from luma_mcp.core.uris import upload_uri
from luma_mcp.media import received
from luma_mcp.sandbox.faults import Fault
from luma_mcp.transports import sockets
from luma_mcp.transports.gallery_access import NO_ROOM
from luma_mcp.transports.uploads import MAX_UPLOADS, STILL_GOOD
from tests.support.gallery_client import API, browsing
from tests.support.http_server import Hosted, dialled
from tests.support.mp4_files import film
from tests.support.persons import NO, Person, said
from tests.support.rig import disk_with
from tests.support.tickets import (
    CLIP,
    PUBLIC,
    HeldBody,
    ShiftedClock,
    call,
    left_behind,
    nobody_at,
    offered,
    ticket_server,
    until,
    uploads_at_runapi,
)

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
HOUR = 3600.0


def reason(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


async def put(server: Hosted, path: str, content: bytes | HeldBody = CLIP, **headers: str) -> httpx.Response:
    async with nobody_at(server) as http:
        return await http.put(path, content=content, headers=headers)


async def test_a_clip_without_a_public_link_becomes_a_video(home: Path) -> None:
    async with ticket_server(home) as server:
        told = await call(server, "ann", "request_upload")
        assert told["upload_url"].startswith(f"{PUBLIC}/uploads/")
        assert told["source_video_url"] in told["next_step"]
        answer = await put(server, told["upload_url"].removeprefix(PUBLIC))
        assert (answer.status_code, answer.json()["source_video_url"]) == (200, told["source_video_url"])
        assert answer.json()["size_bytes"] == len(CLIP)
        task = await call(server, "ann", "modify_video", prompt="fog", source_video_url=told["source_video_url"])
        assert (task["status"], task["cost_usd"]) == ("completed", 0.5)
        assert (task["source_size_bytes"], task["source_video_url"]) == (len(CLIP), told["source_video_url"])
        assert (uploads_at_runapi(server), left_behind(server)) == (1, [])


async def test_the_same_clip_uploaded_twice_is_paid_for_once(home: Path) -> None:
    async with ticket_server(home) as server:
        answers = []
        for _ in range(2):
            path, source = await offered(server)
            assert (await put(server, path)).status_code == 200
            answers.append(await call(server, "ann", "modify_video", prompt="fog", source_video_url=source))
        assert answers[0]["task_id"] == answers[1]["task_id"]
        assert (answers[1]["joined"], server.task_count(), uploads_at_runapi(server)) == (True, 1, 1)


async def test_an_uploaded_clip_is_its_callers_alone(home: Path) -> None:
    async with ticket_server(home) as server:
        path, source = await offered(server, "ann")
        await put(server, path)
        task = await call(server, "bob", "modify_video", prompt="fog", source_video_url=source)
        unknown = await call(server, "bob", "modify_video", prompt="fog", source_video_url=upload_uri("A" * 16))
        assert (task["error"], server.task_count()) == (unknown["error"], 0)
        assert task["error"]["code"] == "source_not_found"


async def test_a_person_who_is_to_pay_is_told_how_large_and_how_long_the_uploaded_clip_is(home: Path) -> None:
    person = Person(said(NO))
    async with (
        ticket_server(home, confirm="ask") as server,
        server.client("/mcp", "legacy", "ann", elicitation_callback=person) as client,
    ):
        for size in (100_000, 300_000):
            path, source = await offered(server)
            await put(server, path, film(b"x" * size))
            await client.call_tool("modify_video", {"prompt": "fog", "source_video_url": source})
    lines = [line for question in person.questions for line in question.splitlines()]
    assert [line for line in lines if line.startswith("Clip:")] == [
        "Clip: the uploaded video (0.1 MB, 5.0 s)",
        "Clip: the uploaded video (0.3 MB, 5.0 s)",
    ]


async def test_before_it_has_arrived_a_clip_is_waited_for_at_no_cost(home: Path) -> None:
    async with ticket_server(home) as server:
        path, source = await offered(server)
        early = await call(server, "ann", "modify_video", prompt="fog", source_video_url=source)
        assert "has arrived under this name" in early["error"]["message"]
        assert (early["error"]["charged"], server.task_count()) == ("no", 0)
        await put(server, path)
        assert (await call(server, "ann", "modify_video", prompt="fog", source_video_url=source))["done"]


async def test_a_clip_that_runapi_keeps_no_more_still_finds_its_task_and_makes_no_other(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock) as server:
        path, source = await offered(server)
        await put(server, path)
        first = await call(server, "ann", "modify_video", prompt="fog", source_video_url=source)
        clock.shift = 2 * HOUR
        again = await call(server, "ann", "modify_video", prompt="fog", source_video_url=source)
        other = await call(server, "ann", "modify_video", prompt="snow", source_video_url=source)
        assert (again["task_id"], again["joined"]) == (first["task_id"], True)
        assert "does not keep" in other["error"]["message"]
        assert "request_upload" in other["error"]["hint"]
        assert server.task_count() == 1


def forged(path: str) -> list[str]:
    ticket = path.removeprefix("/uploads/")
    return [
        "/uploads/x",
        f"/uploads/{'A' * len(ticket)}",
        f"/uploads/{ticket[:16]}{'A' * (len(ticket) - 16)}",
        f"/uploads/{'A' * 16}{ticket[16:]}",
        f"/uploads/{ticket[:-2]}",
        f"/uploads/{ticket}AAAA",
        f"/uploads/{ticket * 5}",
        f"/uploads/{ticket}%00",
        "/uploads/%C3%A9",
        "/uploads/..%2f..%2fetc%2fpasswd",
        f"/uploads/..%2f{ticket}",
        f"/uploads/{ticket}/../{ticket}x",
    ]


async def test_what_is_no_ticket_is_refused_without_a_word_about_why(home: Path) -> None:
    async with ticket_server(home) as server:
        path, _ = await offered(server)
        answers = [await put(server, other) for other in forged(path)]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.text for answer in answers if answer.headers["content-type"] == "application/json"}) == 1
        assert (uploads_at_runapi(server), left_behind(server)) == (0, [])
        assert (await put(server, path)).status_code == 200


async def test_a_ticket_is_good_for_one_clip_and_for_an_hour(home: Path) -> None:
    clock = ShiftedClock()
    async with ticket_server(home, now=clock) as server:
        used, _ = await offered(server)
        unused, _ = await offered(server)
        await put(server, used)
        again = await put(server, used)
        clock.shift = TICKET_SECONDS + 1
        late = await put(server, unused)
        assert again.status_code == late.status_code == 410
        assert again.text == late.text
        assert STILL_GOOD not in late.text


async def test_a_ticket_of_another_account_or_ledger_is_none(home: Path) -> None:
    async with ticket_server(home) as server, ticket_server(home / "other") as other:
        path, _ = await offered(server)
        assert (await put(other, path)).status_code == 404


async def test_a_ticket_for_a_video_lets_nothing_be_uploaded(home: Path) -> None:
    async with ticket_server(home) as server:
        ticket = await server.parts.video_links.signer.sign("video", bytes(12))
        assert (await put(server, f"/uploads/{ticket}")).status_code == 404


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an MP4 or MOV video"),
        (b"GIF89a" + bytes(100), "is no MP4 or MOV video"),
        (b"<html>" + bytes(100), "is no MP4 or MOV video"),
        (b"\0\0\0\x20ftypavif" + bytes(100), "is no MP4 or MOV video"),
        (CLIP[: len(CLIP) // 2], "cut off"),
        (film()[:-100], ""),
    ],
)
async def test_what_is_no_whole_video_is_refused_and_leaves_the_ticket_good(
    home: Path, content: bytes, words: str
) -> None:
    async with ticket_server(home) as server:
        path, source = await offered(server)
        answer = await put(server, path, content)
        assert answer.status_code == 422
        assert words in reason(answer)
        assert STILL_GOOD in answer.json()["error"]["hint"]
        assert (uploads_at_runapi(server), left_behind(server)) == (0, [])
        assert (await put(server, path)).json()["source_video_url"] == source


async def test_what_is_too_large_is_refused_before_or_while_it_comes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "RULE", received.RULE._replace(most=len(CLIP) - 1))
    async with ticket_server(home) as server:
        path, _ = await offered(server)
        body = HeldBody(CLIP, b"")
        body.let_go.set()
        for content in (CLIP, body):
            answer = await put(server, path, content)
            assert (answer.status_code, "is larger than" in reason(answer)) == (413, True)
        assert left_behind(server) == []


async def test_a_full_disk_is_told_without_naming_its_folders(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ticket_server(home) as server:
        path, _ = await offered(server)
        monkeypatch.setattr(shutil, "disk_usage", disk_with(1000))
        answer = await put(server, path)
        assert (answer.status_code, reason(answer)) == (507, NO_ROOM)
        assert str(home) not in answer.text


async def test_of_two_who_use_a_ticket_at_once_one_is_refused(home: Path) -> None:
    async with ticket_server(home) as server:
        path, source = await offered(server)
        body, answers = HeldBody(CLIP[:1000], CLIP[1000:]), []

        async def send() -> None:
            answers.append(await put(server, path, body))

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await body.begun.wait()
            await until(lambda: left_behind(server) != [])
            assert (await put(server, path)).status_code == 410
            body.let_go.set()
        assert answers[0].json()["source_video_url"] == source
        assert (uploads_at_runapi(server), left_behind(server)) == (1, [])


async def test_a_caller_has_few_uploads_at_once_and_others_have_their_own(home: Path) -> None:
    async with ticket_server(home) as server, anyio.create_task_group() as group:
        bodies = [HeldBody(CLIP[:1000], CLIP[1000:]) for _ in range(MAX_UPLOADS)]
        for body in bodies:
            group.start_soon(put, server, (await offered(server))[0], body)
        await until(lambda: len(left_behind(server)) == MAX_UPLOADS)
        path, _ = await offered(server)
        assert (await put(server, path)).status_code == 429
        assert (await put(server, (await offered(server, "bob"))[0])).status_code == 200
        for body in bodies:
            body.let_go.set()
        await until(lambda: left_behind(server) == [])
        assert (await put(server, path)).status_code == 200


def head_of(path: str, length: int) -> bytes:
    return f"PUT {path} HTTP/1.1\r\nHost: luma.example.com\r\nContent-Length: {length}\r\n\r\n".encode()


async def test_an_upload_that_breaks_off_leaves_nothing_but_a_good_ticket(home: Path) -> None:
    async with ticket_server(home) as server:
        path, _ = await offered(server)
        with dialled(server.port) as connection:
            connection.sendall(head_of(path, len(CLIP)) + CLIP[:1000])
            await until(lambda: left_behind(server) != [])
        await until(lambda: left_behind(server) == [])
        await until_open(server, path)
        assert (await put(server, path)).status_code == 200


async def until_open(server: Hosted, path: str) -> None:
    async with nobody_at(server) as http:
        while (await http.get(path)).status_code == 410:
            await anyio.lowlevel.checkpoint()


async def test_a_long_upload_outlasts_the_time_for_requests_and_an_idle_one_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(sockets, "STALL_SECONDS", 0.5)
    async with ticket_server(home) as server:
        path, _ = await offered(server)
        with dialled(server.port) as connection:
            connection.sendall(head_of(path, len(CLIP)) + CLIP[:1000])
            assert await anyio.to_thread.run_sync(connection.recv, 100) == b""
        await until(lambda: left_behind(server) == [])
        await until_open(server, path)
        body = HeldBody(CLIP[:1000], CLIP[1000:])
        async with anyio.create_task_group() as group:

            async def let_go() -> None:
                await anyio.sleep(0.3)  # longer than other requests may take
                body.let_go.set()

            group.start_soon(let_go)
            assert (await put(server, path, body)).status_code == 200


async def test_a_clip_that_takes_more_than_an_hour_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "RECEIVE_SECONDS", 0.2)
    async with ticket_server(home) as server:
        path, _ = await offered(server)
        body = HeldBody(CLIP[:1000], CLIP[1000:])
        async with anyio.create_task_group() as group:

            async def let_go() -> None:
                await until(lambda: left_behind(server) != [])
                await until(lambda: left_behind(server) == [])
                body.let_go.set()

            group.start_soon(let_go)
            answer = await put(server, path, body)
        assert (answer.status_code, "did not arrive" in reason(answer)) == (422, True)


async def test_a_failure_of_runapis_leaves_the_ticket_good(home: Path) -> None:
    async with ticket_server(home) as server:
        path, _ = await offered(server)
        server.sandbox.faults.inject(Fault("422", "files"))
        answer = await put(server, path)
        assert (answer.status_code >= 400, STILL_GOOD in answer.text, left_behind(server)) == (True, True, [])
        assert (await put(server, path)).status_code == 200


async def test_a_person_picks_the_clip_on_the_page_at_the_address(home: Path) -> None:
    async with ticket_server(home) as server, nobody_at(server) as http:
        path, _ = await offered(server)
        from_chat = {"Sec-Fetch-Site": "cross-site", "Accept": "text/html"}
        page = await http.get(path, headers=from_chat)
        assert (page.status_code, 'type="file"' in page.text) == (200, True)
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"
        await http.put(path, content=CLIP)
        gone = await http.get(path, headers=from_chat)
        assert (gone.status_code, gone.headers["content-type"]) == (410, "text/plain; charset=utf-8")


async def test_in_the_gallery_a_person_uploads_a_clip_of_their_own(home: Path) -> None:
    async with ticket_server(home, public_url="") as server, browsing(server, "ann") as browser:
        assert 'type="file"' in (await browser.http.get("")).text
        path = (await browser.change(f"{API}/uploads")).json()["path"]
        source = (await browser.http.put(path, content=CLIP)).json()["source_video_url"]
        assert (await call(server, "ann", "modify_video", prompt="fog", source_video_url=source))["done"]
        foreign = await browser.http.post(f"{API}/uploads", headers={"Origin": "https://evil.example"})
        assert foreign.status_code == 403
    async with ticket_server(home) as server, browsing(server) as browser:
        assert (await browser.change(f"{API}/uploads")).status_code == 401


async def test_no_ticket_is_logged(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ticket_server(home) as server:
        path, _ = await offered(server)
        await put(server, path)
        await put(server, path)
        await put(server, f"{path}x")
    own = [record.getMessage() for record in caplog.records if record.name.startswith(("luma_mcp", "uvicorn"))]
    assert path.removeprefix("/uploads/") not in "\n".join(own)
    assert '"path": "/uploads"' in caplog.text


async def test_the_tool_is_offered_where_the_server_knows_its_address(home: Path) -> None:
    async with ticket_server(home) as server, server.client("/mcp", "legacy", "ann") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "request_upload" in tools["modify_video"].input_schema["properties"]["source_video_url"]["description"]
    async with ticket_server(home, public_url="") as server, server.client("/mcp", "legacy", "ann") as client:
        assert "request_upload" not in [tool.name for tool in (await client.list_tools()).tools]


async def test_who_names_a_file_of_their_own_machine_is_told_of_uploads(home: Path) -> None:
    async with ticket_server(home) as server:
        told = await call(server, "ann", "modify_video", prompt="fog", source_video_url="/home/ann/clip.mp4")
        assert "request_upload" in told["error"]["hint"]
