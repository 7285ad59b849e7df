"""Several real servers on one ledger, as when several hosts run at once."""

import json
import shutil
import sqlite3
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import SOURCE
from tests.support.sandbox_process import sandbox_process, server_environment
from tests.system.crashing import ENDING_SECONDS, Crashing, server

SERVERS = 4
PINGS = 20_000  # so many take longer than anything that is awaited
ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 60}
LEDGER = Path(".local/share/luma-mcp/tasks.sqlite3")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with sandbox_process(tmp_path_factory.mktemp("runapi"), seconds=1) as url:
        yield url


@pytest.fixture
def servers(home: Path, url: str) -> Generator[Iterator[Crashing]]:
    """Give servers, each of which starts when it is taken."""
    environment = server_environment(home, url)
    with ExitStack() as stack:
        yield (stack.enter_context(server(environment, home / "log")) for _ in range(SERVERS))


def answers(wire: Crashing, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make calls at once, and give their answers."""
    asked = {wire.send("tools/call", {"name": "modify_video", "arguments": call}) for call in calls}
    found: list[dict[str, Any]] = []
    while len(found) < len(calls):
        message = json.loads(wire.stdout.readline())
        if message.get("id") in asked:
            found.append(message["result"]["structuredContent"])
    return found


def listed(wire: Crashing) -> list[dict[str, Any]]:
    """List the tasks."""
    tasks: list[dict[str, Any]] = wire.call("list_tasks", {})["structuredContent"]["tasks"]
    return tasks


def test_twenty_identical_calls_to_four_servers_make_one_submission(
    home: Path, servers: Iterator[Crashing], url: str
) -> None:
    with ThreadPoolExecutor(SERVERS) as pool:
        found = list(chain.from_iterable(pool.map(answers, list(servers), [[ASK] * 5] * SERVERS)))
    assert len(found) == 20
    assert {task["status"] for task in found} == {"completed"}
    assert len({(task["task_id"], task["video_path"]) for task in found}) == 1
    assert sorted(task["joined"] for task in found) == [False] + [True] * 19


def test_a_clip_counts_by_its_content_whatever_its_path_and_whoever_asks(
    home: Path, servers: Iterator[Crashing]
) -> None:
    for name in ("clip.mp4", "copy of the clip.mov"):
        (home / "Videos").mkdir(exist_ok=True)
        shutil.copy(bundled_clip(), home / "Videos" / name)
    asked = [
        ASK | {"source_video_url": source}
        for source in ("~/Videos/clip.mp4", str(home / "Videos" / "copy of the clip.mov"))
    ]
    with ThreadPoolExecutor(SERVERS) as pool:
        found = list(chain.from_iterable(pool.map(answers, list(islice(servers, 2)), [[asked[0]], [asked[1]]])))
    assert len({task["task_id"] for task in found}) == 1
    assert sorted(task["joined"] for task in found) == [False, True]


def test_an_answer_that_a_host_never_reads_is_there_for_another(home: Path, servers: Iterator[Crashing]) -> None:
    deaf, other = islice(servers, 2)
    deaf.send("tools/call", {"name": "modify_video", "arguments": ASK})
    for meanwhile in ("one", "two"):
        other.call("modify_video", ASK | {"prompt": meanwhile})
    assert [task["status"] for task in listed(other)] == ["completed"] * 3
    again = other.call("modify_video", ASK)["structuredContent"]
    assert (again["status"], again["joined"]) == ("completed", True)


def test_a_host_that_gives_up_drops_the_late_answer_and_asks_again_pays_once(
    home: Path, url: str, servers: Iterator[Crashing]
) -> None:
    wire, other = islice(servers, 2)
    ask = ASK | {"prompt": "dropped"}
    dropped = wire.send("tools/call", {"name": "modify_video", "arguments": ask})
    wire.send("notifications/cancelled", {"requestId": dropped}, notification=True)
    late = wire.call("modify_video", ask)["structuredContent"]
    for asked in (wire, other, wire):
        again = asked.call("modify_video", ask)["structuredContent"]
        assert (again["task_id"], again["joined"]) == (late["task_id"], True)
    assert [task["prompt"] for task in listed(other)].count("dropped") == 1


def test_limits_count_the_tasks_of_all_servers(home: Path, url: str) -> None:
    environment = server_environment(home, url, LUMA_MCP_MAX_ACTIVE="3")
    with ExitStack() as stack:
        servers = [stack.enter_context(server(environment, home / "log")) for _ in range(SERVERS)]
        calls = [[ASK | {"prompt": f"take {number}"}] for number in range(SERVERS)]
        with ThreadPoolExecutor(SERVERS) as pool:
            found = list(chain.from_iterable(pool.map(answers, servers, calls)))
    refused = [task for task in found if "error" in task]
    assert [task["error"]["code"] for task in refused] == ["limit_reached"]
    assert [task["error"]["charged"] for task in refused] == ["no"]


def test_a_client_of_one_server_hears_of_a_task_of_another_server(home: Path, servers: Iterator[Crashing]) -> None:
    ours, theirs = islice(servers, 2)
    ours.receive(ours.send("resources/subscribe", {"uri": "luma://tasks"}))
    task_id = theirs.call("modify_video", ASK | {"wait_seconds": 0})["structuredContent"]["task_id"]
    ours.receive(ours.send("resources/subscribe", {"uri": f"luma://tasks/{task_id}"}))
    wait = {"name": "get_task", "arguments": {"task_id": task_id, "wait_seconds": 60}}
    told = ours.receive(ours.send("tools/call", wait))
    told += ours.receive(ours.send("tools/call", wait | {"arguments": {"task_id": "unknown"}}))
    expected = {
        ("notifications/resources/updated", "luma://tasks"),
        ("notifications/resources/updated", f"luma://tasks/{task_id}"),
        ("notifications/resources/list_changed", None),
    }
    for _ in range(PINGS):
        if notifications(told) >= expected:
            break
        told += ours.receive(ours.send("ping"))
    assert notifications(told) == expected


def notifications(told: list[dict[str, Any]]) -> set[tuple[str, str | None]]:
    return {(message["method"], message.get("params", {}).get("uri")) for message in told if "method" in message}


def test_a_server_answers_at_once_while_another_process_holds_the_lock(home: Path, servers: Iterator[Crashing]) -> None:
    wire = next(servers)
    done = wire.call("modify_video", ASK)["structuredContent"]
    with closing(sqlite3.connect(home / LEDGER, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = wire.send("tools/call", {"name": "modify_video", "arguments": ASK | {"take": 2}})
        seen = wire.send("tools/call", {"name": "get_task", "arguments": {"task_id": done["task_id"]}})
        ping = wire.send("ping")
        order = [json.loads(wire.stdout.readline()) for _ in range(3)]
    assert {message["id"] for message in order[:2]} == {seen, ping}
    error = order[2]["result"]["structuredContent"]["error"]
    assert order[2]["id"] == refused
    assert (error["code"], error["charged"], error["retry_safe"]) == ("output_not_writable", "no", True)


def test_a_signal_in_the_middle_of_a_locked_write_ends_the_process_in_order(
    home: Path, servers: Iterator[Crashing]
) -> None:
    wire = next(servers)
    wire.call("modify_video", ASK)
    with closing(sqlite3.connect(home / LEDGER, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        wire.send("tools/call", {"name": "modify_video", "arguments": ASK | {"prompt": "in flight"}})
        wire.receive(wire.send("ping"))
        wire.process.terminate()
        wire.process.join(ENDING_SECONDS)
        assert wire.process.exitcode == 0


def test_a_damaged_ledger_is_told_once_and_the_servers_go_on(home: Path, url: str) -> None:
    ledger = home / LEDGER
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"what the disk made of it " * 1000)
    with server(server_environment(home, url), home / "log") as wire:
        assert wire.receive(wire.send("tools/list"))[-1]["result"]["tools"]
        told = wire.call("modify_video", ASK)
        assert told["isError"]
        assert "is kept as" in told["structuredContent"]["error"]["message"]
        assert wire.call("modify_video", ASK)["structuredContent"]["status"] == "completed"
    (kept,) = ledger.parent.glob("*.damaged-*")
    assert kept.read_bytes() == b"what the disk made of it " * 1000


def test_each_server_that_had_a_damaged_ledger_open_tells_a_caller(home: Path, servers: Iterator[Crashing]) -> None:
    *wires, idle = servers
    for wire in wires:
        wire.call("modify_video", ASK)
    with (home / LEDGER).open("r+b") as file:
        file.write(b"what the disk made of it " * 1000)
    for wire in wires:
        told = wire.call("modify_video", ASK)["structuredContent"]["error"]
        assert "is kept as" in told["message"]
        assert told["retry_safe"] is False
        assert wire.call("list_tasks", {})["structuredContent"]["tasks"] == []
    assert idle.call("list_tasks", {})["structuredContent"]["tasks"] == []
    assert len(list((home / LEDGER).parent.glob("*.damaged-*"))) == 1


def test_a_task_id_that_cannot_be_one_is_refused(servers: Iterator[Crashing]) -> None:
    wire = next(servers)
    for task_id in ("../../etc/passwd", "a/b", "C:\\clip.mp4", "id\n", "id\nid", "\x00", "", "x" * 300):
        answer = wire.call("get_task", {"task_id": task_id})
        assert answer["isError"], task_id
        assert answer["structuredContent"]["error"]["code"] == "invalid_request", task_id
