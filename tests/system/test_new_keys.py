"""Servers that run, and a `luma-mcp login` beside them: real processes, a home, and a sandbox on a port."""

import json
import socket
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.key_page import page_query
from tests.support.login_page import serving_login_page
from tests.support.rig import SOURCE
from tests.support.runapi_keys import NEW_KEY, runapi_file, write_key
from tests.support.sandbox_process import SERVER, sandbox_process, server_environment
from tests.support.stdio_client import INITIALIZE
from tests.system.crashing import Crashing, server

ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 60}
REFUSED = "invalid"  # the one key that a sandbox refuses


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with sandbox_process(tmp_path_factory.mktemp("runapi"), seconds=1) as url:
        yield url


def command(*words: str, environment: dict[str, str], typed: str = "") -> str:
    """Run a command as a person would in a terminal beside the host, and give what it says."""
    run = subprocess.run([*SERVER, *words], env=environment, input=typed, capture_output=True, text=True, check=True)
    assert run.stdout == ""
    return run.stderr


def log_in(environment: dict[str, str]) -> str:
    return command("login", "--with-key", environment=environment, typed=f"{NEW_KEY}\n")


def asked(wire: Crashing, **more: str) -> dict[str, Any]:
    found: dict[str, Any] = wire.call("modify_video", ASK | more)["structuredContent"]
    return found


def key_ids(home: Path) -> set[str]:
    ledger = home / ".local" / "share" / "luma-mcp" / "tasks.sqlite3"
    with closing(sqlite3.connect(ledger)) as opened:
        return {row[0] for row in opened.execute("SELECT key_id FROM tasks WHERE status = 'completed'")}


def test_two_servers_without_a_key_take_the_one_that_a_login_brings(home: Path, url: str) -> None:
    environment = server_environment(home, url, RUNAPI_API_KEY="")
    with ExitStack() as stack:
        wires = [stack.enter_context(server(environment, home / "log")) for _ in range(2)]
        for wire in wires:
            error = asked(wire)["error"]
            assert error["code"] == "missing_api_key"
            assert "luma-mcp login" in error["hint"]
        assert "one that runs without a key needs no restart" in log_in(environment)
        for number, wire in enumerate(wires):
            assert asked(wire, prompt=f"video {number}")["status"] == "completed"
            assert wire.call("check_account", {})["structuredContent"]["balance_usd"]
    assert NEW_KEY not in (home / "log").read_text(encoding="utf-8")


def test_a_login_after_a_refusal_lets_the_same_call_succeed(home: Path, url: str) -> None:
    environment = server_environment(home, url, RUNAPI_API_KEY="")
    write_key(home, REFUSED, url)
    with server(environment, home / "log") as wire:
        error = asked(wire)["error"]
        assert (error["code"], error["charged"]) == ("invalid_api_key", "no")
        assert "luma-mcp login" in error["hint"]
        log_in(environment)
        task = asked(wire)
        assert (task["status"], task["joined"]) == ("completed", False)
    assert len(key_ids(home)) == 1
    assert "the new one in RunAPI's own file is used" in (home / "log").read_text(encoding="utf-8")
    with server(environment, home / "log") as later:
        assert asked(later)["joined"]
        assert asked(later, prompt="with the key of the file")["status"] == "completed"
    assert len(key_ids(home)) == 1


def test_a_key_of_the_environment_stays_and_the_login_says_so(home: Path, url: str) -> None:
    environment = server_environment(home, url, RUNAPI_API_KEY=REFUSED)
    with server(environment, home / "log") as wire:
        assert asked(wire)["error"]["code"] == "invalid_api_key"
        assert "RUNAPI_API_KEY is set in the environment" in log_in(environment)
        assert asked(wire)["error"]["code"] == "invalid_api_key"


def test_a_key_for_another_address_is_left_alone(home: Path, url: str) -> None:
    with server(server_environment(home, url, RUNAPI_API_KEY=""), home / "log") as wire:
        for address in ("", "https://runapi.example"):
            write_key(home, NEW_KEY, address)
            assert asked(wire)["error"]["code"] == "missing_api_key"
        write_key(home, NEW_KEY, url)
        assert asked(wire)["status"] == "completed"


def test_after_a_logout_a_server_keeps_its_key_and_the_next_one_has_none(home: Path, url: str) -> None:
    environment = server_environment(home, url, RUNAPI_API_KEY="")
    write_key(home, NEW_KEY, url)
    with server(environment, home / "log") as wire:
        assert asked(wire)["status"] == "completed"
        assert "keeps the key until RunAPI refuses it" in command("logout", environment=environment)
        assert json.loads(runapi_file(home).read_text(encoding="utf-8")) == {}
        assert asked(wire, prompt="after the logout")["status"] == "completed"
        with server(environment, home / "log") as later:
            assert asked(later, prompt="later")["error"]["code"] == "missing_api_key"


def test_a_server_killed_while_its_page_is_open_leaves_nothing_and_the_next_one_offers_a_new_page(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INITIALIZE, "capabilities", {"elicitation": {"url": {}}})
    with serving_login_page() as runapi:
        environment = server_environment(home, runapi.url, RUNAPI_API_KEY="")
        with server(environment, home / "log") as wire:
            page = offered_page(wire)["params"]["url"]
            wire.kill()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(page_query(page)["redirect_port"])))
        assert not runapi_file(home).exists()
        with server(environment, home / "log") as later:
            asked = offered_page(later)
            other = asked["params"]["url"]
            assert page_query(other)["state"] != page_query(page)["state"]
            assert runapi.browse(other)
            later.stdin.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}}) + "\n")
            later.stdin.flush()
            answer = later.receive(later.last_id)[-1]["result"]["structuredContent"]
        assert answer["error"]["code"] != "missing_api_key"  # this double makes keys, and no videos
        assert json.loads(runapi_file(home).read_text(encoding="utf-8"))["api_key"] == runapi.keys[0]
    assert runapi.keys[0] not in (home / "log").read_text(encoding="utf-8") + json.dumps(answer)


def offered_page(wire: Crashing) -> dict[str, Any]:
    """Call a tool, and give the question of the server that comes meanwhile."""
    wire.send("tools/call", {"name": "modify_video", "arguments": ASK})
    asked: dict[str, Any] = json.loads(wire.stdout.readline())
    assert (asked["method"], asked["params"]["mode"]) == ("elicitation/create", "url")
    return asked
