"""The entry with which a host connects to a server that runs already."""

import json
import stat
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.core.text import Json
from luma_mcp.hosts import formats
from luma_mcp.hosts.http_entries import (
    ServerEndpoint,
    http_entry_changes,
    new_http_entry,
    server_endpoint,
)
from luma_mcp.hosts.registry import ENTRY_NAME, Host, all_hosts
from luma_mcp.transports.auth import TOKEN_FILE, ensure_local_token

HOSTS = [host for host in all_hosts().values() if host.http]
ENTRIES: dict[str, tuple[str, str, str, dict[str, object]]] = {
    "lm-studio": ("mcpServers", "url", "headers", {}),
    "cursor": ("mcpServers", "url", "headers", {}),
    "vscode": ("servers", "url", "headers", {"type": "http"}),
    "devin": ("mcpServers", "url", "headers", {"transport": "http"}),
    "cline": ("mcpServers", "url", "headers", {"type": "streamableHttp", "timeout": 300}),
    "kiro": ("mcpServers", "url", "headers", {}),
    "antigravity": ("mcpServers", "serverUrl", "headers", {}),
    "junie": ("mcpServers", "url", "headers", {}),
    "copilot-cli": ("mcpServers", "url", "headers", {"type": "http", "tools": ["*"], "timeout": 300_000}),
    "opencode": ("mcp", "url", "headers", {"type": "remote", "enabled": True, "oauth": False, "timeout": 300_000}),
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
    found: object = formats.parse_document(host.file_format, text)
    for name in (*host.servers, ENTRY_NAME):
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
    shown = {"Authorization": f"Bearer {ensure_local_token(load_settings().data_dir).get_secret_value()}"}
    wanted = {**more, url: "http://127.0.0.1:8123/mcp", headers: shown}
    text = host.config_path().read_text(encoding="utf-8")
    assert entry_of(host, text) == wanted
    told = capsys.readouterr()
    assert entry_of(host, told.out.partition(str(host.config_path()))[0]) == wanted
    assert "Start the server there yourself" in told.err
    assert "nothing was changed" in told.err
    assert stat.S_IMODE(host.config_path().stat().st_mode) == 0o600
    assert shown["Authorization"].split()[1] not in told.err


@pytest.mark.parametrize("host", HOSTS, ids=name_of)
def test_a_new_token_and_the_rest_of_an_entry_go_together(host: Host, home: Path) -> None:
    assert main(["config", host.name, "--transport", "http", "--write"]) == 0
    old = entry_of(host, host.config_path().read_text(encoding="utf-8"))
    changes = {(*host.servers, ENTRY_NAME, "mine"): "kept"}
    host.config_path().write_text(
        formats.changed(host.file_format, host.config_path().read_text(encoding="utf-8"), changes)
    )
    (load_settings().data_dir / TOKEN_FILE).unlink()
    assert main(["config", host.name, "--transport", "http", "--write"]) == 0
    new = entry_of(host, host.config_path().read_text(encoding="utf-8"))
    headers = ENTRIES[host.name][2]
    token = ensure_local_token(load_settings().data_dir).get_secret_value()
    assert new == {**old, headers: {"Authorization": f"Bearer {token}"}, "mine": "kept"}


def test_hosts_that_cannot_connect_say_so_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, transport in (("claude-desktop", "http"), ("codex", "sse"), ("goose", "sse"), ("junie", "sse")):
        assert main(["config", name, "--transport", transport]) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert all_hosts()[name].title in told.err


def test_the_older_transport_and_a_public_name_are_written_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, name, key, url in (
        (["--transport", "sse"], "gemini-cli", "url", "http://127.0.0.1:8000/sse"),
        (["--transport", "sse", "--host", "::1"], "cursor", "url", "http://[::1]:8000/sse"),
        (["--transport", "http", "--host", "0.0.0.0"], "cursor", "url", "http://127.0.0.1:8000/mcp"),
        (["--transport", "http", "--public-url", "https://a.example/x"], "cursor", "url", "https://a.example/x/mcp"),
    ):
        assert main(["config", name, *words]) == 0
        assert entry_of(all_hosts()[name], capsys.readouterr().out)[key] == url


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
    path = all_hosts()["cursor"].config_path()
    path.parent.mkdir()
    path.write_text(json.dumps({"mcpServers": {ENTRY_NAME: there}}))
    before = path.read_bytes()
    assert main(["config", "cursor", "--transport", "http", "--write"]) == 4
    assert path.read_bytes() == before


SSE = ServerEndpoint("http://127.0.0.1:8000/sse", "", is_sse=True)
TYPED = {"type": "sse", "url": SSE.url}
SSE_ENTRIES: dict[str, Json] = {
    "vscode": TYPED,
    "claude-code": TYPED,
    "devin": {"transport": "sse", "url": SSE.url},
    "cline": {**TYPED, "timeout": 300},
    "antigravity": {"serverUrl": SSE.url},
    "copilot-cli": {**TYPED, "tools": ["*"], "timeout": 300_000},
    "opencode": {"type": "remote", "enabled": True, "oauth": False, "timeout": 300_000, "url": SSE.url},
    "openclaw": {"transport": "sse", "url": SSE.url},
    "hermes": {"transport": "sse", "timeout": 300, "url": SSE.url},
}


@pytest.mark.parametrize("host", [host for host in HOSTS if host.http and host.http.sse is not None], ids=name_of)
def test_a_host_that_speaks_sse_is_told_so_in_its_own_words_without_a_header_for_no_token(host: Host) -> None:
    assert new_http_entry(host, SSE) == SSE_ENTRIES.get(host.name, {"url": SSE.url})


def test_a_port_that_is_not_known_yet_is_no_address(home: Path) -> None:
    with pytest.raises(BadSetting, match="must be the port that the server listens on"):
        server_endpoint(load_settings(transport="http", port=0), "")
    known = server_endpoint(load_settings(transport="http", port=0, public_url="https://a.example"), "x")
    assert known == ServerEndpoint("https://a.example/mcp", "x", is_sse=False)


def test_only_what_differs_in_an_entry_is_changed() -> None:
    host, target = all_hosts()["vscode"], ServerEndpoint("http://127.0.0.1:8000/mcp", "new", is_sse=False)
    there = new_http_entry(host, target) | {"headers": {"Authorization": "Bearer old", "X": "kept"}}
    place = (*host.servers, ENTRY_NAME)
    changes = http_entry_changes(host, {host.servers[0]: {ENTRY_NAME: there}}, target)
    assert changes == {(*place, "headers", "Authorization"): "Bearer new"}
    assert http_entry_changes(host, {}, target) == {place: new_http_entry(host, target)}
