"""Every test has a home of its own, an empty environment and, where it waits, a clock that jumps ahead."""

import logging
import os
import random
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio.to_thread
import hypothesis
import pytest
import trio.testing

from luma_mcp.cli.logs import AUDIT, RedactingFormatter
from luma_mcp.core import backoff
from luma_mcp.ledger import schema
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.rig import Rig, open_rig, run_inline
from tests.support.stores import use_database

hypothesis.settings.register_profile("usual", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile("usual")
KEPT = ("PATH", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_", "DYLD_", "PYTHONPATH", "PYTEST_", "COV_", "COVERAGE_")
SYNCHRONOUS = schema.SYNCHRONOUS


@pytest.fixture(scope="session", autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Take away what this machine's environment says, but how programs are found and run, and whose home it is."""
    umask = os.umask(0o022)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if not name.startswith(KEPT)]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("nobody")))
        yield
    os.umask(umask)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests be run on the other store, too."""
    parser.addoption("--store", choices=["sqlite", "postgres"], default="sqlite", help="where servers keep their tasks")


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    """Run a PostgreSQL server, where its programs are installed."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(postgres_server())
        except LookupError as error:
            pytest.skip(str(error))
        yield running


@pytest.fixture
def own_server() -> Generator[PostgresServer]:
    """Run a PostgreSQL server that a test may stop."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(postgres_server(durable=True))
        except LookupError as error:
            pytest.skip(str(error))
        yield running


@pytest.fixture
def new_database(request: pytest.FixtureRequest) -> Callable[[], str] | None:
    """Give what makes a database for each of several servers, where `--store=postgres` asks for them."""
    if request.config.getoption("store") != "postgres":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Give each test a home folder, and a database of its own where `--store=postgres` asks for one."""
    if request.config.getoption("store") == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        use_database(tmp_path, server.new_database())
    for handler in [found for found in logging.root.handlers if isinstance(found.formatter, RedactingFormatter)]:
        logging.root.removeHandler(handler)  # it writes to what was stderr in an earlier test
    for name in ("luma_mcp", AUDIT):
        logging.getLogger(name).setLevel(logging.NOTSET)  # a command of an earlier test may have set another
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def same_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits be as long in each run: by chance a poll may be due in the very second that a test looks at."""
    monkeypatch.setattr(backoff, "random", random.Random(0))  # noqa: S311 - guards nothing


@pytest.fixture(autouse=True)
def unsynced_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: no machine dies here, and a process that does leaves behind what it wrote."""
    monkeypatch.setattr(schema, "SYNCHRONOUS", "PRAGMA synchronous = OFF")


@pytest.fixture
def synced_ledger(unsynced_ledger: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a ledger be as it is for users."""
    monkeypatch.setattr(schema, "SYNCHRONOUS", SYNCHRONOUS)


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
