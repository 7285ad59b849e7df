"""A real server process on real pipes, against a sandbox on a real socket."""

import json
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client, StdioServerParameters

from luma_mcp.sandbox.requests import foggy_clip
from luma_mcp.transports.stdio_lines import MAX_LINE_BYTES
from tests.support.change_listener import ChangeRecorder
from tests.support.rig import ERAS, KEY, MODERN_META, SOURCE, ProgressRecorder, structured
from tests.support.sandbox_process import SERVER, sandbox_process, server_environment
from tests.support.scenario import live_tasks
from tests.support.stdio_client import StdioClient

ASK: dict[str, Any] = {"prompt": "霧の秋の朝", "source_video_url": SOURCE}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
PATIENCE_SECONDS = 30.0
LEAVING_SECONDS = 2.0  # hosts kill what has not ended by then


@pytest.fixture
def anyio_backend() -> str:
    """Pipes and processes live in real time."""
    return "asyncio"


@pytest.fixture(scope="module")
def sandbox_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture(scope="module")
def url(sandbox_home: Path) -> Generator[str]:
    with sandbox_process(sandbox_home, seconds=2) as url:
        yield url


@dataclass
class Spoken(StdioClient):
    """A server process of its own, spoken to line by line."""

    process: subprocess.Popen[str]


@contextmanager
def started(environment: dict[str, str]) -> Generator[Spoken]:
    """Start a server and shake hands."""
    pipe = subprocess.PIPE
    with subprocess.Popen(SERVER, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        wire = Spoken(process.stdin, process.stdout, process)
        try:
            wire.initialize()
            yield wire
        finally:
            process.kill()


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_the_main_job_over_a_real_process(home: Path, url: str, era: str) -> None:
    told = ProgressRecorder()
    server = StdioServerParameters(command=SERVER[0], args=SERVER[1:], env=server_environment(home, url))
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(server, mode=era) as client:
            result = await client.call_tool("modify_video", ASK | {"prompt": f"{ASK['prompt']} {era}"}, None, told)
    task = structured(result)
    assert task["status"] == "completed"
    assert Path(task["video_path"]).read_bytes() == foggy_clip().read_bytes()
    assert told.values == sorted(set(told.values))
    assert told.values[-1] == 100
    assert len(told.states) >= 2


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_live_tasks_over_a_real_process(home: Path, url: str, era: str) -> None:
    heard = ChangeRecorder()
    server = StdioServerParameters(command=SERVER[0], args=SERVER[1:], env=server_environment(home, url))
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(server, mode=era, message_handler=heard.message) as client:
            await live_tasks(client, heard, era)


def test_stdout_is_the_protocols_alone_and_the_key_is_nowhere(home: Path, url: str) -> None:
    httpx.post(f"{url}/sandbox/faults", json={"kind": "401", "text": f"bad token {KEY}"})
    with started(server_environment(home, url, PYTHONWARNINGS="default")) as wire:
        refused = wire.call("modify_video", ASK)
        done = wire.call("modify_video", ASK)
        unknown = wire.send("no/such/method")
        assert "error" in wire.receive(unknown)[-1]
        output, errors = wire.process.communicate(timeout=PATIENCE_SECONDS)
    assert refused["structuredContent"]["error"]["code"] == "invalid_api_key"
    assert done["structuredContent"]["status"] == "completed"
    assert output == ""
    assert KEY not in errors + json.dumps([refused, done])
    assert "Traceback" not in errors


def test_the_end_of_stdin_ends_the_process_and_a_new_one_finishes_its_tasks(home: Path, url: str) -> None:
    environment = server_environment(home, url)
    with started(environment) as wire:
        for number in range(8):
            wire.call("modify_video", ASK | {"prompt": f"take {number}", "wait_seconds": 0})
        waiting = wire.send("tools/call", {"name": "modify_video", "arguments": ASK})
        wire.stdin.close()
        assert wire.process.wait(LEAVING_SECONDS) == 0
    assert waiting
    with started(environment) as wire:
        listed: list[dict[str, Any]] = []
        while not listed or not all(task["video_path"] for task in listed):
            listed = wire.call("list_tasks", {"limit": 100})["structuredContent"]["tasks"]
            wire.call("get_task", {"task_id": listed[0]["task_id"] or "unknown", "wait_seconds": 1})
    assert len(listed) >= 8
    assert len({task["task_id"] for task in listed}) == len(listed)
    assert len(list((home / "Videos" / "luma").iterdir())) == len(listed)


def test_the_end_of_stdin_ends_the_process_although_the_host_reads_no_answers(home: Path, url: str) -> None:
    with started(server_environment(home, url)) as wire:
        for _ in range(20):  # several times what a pipe holds
            wire.send("tools/list")
        wire.stdin.close()
        assert wire.process.wait(PATIENCE_SECONDS) == 0


def leave(wire: Spoken, number: signal.Signals | None) -> None:
    """End a process by a signal, or by closing its stdin."""
    if number is None:
        wire.stdin.close()
    else:
        wire.process.send_signal(number)
    assert wire.process.wait(LEAVING_SECONDS) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, None])
