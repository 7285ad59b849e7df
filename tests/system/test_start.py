"""What a server for one host loads before it answers: nothing that only other commands, transports or jobs need."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.sandbox_process import SERVER

OTHERS = frozenset(
    {
        "luma_mcp.transports.http",
        "luma_mcp.transports.sockets",
        "luma_mcp.transports.routes",
        "luma_mcp.transports.sse",
        "luma_mcp.transports.gallery",
        "h11",
        "httpcore",  # comes with the first client that is made
        "rich",
        "pygments",  # with which httpx's own command line begins
        "dotenv",
        "pydantic_settings",
        "mcp.server.apps",
        "luma_mcp.app.preview",
        "luma_mcp.media.preview",
        "luma_mcp.media.frames",
        "luma_mcp.sandbox",
        "luma_mcp.hosts.registry",
        "luma_mcp.cli.doctor",
        "luma_mcp.cli.explanations",
        "luma_mcp.release",
        "tomlkit",
        "ruamel.yaml",
        "av",
        "luma_mcp.transports.metrics",
        "opentelemetry.sdk",
        "opentelemetry.exporter",
        "prometheus_client",
    }
)
PARAMS = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
ASKED = (
    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": PARAMS},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
)


def loaded(command: list[str], asked: str = "") -> tuple[set[str], list[str]]:
    """Run a command; give the modules that it loaded, as Python itself tells them, and its lines on stdout."""
    python, *rest = command
    watched = [python, "-X", "importtime", *rest]
    ended = subprocess.run(watched, input=asked, capture_output=True, text=True, timeout=60, check=True)
    told = [line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")]
    return set(told), ended.stdout.splitlines()


def test_a_server_for_one_host_loads_no_web_server_and_nothing_of_other_commands(home: Path) -> None:
    modules, answers = loaded(SERVER, "".join(json.dumps(message) + "\n" for message in ASKED))
    assert [json.loads(answer)["id"] for answer in answers] == [1, 2]
    assert "luma_mcp.transports.stdio" in modules
    assert modules & OTHERS == set()


def test_the_version_needs_no_library_but_pythons_own(home: Path) -> None:
    modules, lines = loaded([*SERVER, "--version"])
    assert len(lines) == 1
    always, _ = loaded([sys.executable, "-c", "import copy, pickle"])  # with what an installation has in .pth files
    others = {name.partition(".")[0] for name in modules - always} - sys.stdlib_module_names
    assert others == {"luma_mcp"}
