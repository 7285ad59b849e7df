"""What the sandbox gives back looks different from what it was given, where that can be done; else it is the same."""

import importlib.util
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from luma_mcp.sandbox import treatment
from luma_mcp.sandbox.application import STORAGE_URL, Sandbox
from luma_mcp.sandbox.requests import bundled_clip, foggy_clip
from luma_mcp.sandbox.treatment import Treatment
from tests.support.http_server import SandboxClock
from tests.support.rig import API_URL
from tests.support.sandbox_clients import ASK, KEYED

pytestmark = pytest.mark.anyio
HANGS = (sys.executable, "-c", "import threading; threading.Event().wait()")


@pytest.fixture
def clip(home: Path) -> Path:
    path = home / "clip"
    path.write_bytes(bundled_clip().read_bytes() + b"mine")
    return path


async def result_of(clip: Path) -> Path:
    return await Treatment().result(clip, clip.with_name("treated"))


async def test_the_walk_by_day_comes_back_in_fog_whatever_its_name(home: Path) -> None:
    copy = home / "walk.mp4"
    copy.write_bytes(bundled_clip().read_bytes())
    assert await result_of(copy) == foggy_clip()
    assert bundled_clip().read_bytes() != foggy_clip().read_bytes()


async def test_a_source_that_was_not_uploaded_stands_for_the_walk(home: Path, clock: SandboxClock) -> None:
    sandbox = Sandbox(home / "s", clock, api_url=API_URL, storage_url=STORAGE_URL, seconds=0, treats=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox), base_url=API_URL, headers=KEYED) as http:
        made = (await http.post("/api/v1/luma/modify_video", json=ASK)).json()
        assert (await http.get(f"/outputs/{made['id']}.mp4")).content == foggy_clip().read_bytes()
    sandbox.state.close()


@pytest.mark.sockets
async def test_another_clip_gets_fog_laid_over_it_once_and_stays_as_it_was_itself(clip: Path) -> None:
    pytest.importorskip("av", reason="PyAV is an extra, which is not installed here")
    given = clip.read_bytes()
    made = await result_of(clip)
    assert (made.name, clip.read_bytes()) == ("treated", given)
    written = made.stat().st_mtime_ns
    assert await result_of(clip) == made
    assert made.stat().st_mtime_ns == written


async def test_without_pyav_a_clip_comes_back_as_it_is(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert await result_of(clip) == clip


async def test_a_large_file_comes_back_as_it_is(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treatment, "MAX_TREATED_BYTES", 1000)
    assert await result_of(clip) == clip


@pytest.mark.parametrize("program", [HANGS, (sys.executable, "-c", "1 / 0"), ("/nowhere/python",)])
async def test_what_hangs_fails_or_cannot_be_started_leaves_the_clip_as_it_is_for_good(
    clip: Path, program: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", bool)
    monkeypatch.setattr(treatment, "PROGRAM", program)
    assert await result_of(clip) == clip
    monkeypatch.setattr(treatment, "PROGRAM", None)
    assert await result_of(clip) == clip, "a video is fetched in parts, which must fit together"


async def test_no_clip_is_looked_at_while_another_one_is_treated(
    clip: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = 0

    async def lay_fog_over(_: Path, made: Path) -> bool:
        nonlocal running
        running += 1
        assert running == 1
        await anyio.lowlevel.checkpoint()
        made.write_bytes(b"fog")
        running -= 1
        return True

    monkeypatch.setattr(importlib.util, "find_spec", bool)
    monkeypatch.setattr(treatment, "lay_fog_over", lay_fog_over)
    shared = Treatment()
    async with anyio.create_task_group() as group:
        for name in ("one", "other"):
            group.start_soon(shared.result, clip, home / name)
    assert ((home / "one").read_bytes(), (home / "other").read_bytes()) == (b"fog", b"fog")
