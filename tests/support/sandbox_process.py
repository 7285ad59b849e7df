"""The sandbox on a port, as its own process, and the environment of a server that talks to it."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from luma_mcp.sandbox.state import SandboxState
from tests.support.rig import KEY
from tests.support.stores import database_of

SERVER = [sys.executable, "-m", "luma_mcp"]


@contextmanager
def sandbox_process(home: Path, *, seconds: float) -> Generator[str]:
    """Serve a sandbox on a free port and give its address."""
    command = [*SERVER, "sandbox", "--listen", "0", "--seconds", str(seconds), "--data-dir", str(home / "served")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ, text=True) as process:
        assert process.stderr
        banner = process.stderr.readline()
        process.stderr.readline()
        try:
            yield banner.split(" at ")[1].split()[0]
        finally:
            process.terminate()


def server_environment(home: Path, url: str, **more: str) -> dict[str, str]:
    own = {"HOME": str(home), "RUNAPI_API_KEY": KEY, "RUNAPI_BASE_URL": url, "LUMA_MCP_LOG_LEVEL": "DEBUG"}
    if database := database_of(home):
        own["LUMA_MCP_DATABASE_URL"] = database
    return {**os.environ, **own, **more}


def count_charges(folder: Path, prompt: str) -> int:
    """Count the tasks that the sandbox of a folder made of a prompt."""
    with closing(SandboxState(folder, time.time, credit_cents=0)) as state:
        return sum(made.body["prompt"] == prompt for made in state.generations())