def test_a_submission_in_the_air_is_answered_and_written_down_before_the_process_ends(
    home: Path, url: str, number: signal.Signals | None
) -> None:
    httpx.post(f"{url}/sandbox/faults", json={"kind": "slow", "seconds": 0.9})
    ask = ASK | {"prompt": f"in the air, {number}"}
    ledger = home / ".local" / "share" / "luma-mcp" / "tasks.sqlite3"
    with started(server_environment(home, url)) as wire:
        wire.send("tools/call", {"name": "modify_video", "arguments": ask})
        while sent(ledger) == []:
            pass
        leave(wire, number)
    assert [len(task_id) for task_id in sent(ledger)] == [36]


def sent(ledger: Path) -> list[str]:
    """Give the ids of tasks that were sent to RunAPI, empty while it has not answered."""
    if not ledger.exists():
        return []
    with closing(sqlite3.connect(ledger)) as db:
        return [task_id for (task_id,) in db.execute("SELECT task_id FROM tasks WHERE attempts > 0")]


def test_the_end_of_stdin_behind_many_requests_ends_the_process_in_time(home: Path, url: str) -> None:
    with started(server_environment(home, url)) as wire:
        lines = [
            json.dumps({"jsonrpc": "2.0", "id": f"many-{number}", "method": "tools/list"}) for number in range(3000)
        ]
        answers: list[str] = []
        reading = threading.Thread(target=lambda: answers.extend(wire.stdout))
        reading.start()
        wire.stdin.write("\n".join(lines) + "\n")
        wire.stdin.close()
        assert wire.process.wait(LEAVING_SECONDS) == 0
        reading.join(PATIENCE_SECONDS)
    assert all(json.loads(answer)["result"]["tools"] for answer in answers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order_while_stdin_is_open(home: Path, url: str, number: signal.Signals) -> None:
    with started(server_environment(home, url)) as wire:
        wire.call("modify_video", ASK | {"wait_seconds": 0})
        wire.send("tools/call", {"name": "modify_video", "arguments": ASK | {"prompt": "in flight"}})
        wire.process.send_signal(number)
        assert wire.process.wait(LEAVING_SECONDS) == 0
        assert wire.process.stderr
        assert "Traceback" not in wire.process.stderr.read()
    ledger = home / ".local" / "share" / "luma-mcp"
    assert {path.name for path in ledger.iterdir()} == {"tasks.sqlite3", "tasks.sqlite3-lock"}, "it was not closed"


def test_the_embedded_sandbox_goes_on_in_a_new_process(home: Path) -> None:
    environment = server_environment(home, "", RUNAPI_API_KEY="", LUMA_MCP_SANDBOX="true")
    with started(environment) as wire:
        made = wire.call("modify_video", ASK | {"wait_seconds": 0})["structuredContent"]
        wire.stdin.close()
        wire.process.wait(LEAVING_SECONDS)
    played = home / ".local" / "share" / "luma-mcp" / "sandbox" / "runapi.sqlite3"
    with closing(sqlite3.connect(played, isolation_level=None)) as state:
        state.execute("UPDATE tasks SET created_at = created_at - 60")  # time passes
    with started(environment) as wire:
        done = wire.call("get_task", {"task_id": made["task_id"], "wait_seconds": 40})["structuredContent"]
    assert done["status"] == "completed"
    assert Path(done["video_path"]).is_file()


def test_a_line_that_is_no_message_is_answered_logged_and_does_not_end_the_server(home: Path, url: str) -> None:
    half = r'{"jsonrpc": "2.0", "id": "half", "method": "tools/call", "params": {"name": "get_task\ud83d"}}'
    odd = [
        "this is no JSON",
        "[]",
        "{}",
        "",
        "\x00",
        half,
        '{"jsonrpc": "2.0", "method": 5}',
        f'"{"x" * MAX_LINE_BYTES}"',
    ]
    with started(server_environment(home, url)) as wire:
        wire.stdin.write("\n".join([*odd, '{"jsonrpc": "2.0", "id": 99, "method": "tools/call"}\n']))
        wire.stdin.flush()
        answers = wire.receive(wire.send("tools/list"))
        assert answers[-1]["result"]["tools"]
        ids = [answer["id"] for answer in answers[:-1] if "error" in answer]
        wire.stdin.write('{"jsonrpc": "2.0", "id": "last", "method": "ping"}')  # and no end of the line
        output, errors = wire.process.communicate(timeout=PATIENCE_SECONDS)
    assert sorted(ids, key=str) == [99, None, None, None, None, None, "half"]
    assert json.loads(output)["id"] == "last"
    assert errors.count("A line on stdin was not understood") == 7
    assert not any(words in errors for words in ("no JSON", "get_task", "xxx", "Traceback"))


def test_half_a_character_before_anything_else_decides_nothing(home: Path, url: str) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        SERVER, env=server_environment(home, url), text=True, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        meta = json.dumps(MODERN_META)
        lines = [
            '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"a": "\\udc00"}}',
            f'{{"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {{"_meta": {meta}}}}}',
        ]
        output, _ = process.communicate("\n".join(lines), timeout=PATIENCE_SECONDS)
    first, second = map(json.loads, output.splitlines())
    assert (first["id"], first["error"]["code"]) == (1, -32600)
    assert (second["id"], len(second["result"]["tools"])) == (2, 6)


@pytest.mark.parametrize("patient", [True, False], ids=["after the answer", "before the answer"])
def test_a_host_that_gave_its_probe_up_may_begin_with_the_handshake(home: Path, url: str, *, patient: bool) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(SERVER, env=server_environment(home, url), text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdin
        assert process.stdout
        wire = Spoken(process.stdin, process.stdout, process)
        probe = wire.send("server/discover", {"_meta": MODERN_META})
        if not patient:
            wire.send("initialize", HELLO)
        assert wire.receive(probe)[-1]["result"]["supportedVersions"]
        if patient:
            wire.send("initialize", HELLO)
        wire.receive(wire.last_id)
        wire.send("notifications/initialized", notification=True)
        assert wire.receive(wire.send("tools/list"))[-1]["result"]["tools"]
        assert wire.call("list_tasks", {})["structuredContent"]["tasks"] == []
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0


def test_every_line_is_answered_also_when_stdin_ends_behind_them(home: Path, url: str) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(SERVER, env=server_environment(home, url), stdin=pipe, stdout=pipe, stderr=pipe) as process:
        output, errors = process.communicate(b"garbage\n" * 2000, timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert output.count(b'"id":null') == len(output.splitlines()) > 0
    assert b"Traceback" not in errors


def test_without_docstrings_everything_that_hosts_see_is_the_same(home: Path, url: str) -> None:
    def seen(optimize: str) -> list[dict[str, Any]]:
        with started(server_environment(home, url, PYTHONOPTIMIZE=optimize)) as wire:
            asked = [wire.send(f"{kind}/list") for kind in ("tools", "resources", "resources/templates", "prompts")]
            answers = {answer["id"]: answer for answer in wire.receive(asked[-1])}
            while len(answers) < len(asked):
                answers |= {answer["id"]: answer for answer in wire.receive(next(iter(set(asked) - answers.keys())))}
            return [answers[number] for number in asked]

    plain, optimized = seen(""), seen("2")
    assert json.dumps(optimized) == json.dumps(plain)
    assert all(tool["description"] for tool in optimized[0]["result"]["tools"])


def test_a_bad_setting_ends_the_start_with_code_2_and_one_line(home: Path) -> None:
    environment = server_environment(home, "", LUMA_MCP_WAIT_SECONDS="soon")
    ended = subprocess.run(SERVER, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "LUMA_MCP_WAIT_SECONDS: accepts a whole number of seconds from 0 to 3600\n"
