"""The gallery of the user of this machine: one browser comes in by its address, once, and nobody else."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from luma_mcp.app.app import open_app
from luma_mcp.app.progress import Progress
from luma_mcp.core.addresses import LOOPBACK
from luma_mcp.core.models import LOCAL_CALLER, VideoRequest
from luma_mcp.transports.local_gallery import LocalGallery, serve_until
from luma_mcp.transports.sockets import open_sockets
from tests.support.gallery_client import API, browser_at
from tests.support.rig import SOURCE, sandbox_for, settings_for, silent

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


@asynccontextmanager
async def local_gallery(home: Path) -> AsyncGenerator[str]:
    """Serve a gallery with one task of the user's and one of somebody else's; give its address."""
    sandbox = sandbox_for(home, clock=lambda: 1_790_000_000.0, seconds=1)
    with open_sockets(settings_for(home, port=0)) as (listener, *_):
        async with (
            open_app(settings_for(home), transport=httpx.ASGITransport(sandbox)) as app,
            anyio.create_task_group() as group,
        ):
            for caller, prompt in ((LOCAL_CALLER, "fog"), ("ann", "snow")):
                request = VideoRequest(prompt=prompt, source=SOURCE)
                await app.modify_video(request, caller, wait_seconds=0, progress=Progress(silent))
            gallery, ended = LocalGallery(app, listener.getsockname()[1]), anyio.Event()
            group.start_soon(serve_until, ended, app, gallery, listener)
            yield gallery.url
            ended.set()
    sandbox.state.close()


def parts_of(url: str) -> tuple[str, str]:
    page, token = url.split("#token=")
    return page, token


async def test_one_browser_comes_in_once_and_sees_the_users_own_tasks(home: Path) -> None:
    async with (
        local_gallery(home) as url,
        browser_at(parts_of(url)[0]) as first,
        browser_at(parts_of(url)[0]) as second,
    ):
        token = parts_of(url)[1]
        assert (await first.http.get("")).status_code == 200
        assert (await first.read("tasks")).status_code == 401
        assert (await first.log_in("x" * len(token))).status_code == 401
        answer = await first.log_in(token)
        assert answer.status_code == 204
        assert await first.prompts() == ["fog"]
        assert (await second.log_in(token)).status_code == 401
        assert (await first.log_in(token)).status_code == 401
        assert (await second.read("tasks")).status_code == 401
        assert await first.prompts() == ["fog"]
        assert (await second.http.get(f"{API}/tasks", headers={"Authorization": f"Bearer {token}"})).status_code == 401


async def test_its_cookie_goes_to_no_other_server_of_this_machine(home: Path) -> None:
    async with local_gallery(home) as url, browser_at(parts_of(url)[0]) as browser:
        page, token = parts_of(url)
        answer = await browser.log_in(token)
        path = httpx.URL(page).path
        assert len(path) > 20
        assert f"; Path={path}gallery; " in answer.headers["set-cookie"]
        neighbour = httpx.Request("GET", "http://127.0.0.1:1/gallery/api/tasks")
        browser.http.cookies.set_cookie_header(neighbour)
        assert "cookie" not in neighbour.headers


async def test_without_its_path_there_is_nothing(home: Path) -> None:
    async with local_gallery(home) as url, browser_at(parts_of(url)[0]) as browser:
        assert (await browser.log_in(parts_of(url)[1])).status_code == 204
        root = httpx.URL(url).copy_with(path="/", fragment=None)
        for path in ("", "gallery/session", f"{API}/tasks", "mcp", "sse", "healthz", "x" * 22 + "/"):
            assert (await browser.http.get(f"{root}{path}")).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "localhost:1", ""])
async def test_it_goes_by_no_other_name_or_port(home: Path, host: str) -> None:
    async with local_gallery(home) as url, browser_at(parts_of(url)[0]) as browser:
        assert (await browser.log_in(parts_of(url)[1])).status_code == 204
        for path in ("", f"{API}/tasks"):
            assert (await browser.http.get(path, headers={"Host": host})).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "192.0.2.1"},
    ],
)
async def test_neither_pages_of_other_ports_nor_proxies_come_in(home: Path, headers: dict[str, str]) -> None:
    async with local_gallery(home) as url, browser_at(parts_of(url)[0]) as browser:
        page, token = parts_of(url)
        assert (await browser.log_in(token)).status_code == 204
        sent = {name: value.format(port=httpx.URL(page).port) for name, value in headers.items()}
        assert (await browser.http.get(f"{API}/tasks", headers=sent)).status_code == 403


async def test_no_two_galleries_have_the_same_address(home: Path) -> None:
    async with open_app(settings_for(home)) as app:
        urls = [LocalGallery(app, 8000).url for _ in range(20)]
    assert all(url.startswith(f"http://{LOOPBACK}:8000/") for url in urls)
    assert len({parts_of(url)[0] for url in urls}) == len({parts_of(url)[1] for url in urls}) == 20
