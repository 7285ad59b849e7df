"""Server processes over HTTP that share a ledger, and callers who reach any of them (Linux)."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx

from tests.support.postgres import free_port
from tests.support.raw_http import ACCEPT, modern_headers, rpc
from tests.support.rig import MODERN_META
from tests.support.sandbox_process import SERVER, server_environment

AGAIN_SECONDS = 1.0
MAX_AGAIN_SECONDS = 8.0
ENDING_SECONDS = 10.0
PATIENCE_SECONDS = 90.0  # of a caller
BRIEF_MILLISECONDS = 10


@dataclass
class Replica:
    """One server, which can be killed, ended in order, and started again on the same port."""

    port: int
    environment: Mapping[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _ended_cpu_seconds: float = field(default=0.0, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cpu_seconds(self) -> float:
        """Give the processor time of all processes that this replica has been."""
        return self._ended_cpu_seconds + (cpu_seconds(self.process.pid) if self.process else 0.0)

    def start(self) -> None:
        """Start the process, without waiting for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(SERVER, env=dict(self.environment), stdin=subprocess.DEVNULL, stderr=log)

    async def answers(self) -> None:
        """Wait until it takes requests."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            while True:
                try:
                    await http.get("/healthz")
                except httpx.TransportError:
                    assert self.process, "it was not started"
                    assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
                    await anyio.sleep(BRIEF_MILLISECONDS / 1000)
                else:
                    return

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self.process:
            self._ended_cpu_seconds += cpu_seconds(self.process.pid)
            self.process.kill()
            self.process.wait()
            self.process = None

    async def end(self) -> int:
        """End it in order, as SIGTERM does, and give its exit code."""
        assert self.process
        self._ended_cpu_seconds += cpu_seconds(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        code = await anyio.to_thread.run_sync(self.process.wait, ENDING_SECONDS)
        self.process = None
        return code


@dataclass
class Fleet:
    """Replicas, and callers who call any of them and try the next one where that one is away."""

    replicas: list[Replica]
    clients: AsyncExitStack
    chance: random.Random = field(default_factory=lambda: random.Random(2026))  # noqa: S311 - the same way in every run
    seen: Counter[str] = field(default_factory=Counter[str])  # what came of each try
    _http: dict[str, httpx.AsyncClient] = field(default_factory=dict[str, httpx.AsyncClient])

    async def call(self, token: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool as a client of 2026-07-28 does, until some replica answers; give the structured result."""
        for tries in count():
            for replica in self.chance.sample(self.replicas, len(self.replicas)):
                if answer := await self.call_one(replica.url, token, tool, **arguments):
                    result: dict[str, Any] = answer["result"]["structuredContent"]
                    return result
            await anyio.sleep(self.chance.random() * min(AGAIN_SECONDS * 2**tries, MAX_AGAIN_SECONDS))
        raise AssertionError("never")

    async def client_of(self, token: str) -> httpx.AsyncClient:
        """Give the client of one caller: a thousand connections in one pool would keep this process busy."""
        if token not in self._http:
            plain = httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False, verify=False)  # noqa: S501 - no TLS here
            self._http[token] = await self.clients.enter_async_context(plain)
        return self._http[token]

    async def call_one(self, url: str, token: str, tool: str, **arguments: Any) -> dict[str, Any] | None:
        """Call a tool at one address; None if nobody is there, or is about to end, which any client may try again."""
        try:
            answer = await post_call(await self.client_of(token), url, token, tool, **arguments)
        except httpx.TransportError as error:
            self.seen[type(error).__name__] += 1
            return None
        self.seen[str(answer.status_code)] += 1
        return None if answer.status_code == 503 else message_in(answer)


async def post_call(http: httpx.AsyncClient, url: str, token: str, tool: str, **arguments: Any) -> httpx.Response:
    """Call a tool at an address, as a client of 2026-07-28 does."""
    call = rpc("tools/call", {"name": tool, "arguments": arguments, "_meta": MODERN_META})
    headers = ACCEPT | modern_headers("tools/call", tool) | {"Authorization": f"Bearer {token}"}
    return await http.post(f"{url}/mcp", json=call, headers=headers)


def message_in(answer: httpx.Response) -> dict[str, Any]:
    """Give the message in an answer, which may be a stream of events whose last one it is."""
    answer.raise_for_status()
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")][-1]
    message: dict[str, Any] = json.loads(text)
    return message


@contextmanager
def replicas_of(home: Path, url: str, count: int, **settings: str) -> Generator[list[Replica]]:
    """Give replicas that are not started yet, on free ports, with the ledger of a home; kill them in the end."""
    common = {"LUMA_MCP_TRANSPORT": "streamable-http", "LUMA_MCP_LOG_LEVEL": "WARNING"} | settings
    replicas = list[Replica]()
    for number in range(count):
        port = free_port()
        environment = server_environment(home, url, **{"LUMA_MCP_PORT": str(port)} | common)
        replicas.append(Replica(port, environment, home / f"replica-{number}.log"))
    try:
        yield replicas
    finally:
        for replica in replicas:
            replica.kill()


@asynccontextmanager
async def fleet_of(replicas: list[Replica]) -> AsyncGenerator[Fleet]:
    """Start replicas, and give the way to them once all take requests."""
    async with AsyncExitStack() as clients:
        for replica in replicas:
            replica.start()
        for replica in replicas:
            await replica.answers()
        yield Fleet(replicas, clients)


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """Give the processor time of a process, with that of its children that have ended if they are wanted."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if children else 13])) / clock_ticks()


def clock_ticks() -> int:
    """Give how many of its units of time the system counts in a second."""
    if sys.platform != "win32":
        return os.sysconf("SC_CLK_TCK")
    raise NotImplementedError
