"""The token of this user's own clients over HTTP: who has it, where it is kept, and where it never appears."""

import json
import logging
import re
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError
from mcp_types import INVALID_PARAMS, ResourceTemplateReference
from starlette.authentication import SimpleUser

from luma_mcp.cli.logs import RedactingFormatter
from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.core.uris import TASK_TEMPLATE, TASKS_URI, task_uri
from luma_mcp.hosts import formats
from luma_mcp.hosts.registry import ENTRY_NAME, Host
from luma_mcp.server.context import caller_of
from luma_mcp.transports.auth import (
    TOKEN_FILE,
    ensure_local_token,
    is_own_host,
    is_own_origin,
    own_host_names,
    with_local_token,
)
from luma_mcp.transports.bearer import TokenRefused
from luma_mcp.transports.static_tokens import StaticTokens
from tests.support.change_listener import LIST, ChangeRecorder, listening_to_changes, subscribe
from tests.support.http_server import ASK, PAIRS, TOKENS, WAYS, Hosted, bearer, event_stream, hosted
from tests.support.raw_http import ACCEPT, initialize, rpc
from tests.support.rig import ERAS, make_pipe, structured
from tests.support.sandbox_process import SERVER, server_environment

FORGED = b"forged-by-somebody-else-0123456789-abcdefgh\n"
pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
LEGACY, MODERN = ERAS


def test_a_token_is_made_once_and_kept_for_this_user_only(home: Path) -> None:
    folder = home / "a" / "data"
    token = ensure_local_token(folder).get_secret_value()
    path = folder / TOKEN_FILE
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert path.read_text() == f"{token}\n"
    assert ensure_local_token(folder).get_secret_value() == token
    assert list(folder.iterdir()) == [path], "nothing else is left"
    assert ensure_local_token(home / "b").get_secret_value() != token


def test_servers_that_start_at_once_agree_on_one_token(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = {token.get_secret_value() for token in pool.map(ensure_local_token, [home / "data"] * 64)}
    assert tokens == {(home / "data" / TOKEN_FILE).read_text().strip()}


def test_a_name_that_a_killed_process_has_reserved_holds_nothing_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            ensure_local_token(home)
    assert (home / TOKEN_FILE).read_bytes() == b""
    token = ensure_local_token(home).get_secret_value()
    assert (home / TOKEN_FILE).read_text() == f"{token}\n"
    assert stat.S_IMODE((home / TOKEN_FILE).stat().st_mode) == 0o600 or sys.platform == "win32"
    assert ensure_local_token(home).get_secret_value() == token


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o666, 0o644, 0o620, 0o604, 0o660])
def test_a_token_that_others_could_open_is_not_taken(home: Path, mode: int) -> None:
    (home / TOKEN_FILE).write_bytes(FORGED)
    (home / TOKEN_FILE).chmod(mode)
    refused(home, "other users may open it")


@pytest.mark.parametrize(
    "content", [b"\n", b"short\n", FORGED[:-1], FORGED * 2, b"\xff" * 43 + b"\n", b"x" * 1_000_000]
)
def test_what_is_no_token_is_not_taken(home: Path, content: bytes) -> None:
    (home / TOKEN_FILE).write_bytes(content)
    (home / TOKEN_FILE).chmod(0o600)
    refused(home, "")


def test_a_link_a_folder_and_a_pipe_are_not_taken_or_waited_for(home: Path) -> None:
    (home / "elsewhere").write_bytes(FORGED)
    (home / "elsewhere").chmod(0o600)
    place = home / TOKEN_FILE
    place.symlink_to(home / "elsewhere")
    refused(home, "it is a link")
    place.unlink()
    place.symlink_to(home / "nowhere")
    refused(home, "it is a link")
    assert not (home / "nowhere").exists()
    place.unlink()
    place.mkdir()
    refused(home, "regular file")
    place.rmdir()
    make_pipe(place)
    refused(home, "regular file")


def test_a_folder_that_takes_no_token_is_told(home: Path) -> None:
    (home / "file").touch()
    refused(home / "file", "")


