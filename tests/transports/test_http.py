"""Many clients over HTTP: what they can do, whichever transport and era they speak, and what becomes of their calls."""

import json
import socket
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client
from mcp_types import CallToolResult

from luma_mcp.core.settings import load_settings
from luma_mcp.transports.http import banner, missing_key_warning
from tests.support.change_listener import ChangeRecorder
from tests.support.http_server import (
    ASK,
    PAIRS,
    PATHS,
    TOKENS,
    WAYS,
    Hosted,
    hosted,
    waited_for,
)
from tests.support.mp4_files import film
from tests.support.raw_http import calling
from tests.support.rig import ERAS, KEY, structured
from tests.support.scenario import live_tasks

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
MODERN = ERAS[1]


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_live_tasks_work_as_on_stdio(home: Path, path: str, era: str) -> None:
    heard = ChangeRecorder()
    async with hosted(home) as server, server.client(path, era, message_handler=heard.message) as client:
        await live_tasks(client, heard, era, server.finish_tasks)


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_progress_rises_to_the_end(home: Path, path: str, era: str) -> None:
    told: list[float] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with hosted(home, runs=True) as server, server.client(path, era) as client:
        done = await client.call_tool("modify_video", ASK, progress_callback=tell)
    assert structured(done)["status"] == "completed"
    assert len(told) > 1
    assert told == sorted(set(told))


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_a_cancelled_call_cancels_its_wait_and_not_the_task(home: Path, path: str, era: str) -> None:
    async with hosted(home) as server, server.client(path, era) as client:
        async with anyio.create_task_group() as calls:
            calls.start_soon(client.call_tool, "modify_video", ASK)
            await waited_for(server, 1)
            calls.cancel_scope.cancel()
        await waited_for(server, 0)
        await joins_and_pays_nothing(server, client)


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_a_dropped_connection_cancels_the_wait_and_not_the_task(home: Path, path: str, era: str) -> None:
    async with hosted(home) as server:
        async with server.plain() as plain, calling(plain, path, era):
            await waited_for(server, 1)
        await waited_for(server, 0)
        async with server.client(path, era) as client:
            await joins_and_pays_nothing(server, client)


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_a_call_that_is_repeated_gets_the_same_result_whoever_has_read_the_first(
    home: Path, path: str, era: str
) -> None:
    async with hosted(home, runs=True) as server, server.client(path, era) as client:
        first = structured(await client.call_tool("modify_video", ASK))
        async with server.client(path, era) as another:
            for asking in (client, another, client):
                again = structured(await asking.call_tool("modify_video", ASK))
                assert (again["task_id"], again["joined"], server.task_count()) == (first["task_id"], True, 1)


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_a_call_that_nobody_waits_for_any_more_is_joined_when_it_is_repeated(
    home: Path, path: str, era: str
) -> None:
    async with hosted(home) as server:
        async with server.plain() as plain, calling(plain, path, era):
            await waited_for(server, 1)
        server.finish_tasks()
        async with server.client(path, era) as client:
            done = structured(await client.call_tool("modify_video", ASK))
        assert (done["status"], done["joined"], server.task_count()) == ("completed", True, 1)


async def test_clients_of_all_kinds_share_one_ledger_and_one_follower_a_task(home: Path) -> None:
    found: list[dict[str, Any]] = []
    async with hosted(home, runs=True) as server, anyio.create_task_group() as calls:

        async def call(path: str, era: str) -> None:
            async with server.client(path, era) as client:
                found.append(structured(await client.call_tool("modify_video", ASK)))

        for path, era in WAYS:
            calls.start_soon(call, path, era)
    assert len({task["task_id"] for task in found}) == server.task_count() == 1
    assert sorted(task["joined"] for task in found) == [False, True, True, True]


@pytest.mark.parametrize("transport", ["sse", "streamable-http"])
async def test_only_the_chosen_transport_is_served(home: Path, transport: str) -> None:
    async with hosted(home, transport=transport) as server, server.plain() as plain:
        here, elsewhere = PATHS if transport == "streamable-http" else PATHS[::-1]
        assert (await plain.get(elsewhere)).status_code == 404
        async with server.client(here, MODERN) as client:
            assert (await client.list_tools()).tools


