"""What a host's file says of this server already."""

import pytest

from luma_mcp.core.text import Json
from luma_mcp.hosts.existing import ExistingEntry, find_existing, has_own_key
from luma_mcp.hosts.registry import Host, all_hosts
from tests.support.rig import KEY

HOSTS = list(all_hosts().values())


def by_name(host: Host) -> str:
    """Name a test by its host."""
    return host.name


every_host = pytest.mark.parametrize("host", HOSTS, ids=by_name)


@every_host
def test_an_entry_is_read_back_in_the_form_of_each_host(host: Host) -> None:
    env = {"LUMA_MCP_SANDBOX": "true", "LUMA_MCP_DAILY_LIMIT": "5"}
    one = ExistingEntry(host, "luma", host.make_entry("/x/luma-mcp", ["--wait-seconds=30"], env))
    assert (one.uses_sandbox, one.address, one.env) == (True, "", env)
    assert (one.setting("LUMA_MCP_DAILY_LIMIT"), one.setting("LUMA_MCP_WAIT_SECONDS")) == ("5", "30")
    assert one.setting("LUMA_MCP_SAVE") == ""
    real = ExistingEntry(host, "luma", host.make_entry("/x/luma-mcp", [], {"LUMA_MCP_SANDBOX": "false"}))
    assert not real.uses_sandbox


@every_host
def test_our_entry_is_known_by_how_it_starts_whatever_its_name(host: Host) -> None:
    servers = {
        "mine": host.make_entry("/usr/bin/python3", ["-P", "-m", "luma_mcp"], {}),
        "luma": host.make_entry("uvx", ["runapi-luma-mcp@0.1.0"], {}),
        "other": host.make_entry("npx", ["-y", "@x/luma-mcp"], {}),
    }
    document: Json = servers
    for name in reversed(host.servers):
        document = {name: document}
    assert [one.name for one in find_existing(host, document)] == ["luma", "mine"]
    assert find_existing(host, {}) == []


@pytest.mark.parametrize(
    ("name", "url", "known", "is_ours"),
    [
        ("luma", "http://127.0.0.1:8000/mcp", "", True),
        ("luma", "http://localhost:9/sse", "", True),
        ("other", "http://127.0.0.1:8000/mcp", "", False),
        ("luma", "http://127.0.0.1:8000/other", "", False),
        ("luma", "https://mcp.lumalabs.example/mcp", "", False),
        ("luma", "https://a.example/mcp", "https://a.example/mcp", True),
        ("luma", "http://[::1/mcp", "", False),
    ],
)
def test_an_address_is_ours_under_our_name_on_this_machine_or_where_it_was_named(
    name: str, url: str, known: str, is_ours: bool
) -> None:
    document = {"mcpServers": {name: {"url": url}}}
    assert [one.address for one in find_existing(all_hosts()["cursor"], document, known)] == [url] * is_ours


def test_flags_of_an_entry_count_before_its_variables() -> None:
    entry: Json = {"command": "luma-mcp", "args": ["--daily-limit", "3"], "env": {"LUMA_MCP_DAILY_LIMIT": "9"}}
    assert ExistingEntry(all_hosts()["cursor"], "luma", entry).setting("LUMA_MCP_DAILY_LIMIT") == "3"


@pytest.mark.parametrize(
    ("name", "value", "own"),
    [
        ("cursor", "your key", False),
        ("cursor", KEY, True),
        ("cursor", "${env:RUNAPI_API_KEY}", True),
        ("cursor", "$RUNAPI_API_KEY", False),
        ("gemini-cli", "$RUNAPI_API_KEY", True),
        ("vscode", "${input:luma_api_key}", True),
        ("cursor", None, False),
        ("claude-code", None, True),
    ],
)
def test_an_entry_has_a_key_if_it_brings_one_or_its_host_gets_at_one(name: str, value: str | None, own: bool) -> None:
    env = {} if value is None else {"RUNAPI_API_KEY": value}
    assert has_own_key(all_hosts()[name], env) is own