def refused(folder: Path, why: str) -> None:
    """Expect one line that says what is wrong with the token's file and what helps, and nothing of the token."""
    with pytest.raises(BadSetting) as raised:
        ensure_local_token(folder)
    message = raised.value.message
    assert message.startswith(f"LUMA_MCP_DATA_DIR: the token in {folder / TOKEN_FILE} cannot be used: ")
    assert why in message
    assert "\n" not in message
    assert FORGED.decode().strip() not in message


def test_the_token_is_taken_out_of_logs_and_texts(home: Path) -> None:
    settings = with_local_token(load_settings())
    token = ensure_local_token(settings.data_dir).get_secret_value()
    record = logging.makeLogRecord({"msg": "heard %s", "args": (token,)})
    assert RedactingFormatter(settings).format(record).endswith("heard [secret]")
    assert token not in repr(settings) + str(settings)
    assert settings.callers == ()


def test_named_callers_and_none_make_no_token(home: Path) -> None:
    for tokens in ("none", "ann:0123456789abcdef"):
        settings = load_settings(auth_tokens=tokens)
        assert with_local_token(settings) == settings
    assert not load_settings().data_dir.exists()


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_with_the_token_one_is_the_user_of_this_machine(home: Path, path: str, era: str) -> None:
    async with hosted(home, auth_tokens=None, runs=True) as server:
        assert server.own_token
        async with server.client(path, era) as client:
            task = structured(await client.call_tool("modify_video", ASK))
        assert [found.caller for found in (await server.app.list_tasks("local", "", 20, ""))[0]] == ["local"]
        async with server.client(path, era) as client:
            again = structured(await client.call_tool("get_task", {"task_id": task["task_id"]}))
        assert again["status"] == "completed"
        sent = json.dumps([dict(seen.headers) for seen in server.sandbox.recorded_requests])
        assert server.own_token["Authorization"] not in sent


@pytest.mark.anyio
@pytest.mark.sockets
async def test_whoever_has_not_the_token_stays_outside(home: Path) -> None:
    async with hosted(home, auth_tokens=None) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as other:
            for shown in (
                {},
                {"Authorization": "Bearer local"},
                {"Authorization": "Bearer " + FORGED.decode().strip()},
            ):
                assert (await other.get("/mcp", headers=ACCEPT | shown)).status_code == 401
                assert (await other.get("/sse", headers=shown)).status_code == 401
        async with server.plain() as own:
            assert (await own.get("/mcp", headers=ACCEPT)).status_code == 400


