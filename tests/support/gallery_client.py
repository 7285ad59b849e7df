"""A browser at the gallery, as far as its headers go, and tasks to look at."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from luma_mcp.app.progress import Progress
from luma_mcp.core.models import Task, VideoRequest
from tests.support.http_server import BOUND_SECONDS, TOKENS, Hosted, hosted
from tests.support.mp4_files import film
from tests.support.rig import SOURCE, silent

API = "gallery/api"
JSON = {"Content-Type": "application/json"}


@dataclass
class Browser:
    """A page of the gallery in a browser: its cookies, and the headers that browsers add."""

    http: httpx.AsyncClient
    origin: str

    async def read(self, path: str, **more: Any) -> httpx.Response:
        return await self.http.get(f"{API}/{path}", headers={"Sec-Fetch-Site": "same-origin"}, **more)

    async def change(self, path: str, body: Any = None) -> httpx.Response:
        return await self.http.post(path, headers={"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}, json=body)

    async def log_in(self, token: str) -> httpx.Response:
        return await self.change("gallery/session", {"token": token})

    async def prompts(self, **asked: str) -> list[str]:
        return [task["prompt"] for task in (await self.read("tasks", params=asked)).json()["tasks"]]


@asynccontextmanager
async def browser_at(url: str) -> AsyncGenerator[Browser]:
    """Open a browser with no cookies at an address, which ends with a slash."""
    async with httpx.AsyncClient(base_url=url, timeout=BOUND_SECONDS, trust_env=False) as http:
        yield Browser(http, "/".join(url.split("/")[:3]))


@asynccontextmanager
async def browsing(server: Hosted, caller: str = "") -> AsyncGenerator[Browser]:
    """Open a browser at a server, with a session of a caller's if one is given."""
    async with browser_at(f"{server.url}/") as browser:
        if caller:
            assert (await browser.log_in(TOKENS[caller])).status_code == 204
        yield browser


@asynccontextmanager
async def gallery_server(home: Path, **changes: Any) -> AsyncGenerator[Hosted]:
    """Serve the gallery to two callers; tasks end within a second or two, and are saved."""
    pairs = ",".join(f"{name}:{token}" for name, token in TOKENS.items())
    async with hosted(home, runs=True, **{"save": "auto", "auth_tokens": pairs, **changes}) as server:
        yield server


async def make_video(server: Hosted, caller: str, prompt: str = "fog", source: str = SOURCE) -> Task:
    """Have a video made, and saved if the server saves."""
    request = VideoRequest(prompt=prompt, source=source)
    outcome = await server.app.modify_video(request, caller, wait_seconds=40, progress=Progress(silent))
    return outcome.task


def write_clip(folder: Path, name: str = "clip.mp4") -> Path:
    """Put a clip into a folder, which is made."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(film())
    return folder / name
