"""Every test has a home of its own, an empty environment and, where it waits, a clock that jumps ahead."""

import logging
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio.to_thread
import hypothesis
import pytest
import trio.testing

from luma_mcp.logs import Redacting
from tests.rig import Rig, open_rig, run_inline

hypothesis.settings.register_profile("usual", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile("usual")
HOSTS = ("CLAUDE_", "CODEX_", "GEMINI_", "OPENCLAW_", "HERMES_", "APPDATA", "LOCALAPPDATA")
VARIABLES = ("RUNAPI_", "LUMA_MCP_", "XDG_", *HOSTS)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home folder and nothing of this machine's settings."""
    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        monkeypatch.delenv(name)
    for handler in [found for found in logging.root.handlers if isinstance(found.formatter, Redacting)]:
        logging.root.removeHandler(handler)  # it writes to what was stderr in an earlier test
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on a virtual clock: when everything waits, time jumps to the next thing that happens.

    Tests marked with `sockets` run on a real event loop instead: uvicorn knows no other.
    """
    if request.node.get_closest_marker("sockets"):
        return "asyncio", {}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def inline_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do a thread's work at once: while a real thread works, a virtual clock would run away."""

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_inline)


@pytest.fixture
async def rig(home: Path, inline_threads: None) -> AsyncGenerator[Rig]:
    """Open the application against a sandbox, both on the virtual clock."""
    async with open_rig(home) as opened:
        yield opened