def test_a_server_says_where_the_token_is_and_never_what_it_is(home: Path) -> None:
    wanted = {"LUMA_MCP_TRANSPORT": "http", "LUMA_MCP_PORT": "0", "LUMA_MCP_SANDBOX": "true"}
    environment = server_environment(home, "https://runapi.ai", **wanted)
    with subprocess.Popen(SERVER, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        banner = process.stderr.readline()
        address = banner.split("/mcp")[0].split()[-1]
        printed = subprocess.run([*SERVER, "token"], env=environment, capture_output=True, text=True, check=True)
        shown = {"Authorization": f"Bearer {printed.stdout.strip()}"}
        with httpx.Client(base_url=address, trust_env=False) as client:
            assert client.get("/mcp", headers=ACCEPT).status_code == 401
            assert client.get(f"/mcp?token={printed.stdout.strip()}", headers=ACCEPT | shown).status_code == 400
        process.terminate()
        assert process.wait(20) == 0
        logged = banner + process.stderr.read()
    assert "luma-mcp token" in banner
    assert printed.stdout.strip() not in logged


def entry_of(host: Host, text: str) -> dict[str, object]:
    """Read the entry of this server."""
    found: object = formats.parse_document(host.file_format, text)
    for name in (*host.servers, ENTRY_NAME):
        found = dict(found)[name] if isinstance(found, dict) else {}
    return dict(found) if isinstance(found, dict) else {}


def test_both_eras_are_tried() -> None:
    assert {era for _, era in WAYS} == set(ERAS)


@asynccontextmanager
async def two_callers(home: Path, path: str, era: str, **changes: Any) -> AsyncGenerator[tuple[Hosted, Client, Client]]:
    """Serve a client of each of two callers."""
    async with (
        hosted(home, runs=True, auth_tokens=PAIRS, **changes) as server,
        server.client(path, era, "ann") as ann,
        server.client(path, era, "bob") as bob,
    ):
        yield server, ann, bob


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_a_task_of_another_caller_is_not_there(home: Path, path: str, era: str) -> None:
    async with two_callers(home, path, era) as (_, ann, bob):
        task_id = structured(await ann.call_tool("modify_video", ASK))["task_id"]
        assert structured(await ann.call_tool("get_task", {"task_id": task_id}))["status"] == "completed"

        asked = structured(await bob.call_tool("get_task", {"task_id": task_id}))
        unknown = structured(await bob.call_tool("get_task", {"task_id": "x" * len(task_id)}))
        assert asked["error"]["code"] == "task_not_found"
        assert str(asked).replace(task_id, "x" * len(task_id)) == str(unknown)
        assert structured(await bob.call_tool("list_tasks", {})) == {"tasks": [], "next_cursor": ""}
        chained = await bob.call_tool("modify_video", ASK | {"source_video_url": task_uri(task_id)})
        assert structured(chained)["error"]["code"] == "source_not_found"


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_resources_prompts_and_completions_of_another_caller_are_not_there(
    home: Path, path: str, era: str
) -> None:
    async with two_callers(home, path, era) as (_, ann, bob):
        task_id = structured(await ann.call_tool("modify_video", ASK))["task_id"]
        assert len((await ann.list_resources()).resources) == 2

        assert [resource.uri for resource in (await bob.list_resources()).resources] == [TASKS_URI]
        template = ResourceTemplateReference(type="ref/resource", uri=TASK_TEMPLATE)
        assert not (await bob.complete(template, {"name": "task_id", "value": ""})).completion.values
        refused = [
            bob.read_resource(task_uri(task_id)),
            bob.get_prompt("edit_again", {"task_id": task_id, "change": "snow"}),
            *([subscribe(bob, task_uri(task_id))] if era == LEGACY else []),
        ]
        for request in refused:
            with pytest.raises(MCPError) as refusal:
                await request
            assert refusal.value.error.code == INVALID_PARAMS


@pytest.mark.parametrize(("path", "era"), WAYS)
async def test_a_caller_hears_nothing_of_anothers_tasks(home: Path, path: str, era: str) -> None:
    heard = ChangeRecorder()
    async with (
        hosted(home, runs=True, auth_tokens=PAIRS) as server,
        server.client(path, era, "ann") as ann,
        server.client(path, era, "bob", message_handler=heard.message) as bob,
        listening_to_changes(bob, heard, era, [TASKS_URI]),
    ):
        await ann.call_tool("modify_video", ASK)
        assert not heard.changes
        await bob.call_tool("modify_video", ASK | {"wait_seconds": 0})
        await heard.expect(TASKS_URI, LIST)


async def test_the_same_request_of_two_callers_is_two_tasks(home: Path) -> None:
    async with two_callers(home, "/mcp", MODERN) as (server, ann, bob):
        of_ann = structured(await ann.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        of_bob = structured(await bob.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        assert (of_ann["joined"], of_bob["joined"], server.task_count()) == (False, False, 2)


async def test_a_video_is_saved_once_for_its_own_caller_only(home: Path) -> None:
    async with two_callers(home, "/mcp", MODERN) as (_, ann, bob):
        task_id = structured(await ann.call_tool("modify_video", ASK))["task_id"]
        refused = await bob.call_tool("save_video", {"task_id": task_id})
        assert structured(refused)["error"]["code"] == "task_not_found"
        assert not (home / "out").exists()
        saved = structured(await ann.call_tool("save_video", {"task_id": task_id, "filename": "fog"}))
        assert saved["video_path"] == str(home / "out" / "fog.mp4")
        assert saved["next_step"].startswith("Give the user the link in video_urls")
        for name in ("snow", "rain"):
            again = structured(await ann.call_tool("save_video", {"task_id": task_id, "filename": name}))
            assert again["video_path"] == saved["video_path"]
        assert [path.name for path in (home / "out").iterdir()] == ["fog.mp4"]


async def test_a_caller_is_told_of_its_own_spending_only(home: Path) -> None:
    async with two_callers(home, "/mcp", MODERN, daily_limit=3) as (_, ann, bob):
        await ann.call_tool("modify_video", ASK)
        spent = [structured(await caller.call_tool("check_account", {})) for caller in (ann, bob)]
    assert [told["server_spent_total_usd"] for told in spent] == [0.5, 0]
    assert [told["tasks_left"] for told in spent] == [2, 3]
    for told in spent:
        assert told["price_usd"] == 0.5
        assert not {"account_spent_today_usd", "account_spent_total_usd"} & told.keys()


@pytest.mark.parametrize("limit", ["max_active", "daily_limit"])
async def test_each_caller_has_limits_of_its_own(home: Path, limit: str) -> None:
    async with (
        hosted(home, auth_tokens=PAIRS, runs=False, **{limit: 1}) as server,
        server.client("/mcp", MODERN, "ann") as ann,
        server.client("/mcp", MODERN, "bob") as bob,
    ):
        for client in (ann, bob):
            assert structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 0}))["task_id"]
            more = await client.call_tool("modify_video", ASK | {"prompt": "snow", "wait_seconds": 0})
            assert structured(more)["error"]["code"] == "limit_reached"
            assert re.search(r"\b1\b", structured(more)["error"]["message"])


