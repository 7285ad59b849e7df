"""A RunAPI that thousands of tasks do not slow down, for measuring what they cost this server: it remembers nothing.

When a task was taken, and how many seconds it takes, stands in its id; a video is always the same few bytes.
Run as a process of its own: python -m tests.support.busy_runapi SECONDS, which prints its address.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from itertools import count

from tests.support.mp4_files import film

TASKS = "/api/v1/luma/modify_video"
VIDEO = film()


def task_id_for(number: int, taken_at: float, seconds: float) -> str:
    """Give the id of a task that RunAPI took at a moment (POSIX seconds) and finishes `seconds` later."""
    return f"busy-{taken_at:.3f}-{seconds:.3f}-{number}"


class BusyRunAPI(asyncio.Protocol):
    """One connection, kept open; what it was asked is counted in `asked`."""

    def __init__(self, seconds: float, address: list[str], asked: Counter[str], numbers: "count[int]") -> None:
        self._seconds = seconds
        self._address = address
        self._asked = asked
        self._numbers = numbers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while request := self._next_request():
            assert isinstance(self._transport, asyncio.WriteTransport)
            self._transport.write(self._answer(*request))

    def _next_request(self) -> tuple[str, str] | None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        line, *headers = head.decode("ascii").split("\r\n")
        length = next((int(each[15:]) for each in headers if each.lower().startswith("content-length:")), 0)
        if len(rest) < length:
            return None
        self._received = rest[length:]
        method, path, _ = line.split(" ")
        return method, path

    def _answer(self, method: str, path: str) -> bytes:
        kind = "video" if path.startswith("/videos/") else "create" if method == "POST" else "poll"
        self._asked[kind] += 1
        if path == "/asked":
            return response(json.dumps(self._asked).encode())
        if kind == "video":
            return response(VIDEO, "video/mp4")
        if kind == "create":
            task_id = task_id_for(next(self._numbers), time.time(), self._seconds)
            return response(json.dumps({"id": task_id, "status": "processing"}).encode())
        return response(json.dumps(self._task(path.rpartition("/")[2])).encode())

    def _task(self, task_id: str) -> dict[str, object]:
        _, taken_at, seconds, _ = task_id.split("-")
        if time.time() < float(taken_at) + float(seconds):
            return {"id": task_id, "status": "processing"}
        videos = [{"url": f"{self._address[0]}/videos/{task_id}.mp4"}]
        return {"id": task_id, "status": "completed", "videos": videos, "usage": {"cost": "0.50"}}


def response(body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


async def serve(seconds: float) -> None:
    """Serve on a free port of this machine until the process is ended."""
    asked, numbers, address = Counter[str](), count(1), [""]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BusyRunAPI(seconds, address, asked, numbers), "127.0.0.1", 0)
    address[0] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(address[0], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
