"""Server processes that are measured (Linux): ours and an empty one of the SDK, over stdio and over HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.support.stdio_client import INITIALIZE

LUMA = [sys.executable, "-P", "-c", "import sys; from luma_mcp.__main__ import main; sys.exit(main())"]  # as installed
SANDBOX = "--sandbox"
EMPTY = [sys.executable, "-P", str(Path(__file__).with_name("empty_server.py"))]
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@dataclass
class MeasuredServer:
    """A server process, which is asked one thing at a time."""

    process: subprocess.Popen[bytes]
    last_id: int = field(default=0, init=False)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and give the result."""
        self.last_id += 1
        answer = self.exchange({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})
        result: dict[str, Any] = answer["result"]
        return result

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool, and give its structured answer, if it has one."""
        result = self.ask("tools/call", name=tool, arguments=arguments)
        assert not result.get("isError"), result
        answer: dict[str, Any] = result.get("structuredContent", {})
        return answer

    def initialize(self) -> None:
        self.ask("initialize", **INITIALIZE)
        self.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def tell(self, message: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def cpu_seconds(self) -> float:
        """Give how long its threads, those that there are now, have been on a processor."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def resident_mebibytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return int(fields["VmRSS"].split()[0]) / 1024


class StdioServer(MeasuredServer):
    """One that is spoken to through its pipes."""

    def exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        self.tell(message)
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert answer["id"] == message["id"], answer
        return answer

    def tell(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()


class HttpServer(MeasuredServer):
    """One that is spoken to over one connection, which is kept."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        super().__init__(process)
        place, _, self._path = address.removeprefix("http://").partition("/")
        self._connection = HTTPConnection(place)
        self._headers = dict(ACCEPT)

    def exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        body = self._post(message)
        answer: dict[str, Any] = json.loads(body.partition(b"data: ")[2] or body)
        assert answer["id"] == message["id"], answer
        return answer

    def tell(self, message: Mapping[str, Any]) -> None:
        self._post(message)

    def _post(self, message: Mapping[str, Any]) -> bytes:
        self._connection.request("POST", f"/{self._path}", json.dumps(message), self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status in (200, 202), body
        if session := answer.headers["mcp-session-id"]:
            self._headers["mcp-session-id"] = session
        return body


def environment(home: Path) -> dict[str, str]:
    """Give what both servers find: as in an installation, byte code is kept, and no setting is there but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LUMA_MCP_", "RUNAPI_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "HOME": str(home), "LUMA_MCP_AUTH_TOKENS": "none"}


@contextmanager
def over_stdio(command: list[str], home: Path) -> Generator[StdioServer]:
    pipes = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipes, stdout=pipes, env=environment(home), cwd=home) as process:
        yield StdioServer(process)
        assert process.stdin
        process.stdin.close()


@contextmanager
def over_http(command: list[str], home: Path) -> Generator[HttpServer]:
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(home), cwd=home) as process:
        assert process.stderr
        address = next(word for word in process.stderr.readline().decode().split() if word.startswith("http://"))
        try:
            yield HttpServer(process, address)
        finally:
            process.terminate()