async def test_two_tokens_of_one_name_are_one_caller(home: Path) -> None:
    pairs = f"ann:{TOKENS['ann']},ann:{TOKENS['bob']}"
    async with (
        hosted(home, auth_tokens=pairs) as server,
        server.client("/mcp", MODERN, "ann") as old,
        server.client("/sse", LEGACY, "bob") as new,
    ):
        task = structured(await old.call_tool("modify_video", ASK | {"wait_seconds": 0}))
        assert structured(await new.call_tool("get_task", {"task_id": task["task_id"]}))["task_id"] == task["task_id"]


async def test_the_session_of_another_caller_is_not_there(home: Path) -> None:
    async with hosted(home, auth_tokens=PAIRS) as server, server.plain() as plain:
        of_ann = await initialize(plain, "/mcp", ACCEPT | bearer("ann"))
        listing = rpc("tools/list", {})
        for headers, status in ((bearer("ann"), 200), (bearer("bob"), 404)):
            answer = await plain.post("/mcp", headers=ACCEPT | of_ann | headers, json=listing)
            assert answer.status_code == status
        assert (await plain.delete("/mcp", headers=ACCEPT | of_ann | bearer("bob"))).status_code == 404

        async with event_stream(plain, bearer("ann")) as (address, _):
            assert (await plain.post(address, headers=bearer("bob"), json=listing)).status_code == 404
            assert (await plain.post(address, headers=bearer("ann"), json=listing)).status_code == 202


KNOWN = frozenset({"localhost", "127.0.0.1", "[::1]", "mcp.example.com", "proxy.example.com:8443"})


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("LOCALHOST:8000", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("mcp.example.com", True),
        ("mcp.example.com.:443", True),
        ("proxy.example.com:8443", True),
        ("proxy.example.com", False),
        ("proxy.example.com:443", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:localhost", False),
        ("localhost:8000@evil.example", False),
        ("mcp.example.com:443:443", False),
        ("127.0.0.1.evil.example:80", False),
        ("[::1", False),
        ("::1", False),
        ("", False),
    ],
)
def test_a_server_goes_by_its_names_only(host: str, known: bool) -> None:
    assert is_own_host(host, KNOWN) is known


@pytest.mark.parametrize(
    ("origin", "known"),
    [
        ("http://localhost:3000", True),
        ("https://mcp.example.com", True),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("file://localhost", False),
        ("http://localhost:3000/path", False),
        ("http://localhost@evil.example", False),
    ],
)
def test_only_own_web_pages_may_call(origin: str, known: bool) -> None:
    assert is_own_origin(origin, KNOWN) is known


