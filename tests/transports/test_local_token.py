"""The token of this user's own clients over HTTP: who has it, where it is kept, and where it never appears."""

import json
import logging
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.logs import Redacting
from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.hosts import documents
from luma_mcp.hosts.addresses import names_of
from luma_mcp.hosts.known import NAME, Host, known_hosts
from luma_mcp.transports.local_token import TOKEN_FILE, local_token, with_local_token
from tests.support.hosted import ASK, WAYS, hosted
from tests.support.raw import ACCEPT
from tests.support.rig import ERAS, facts, make_pipe
from tests.support.served import SERVER, server_environment

FORGED = b"forged-by-somebody-else-0123456789-abcdefgh\n"


def test_a_token_is_made_once_and_kept_for_this_user_only(home: Path) -> None:
    folder = home / "a" / "data"
    token = local_token(folder).get_secret_value()
    path = folder / TOKEN_FILE
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert path.read_text() == f"{token}\n"
    assert local_token(folder).get_secret_value() == token
    assert list(folder.iterdir()) == [path], "nothing else is left"
    assert local_token(home / "b").get_secret_value() != token


def test_servers_that_start_at_once_agree_on_one_token(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = {token.get_secret_value() for token in pool.map(local_token, [home / "data"] * 64)}
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
            local_token(home)
    assert (home / TOKEN_FILE).read_bytes() == b""
    token = local_token(home).get_secret_value()
    assert (home / TOKEN_FILE).read_text() == f"{token}\n"
    assert stat.S_IMODE((home / TOKEN_FILE).stat().st_mode) == 0o600 or sys.platform == "win32"
    assert local_token(home).get_secret_value() == token


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
        local_token(folder)
    message = raised.value.message
    assert message.startswith(f"LUMA_MCP_DATA_DIR: the token in {folder / TOKEN_FILE} cannot be used: ")
    assert why in message
    assert "\n" not in message
    assert FORGED.decode().strip() not in message


def test_the_command_prints_the_token_and_nothing_else_on_stdout(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token"]) == 0
    told = capsys.readouterr()
    token = local_token(load_settings().data_dir).get_secret_value()
    assert (told.out, told.err) == (f"{token}\n", "")
    for tokens, word in (("none", "none"), ("ann:0123456789abcdef", "tokens of ann")):
        monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", tokens)
        assert main(["token"]) == 0
        told = capsys.readouterr()
        assert told.out == f"{token}\n"
        assert word in told.err
        assert "0123456789abcdef" not in told.err


def test_the_token_is_taken_out_of_logs_and_texts(home: Path) -> None:
    settings = with_local_token(load_settings())
    token = local_token(settings.data_dir).get_secret_value()
    record = logging.makeLogRecord({"msg": "heard %s", "args": (token,)})
    assert Redacting(settings).format(record).endswith("heard [secret]")
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
            task = facts(await client.call_tool("modify_video", ASK))
        assert [found.caller for found in (await server.app.list_tasks("local", "", 20, ""))[0]] == ["local"]
        async with server.client(path, era) as client:
            again = facts(await client.call_tool("get_task", {"task_id": task["task_id"]}))
        assert again["status"] == "completed"
        sent = json.dumps([dict(seen.headers) for seen in server.sandbox.seen])
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


HOSTS = [host for host in known_hosts().values() if names_of(host)]
ENTRIES: dict[str, tuple[str, str, str, dict[str, object]]] = {
    "lm-studio": ("mcpServers", "url", "headers", {}),
    "cursor": ("mcpServers", "url", "headers", {}),
    "vscode": ("servers", "url", "headers", {"type": "http"}),
    "windsurf": ("mcpServers", "serverUrl", "headers", {}),
    "zed": ("context_servers", "url", "headers", {}),
    "claude-code": ("mcpServers", "url", "headers", {"type": "http"}),
    "codex": ("mcp_servers", "url", "http_headers", {"startup_timeout_sec": 60, "tool_timeout_sec": 300}),
    "gemini-cli": ("mcpServers", "httpUrl", "headers", {}),
    "openclaw": ("mcp", "url", "headers", {"transport": "streamable-http", "requestTimeoutMs": 300_000}),
    "hermes": ("mcp_servers", "url", "headers", {"timeout": 300, "connect_timeout": 60}),
    "goose": (
        "extensions",
        "uri",
        "headers",
        {
            "enabled": True,
            "type": "streamable_http",
            "name": "luma",
            "description": "Modify videos with Luma at RunAPI",
            "timeout": 300,
        },
    ),
}


def entry_of(host: Host, text: str) -> dict[str, object]:
    """Read the entry of this server."""
    found: object = documents.read(host.form, text)
    for name in (*host.servers, NAME):
        found = dict(found)[name] if isinstance(found, dict) else {}
    return dict(found) if isinstance(found, dict) else {}


def name_of(host: Host) -> str:
    return host.name


@pytest.mark.parametrize("host", HOSTS, ids=name_of)
def test_a_host_gets_the_address_and_the_token_in_its_own_words(
    host: Host, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, url, headers, more = ENTRIES[host.name]
    for words in ([], ["--write"], ["--write"]):
        assert main(["config", host.name, "--transport", "http", "--port", "8123", *words]) == 0
    shown = {"Authorization": f"Bearer {local_token(load_settings().data_dir).get_secret_value()}"}
    wanted = {**more, url: "http://127.0.0.1:8123/mcp", headers: shown}
    text = host.file().read_text(encoding="utf-8")
    assert entry_of(host, text) == wanted
    told = capsys.readouterr()
    assert entry_of(host, told.out.partition(str(host.file()))[0]) == wanted
    assert "start the server there yourself" in told.err
    assert "nothing was changed" in told.err
    assert stat.S_IMODE(host.file().stat().st_mode) == 0o600
    assert shown["Authorization"].split()[1] not in told.err


@pytest.mark.parametrize("host", HOSTS, ids=name_of)
def test_a_new_token_and_the_rest_of_an_entry_go_together(host: Host, home: Path) -> None:
    assert main(["config", host.name, "--transport", "http", "--write"]) == 0
    old = entry_of(host, host.file().read_text(encoding="utf-8"))
    changes = {(*host.servers, NAME, "mine"): "kept"}
    host.file().write_text(documents.changed(host.form, host.file().read_text(encoding="utf-8"), changes))
    (load_settings().data_dir / TOKEN_FILE).unlink()
    assert main(["config", host.name, "--transport", "http", "--write"]) == 0
    new = entry_of(host, host.file().read_text(encoding="utf-8"))
    headers = ENTRIES[host.name][2]
    token = local_token(load_settings().data_dir).get_secret_value()
    assert new == {**old, headers: {"Authorization": f"Bearer {token}"}, "mine": "kept"}


def test_hosts_that_cannot_connect_say_so_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, transport in (("claude-desktop", "http"), ("codex", "sse"), ("goose", "sse")):
        assert main(["config", name, "--transport", transport]) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert known_hosts()[name].title in told.err


def test_the_older_transport_and_a_public_name_are_written_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, name, key, url in (
        (["--transport", "sse"], "gemini-cli", "url", "http://127.0.0.1:8000/sse"),
        (["--transport", "sse", "--host", "::1"], "cursor", "url", "http://[::1]:8000/sse"),
        (["--transport", "http", "--host", "0.0.0.0"], "cursor", "url", "http://127.0.0.1:8000/mcp"),
        (["--transport", "http", "--public-url", "https://a.example/x"], "cursor", "url", "https://a.example/x/mcp"),
    ):
        assert main(["config", name, *words]) == 0
        assert entry_of(known_hosts()[name], capsys.readouterr().out)[key] == url


def test_an_entry_follows_who_may_come_in(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cursor = known_hosts()["cursor"]
    monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", "none")
    assert main(["config", "cursor", "--transport", "http"]) == 0
    assert entry_of(cursor, capsys.readouterr().out) == {"url": "http://127.0.0.1:8000/mcp"}
    monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", "ann:0123456789abcdef")
    assert main(["config", "cursor", "--transport", "http"]) == 0
    told = capsys.readouterr()
    assert entry_of(cursor, told.out)["headers"] == {"Authorization": "Bearer your token"}
    assert "Put a token of LUMA_MCP_AUTH_TOKENS" in told.err
    assert "0123456789abcdef" not in told.out + told.err


@pytest.mark.parametrize(
    "there",
    [
        {"command": "/x/luma-mcp"},
        {"url": "https://mcp.lumalabs.example/mcp"},
        {"url": 5},
        {"url": "http://[::1/mcp"},
        "text",
    ],
)
def test_another_entry_of_the_name_is_left_alone(home: Path, there: object) -> None:
    path = known_hosts()["cursor"].file()
    path.parent.mkdir()
    path.write_text(json.dumps({"mcpServers": {NAME: there}}))
    before = path.read_bytes()
    assert main(["config", "cursor", "--transport", "http", "--write"]) == 4
    assert path.read_bytes() == before


def test_flags_that_an_entry_takes_no_notice_of_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, flag in (
        (["--port", "9"], "--port: needs --transport http"),
        (["--transport", "http", "--daily-limit", "5"], "--daily-limit: is for the server"),
        (["--transport", "http", "--sandbox"], "--sandbox: is for the server"),
        (["--transport", "http", "--port", "0"], "LUMA_MCP_PORT: must be the port"),
    ):
        assert main(["config", "cursor", *words]) == 2
        assert capsys.readouterr().err.startswith(flag)


def test_a_file_that_others_may_read_is_pointed_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = known_hosts()["cursor"].file()
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o644)
    assert main(["config", "cursor", "--transport", "http", "--write"]) == 0
    assert f"Other users of this machine may read {path}" in capsys.readouterr().err


def test_both_eras_are_tried() -> None:
    assert {era for _, era in WAYS} == set(ERAS)
