"""The protocol line by line, as a host of the handshake era speaks it to a server process."""

import json
from dataclasses import dataclass, field
from typing import IO, Any

INITIALIZE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


@dataclass
class StdioClient:
    """The two ends of a server's pipes."""

    stdin: IO[str]
    stdout: IO[str]
    last_id: int = field(default=0, kw_only=True)
    escapes: bool = field(default=True, kw_only=True)

    def initialize(self, capabilities: dict[str, Any] | None = None) -> None:
        self.receive(self.send("initialize", INITIALIZE | ({"capabilities": capabilities} if capabilities else {})))
        self.send("notifications/initialized", notification=True)

    def send(self, method: str, params: dict[str, Any] | None = None, *, notification: bool = False) -> int:
        """Send a message and give its id."""
        self.last_id += not notification
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        said = message | ({} if notification else {"id": self.last_id})
        self.stdin.write(json.dumps(said, ensure_ascii=self.escapes) + "\n")
        self.stdin.flush()
        return self.last_id

    def receive(self, answer_to: int) -> list[dict[str, Any]]:
        """Read lines until the answer to a request, all of which must be the protocol's; raise `EOFError`."""
        messages: list[dict[str, Any]] = []
        while not messages or messages[-1].get("id") != answer_to:
            line = self.stdout.readline()
            if not line:
                raise EOFError("the server ended")
            messages.append(json.loads(line))
            assert messages[-1]["jsonrpc"] == "2.0"
        return messages

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool, with progress, and give its result."""
        asked = self.send("tools/call", {"name": name, "arguments": arguments, "_meta": {"progressToken": "p"}})
        answer: dict[str, Any] = self.receive(asked)[-1]["result"]
        return answer