def test_a_server_knows_the_names_it_was_given() -> None:
    loopback = {"localhost", "127.0.0.1", "[::1]"}
    assert own_host_names(load_settings(host="0.0.0.0")) == loopback
    settings = load_settings(host="192.168.1.5", allowed_hosts="MCP.example.com, a:1", public_url="https://b.example/x")
    assert own_host_names(settings) == loopback | {"192.168.1.5", "mcp.example.com", "a:1"}
    assert own_host_names(with_local_token(settings)) == loopback | {
        "192.168.1.5",
        "mcp.example.com",
        "a:1",
        "b.example",
    }
    behind_tokens = load_settings(auth_tokens=PAIRS, public_url="https://b.example/x")
    assert own_host_names(behind_tokens) == loopback | {"b.example"}
    assert own_host_names(load_settings(host="fd00::1")) == loopback | {"[fd00::1]"}


def test_whoever_came_past_the_check_of_tokens_is_nobody() -> None:
    settings = load_settings(transport="http", auth_tokens=PAIRS)
    ctx: Any = SimpleNamespace(request=None, lifespan_context=SimpleNamespace(settings=settings))
    with pytest.raises(PermissionError):
        caller_of(ctx)
    ctx.request = SimpleNamespace(user=SimpleUser("ann"))
    with pytest.raises(PermissionError):
        caller_of(ctx)


UNMEANT = (
    *("ann", "ann:", ":token", "ann:token,bob", "a b:token", "ann:to ken-token", "ann:tökèn-token", "local:token"),
    *("ann:token,bob:token", "ann:${token}", "ann:<your token>", "ann/x:token", "ann:token,,:", "ann:changeme-token"),
    *("ann:your-token", "ann:undefined-token", "ann:{token}", "ann:$(token)", "ann:token;bob:token"),
)


@pytest.mark.parametrize(
    "pairs",
    [
        *(pairs.replace("token", "token-0123456789") for pairs in UNMEANT),
        *(
            "${TOKENS}",
            "<tokens>",
            "ann:***",
            "nobody",
            "none,none",
            "none:0123456789abcdef,"[:-2],
            "ann:x",
            ",",
            " , ",
        ),
        *("ann:0123456789abcde", f"{PAIRS},eve:short", "ann:aaaaaaaaaaaaaaa", "ann:                 x"),
    ],
)
def test_tokens_that_nobody_meant_are_refused_without_being_repeated(pairs: str) -> None:
    with pytest.raises(BadSetting) as refused:
        load_settings(auth_tokens=pairs)
    assert refused.value.message.startswith("LUMA_MCP_AUTH_TOKENS: accepts name:token pairs")
    assert "token,bob" not in str(refused.value)


@pytest.mark.parametrize("hosts", ["*", "https://a.example", "a.example/x", "a b", "*.example.com", "a:port"])
def test_hosts_that_are_no_names_are_refused(hosts: str) -> None:
    with pytest.raises(BadSetting, match="LUMA_MCP_ALLOWED_HOSTS"):
        load_settings(allowed_hosts=hosts)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "ftp://example.com",
        "example.com",
        "https://a:b@example.com",
        "http://192.168.1.5",
        "https://a.example/#f",
        "https://a.example:99999",
    ],
)
def test_an_address_that_cannot_be_called_back_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match="LUMA_MCP_PUBLIC_URL"):
        load_settings(public_url=url)


async def test_a_token_says_who_calls_and_is_kept_nowhere() -> None:
    callers = StaticTokens(load_settings(auth_tokens="ann:0123456789abcdef,bob:0123456789abcdefg"))
    known = await callers.verify_token("0123456789abcdefg")
    assert (known.client_id, known.token) == ("bob", "")
    for wrong in ("", "0123456789abcde", "0123456789abcdefgh", "0123456789ABCDEF", "ann:0123456789abcdef", "ä"):
        with pytest.raises(TokenRefused):
            await callers.verify_token(wrong)