async def test_local_files_are_no_sources_unless_folders_are_named(home: Path) -> None:
    clip = home / "clip.mp4"
    clip.write_bytes(film())
    ask = ASK | {"source_video_url": str(clip), "wait_seconds": 0}
    async with hosted(home) as server, server.client("/mcp", MODERN) as client:
        refused = await client.call_tool("modify_video", ask)
        assert structured(refused)["error"]["code"] == "source_not_allowed"
        assert str(home) not in structured(refused)["error"]["hint"]
    async with hosted(home, media_roots=str(home)) as server, server.client("/mcp", MODERN) as client:
        assert structured(await client.call_tool("modify_video", ask))["task_id"]


async def test_what_files_there_are_outside_the_named_folders_is_not_told(home: Path) -> None:
    inside, outside = home / "in", home / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "clip.mp4").write_bytes(film())
    (inside / "link.mp4").symlink_to(outside / "clip.mp4")
    async with hosted(home, media_roots=str(inside)) as server, server.client("/mcp", MODERN) as client:
        told = [
            await client.call_tool("modify_video", ASK | {"source_video_url": str(path)})
            for path in (
                outside / "clip.mp4",
                outside / "none.mp4",
                inside / "link.mp4",
                inside / "none.mp4",
                "/bin/sh",
            )
        ]
    assert len({str(structured(answer)) for answer in told}) == 1
    assert str(home) not in str(told[0])


async def test_results_are_links_and_not_files_unless_saving_is_chosen(home: Path) -> None:
    async with hosted(home, runs=True) as server, server.client("/mcp", MODERN) as client:
        assert "saved on the user's disk" not in (client.instructions or "")
        task = structured(await client.call_tool("modify_video", ASK))
        assert (task["video_path"], len(task["video_urls"])) == ("", 1)
        assert task["next_step"].startswith("Give the user the link")
    async with hosted(home, runs=True, save="auto") as server, server.client("/mcp", MODERN) as client:
        task = structured(await client.call_tool("modify_video", ASK | {"prompt": "snow"}))
        assert Path(task["video_path"]).is_file()


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_the_clients_token_goes_no_further(home: Path, path: str, era: str) -> None:
    async with hosted(home, runs=True, auth_tokens=PAIRS) as server:
        async with server.client(path, era, "ann") as client:
            await client.call_tool("modify_video", ASK)
        sent = json.dumps([dict(seen.headers) for seen in server.sandbox.recorded_requests])
    assert "Bearer runapi_live_" in sent
    assert TOKENS["ann"] not in sent


async def joins_and_pays_nothing(server: Hosted, client: Client) -> None:
    """Repeat the call, and get the result of the task that went on."""
    server.finish_tasks()
    done: CallToolResult = await client.call_tool("modify_video", ASK)
    assert (structured(done)["status"], structured(done)["joined"]) == ("completed", True)
    assert server.task_count() == 1


async def test_over_http_the_link_comes_before_a_path_that_only_the_server_can_open(home: Path) -> None:
    async with hosted(home, runs=True, save="auto") as server, server.client("/mcp", MODERN) as client:
        task = structured(await client.call_tool("modify_video", ASK))
        assert task["next_step"].startswith("Give the user the link in video_urls; it works until expires_at.")
        assert task["video_path"] in task["next_step"]
        assert "saved on the user's disk" not in (client.instructions or "")
        later = structured(await client.call_tool("get_task", {"task_id": task["task_id"]}))
        assert later["next_step"] == task["next_step"]


@pytest.mark.parametrize("folders", [{}, {"media_roots": "/tmp"}])  # noqa: S108 - nothing is written there
async def test_files_are_offered_as_sources_only_where_they_can_be_used(home: Path, folders: dict[str, Any]) -> None:
    async with hosted(home, **folders) as server, server.client("/mcp", MODERN) as client:
        tool = next(tool for tool in (await client.list_tools()).tools if tool.name == "modify_video")
        assert ("file://" in tool.input_schema["properties"]["source_video_url"]["description"]) is bool(folders)


def test_settings_without_a_key_are_pointed_out() -> None:
    assert missing_key_warning(load_settings()).startswith("There is no RunAPI key: nothing can be submitted.")
    for good in ({"api_key": KEY}, {"sandbox": True}, {"api_key": KEY, "auth_tokens": PAIRS, "allowed_hosts": "a.x"}):
        assert missing_key_warning(load_settings(**good)) == ""


def test_a_person_is_told_the_address_of_each_transport_as_it_can_be_typed() -> None:
    for host, shown in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as opened:
            base = f"http://{shown}:{opened.getsockname()[1]}"
            for transport, paths in (("http", f"{base}/mcp and {base}/sse "), ("sse", f"{base}/sse ")):
                assert f" at {paths}(" in banner(load_settings(transport=transport), opened)
