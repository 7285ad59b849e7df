"""RunAPI's own file as a login leaves it, and a RunAPI that refuses keys."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import httpx

OLD_KEY = "sk-the-old-one-of-this-user"
NEW_KEY = "sk-the-new-one-of-this-user"


def runapi_file(home: Path) -> Path:
    return home / ".config" / "runapi" / "config.json"


def write_key(home: Path, key: str, base_url: str = "") -> Path:
    """Write RunAPI's own file, with an address if one is given."""
    file = runapi_file(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"api_key": key} | ({"base_url": base_url} if base_url else {})), encoding="utf-8")
    return file


@dataclass
class RevokingNetwork(httpx.AsyncBaseTransport):
    """A network on which RunAPI refuses some keys; `seen` are the keys and idempotency keys of submissions."""

    network: httpx.AsyncBaseTransport
    revoked: set[str] = field(default_factory=set[str])
    seen: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if "idempotency-key" in request.headers:
            self.seen.append((key, request.headers["idempotency-key"]))
        if key in self.revoked:
            return httpx.Response(401, json={"error": f"The key {key} is revoked"})
        return await self.network.handle_async_request(request)
